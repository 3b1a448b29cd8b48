"""Requests that were given up and arrive later: nothing that was done since is undone by them."""

import contextlib

import pytest
import trio

from mountd.errors import DeadlineExceeded, MountdError, NotFound
from mountd.objects.interface import ABSENT, Key
from mountd.objects.limit import SLOW_FACTOR, LimitedStore
from mountd.objects.memory import MemoryStore
from mountd.objects.retry import RetryingStore

A, B = Key("a"), Key("b")
DEADLINE, BUDGET = 4, 6
LATE = 1.0  # seconds


class Slow:
    """Leaves requests without an answer while it is `silent`, and carries them out some time after that has ended."""

    def __init__(self, inner, nursery):
        self._inner = inner
        self._nursery = nursery
        self.silent = None
        self.calls = []

    def __getattr__(self, name):
        return self.slowly(name, getattr(self._inner, name))

    def slowly(self, name, value):
        if not callable(value):
            return value

        async def call(*args, **kwargs):
            self.calls.append(name)
            if self.silent is not None:
                self._nursery.start_soon(self._later, value, args, kwargs, self.silent)
                await trio.sleep_forever()
            result = await value(*args, **kwargs)
            return SlowUpload(result, self) if name == "open_upload" else result

        return call

    async def _later(self, value, args, kwargs, silent):
        await silent.wait()
        await trio.sleep(LATE)
        with contextlib.suppress(MountdError):
            await value(*args, **kwargs)

    def fall_silent(self, seconds):
        self.silent = trio.Event()
        self._nursery.start_soon(self._speak, seconds)

    async def _speak(self, seconds):
        await trio.sleep(seconds)
        self.silent.set()
        self.silent = None


class SlowUpload:
    def __init__(self, inner, store):
        self._inner, self._store = inner, store

    def __getattr__(self, name):
        return self._store.slowly(name, getattr(self._inner, name))


class Folders(MemoryStore):
    """Can rename, as hierarchical stores can."""

    async def rename(self, source, target, *, expect=None):
        made = await self.copy(source, target, expect=expect, match=False)
        await self.delete(source.key)
        return made


async def create(store, silence):
    silence()
    await store.put(A, b"1", expect=ABSENT)


async def replace(store, silence):
    silence()
    await store.put(A, b"1")


async def copy(store, silence):
    source = await store.stat(B)
    silence()
    await store.copy(source, A)


async def upload(store, silence):
    made = await store.open_upload(A)
    await made.put_part(1, 0, b"1")
    silence()
    await made.complete([1])


async def remove(store):
    await store.delete(A)


async def remove_many(store):
    await store.delete_many({A: None})


async def move(store):
    await store.rename(await store.stat(A), Key("c"))


async def write(store):
    await store.put(A, b"2")


LAST = {remove: None, remove_many: None, move: None, write: b"2"}


@pytest.fixture
def slow(nursery, autojump_clock):
    return Slow(Folders(), nursery)


async def settled(store, key):
    await trio.sleep(60)
    try:
        return (await store.read_range(key, 0, 10)).data
    except NotFound:
        return None


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("first", [create, replace, copy, upload])
@pytest.mark.parametrize("gap", [0, 1.5])
async def test_the_last_change_holds(slow, first, last, gap, autojump_clock):
    """The repeat of a request is answered, the request itself comes when the next change was asked for."""
    store = RetryingStore(LimitedStore(slow, deadline=DEADLINE / SLOW_FACTOR), budget=BUDGET)
    await slow._inner.put(B, b"1")
    await first(store, lambda: slow.fall_silent(DEADLINE / 2))
    await trio.sleep(gap)
    await last(store)
    assert await settled(slow._inner, A) == LAST[last]


async def test_what_is_made_after_a_removal_stays(slow, autojump_clock):
    """Though the removal comes once more."""
    store = RetryingStore(LimitedStore(slow, deadline=DEADLINE), budget=BUDGET)
    await slow._inner.put(A, b"1")
    slow.fall_silent(DEADLINE / 2)
    await store.delete(A)
    await store.put(A, b"2")
    assert await settled(slow._inner, A) == b"2"


async def test_where_nothing_was_heard_of_the_service_it_is_asked_first(slow, autojump_clock):
    """Else a removal could be answered before what it is to remove arrives."""
    store = RetryingStore(LimitedStore(slow, deadline=DEADLINE), budget=1)
    with pytest.raises(DeadlineExceeded):
        await create(store, lambda: slow.fall_silent(3 * DEADLINE))
    slow.calls.clear()
    with pytest.raises(DeadlineExceeded):
        await store.delete(A)
    assert slow.calls == ["stat"]
    await trio.sleep(DEADLINE + 1)
    await store.delete(A)
    assert await settled(slow._inner, A) is None


async def test_another_key_and_a_later_change_wait_for_nothing(slow, autojump_clock):
    """Only what could be undone takes longer."""
    store = RetryingStore(LimitedStore(slow, deadline=DEADLINE), budget=BUDGET)
    await create(store, lambda: slow.fall_silent(1))
    now = trio.current_time()
    await store.put(B, b"1")
    assert trio.current_time() == now
    await store.delete(A)
    assert trio.current_time() > now
    now = trio.current_time()
    await store.put(A, b"2")
    assert trio.current_time() == now
