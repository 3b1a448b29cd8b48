"""Requests that fail for a passing reason are repeated, and no repeat does harm: on a store that fails to order."""

import pytest
import trio.testing

from mountd.errors import DeadlineExceeded, Denied, NotFound, Throttled, Unavailable, VersionChanged
from mountd.objects.interface import ABSENT, Key
from mountd.objects.limit import LimitedStore
from mountd.objects.memory import MemoryStore
from mountd.objects.retry import RetryingStore

A, B = Key("a"), Key("b")


class Unreliable:
    """Carries requests out, or fails before or after doing so, as planned."""

    def __init__(self, inner):
        self._inner = inner
        self.plan = []  # for each request to come: None, an error before it, or ("after", error)
        self.calls = 0

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        async def call(*args, **kwargs):
            self.calls += 1
            fate = self.plan.pop(0) if self.plan else None
            if isinstance(fate, Exception):
                raise fate
            result = await value(*args, **kwargs)
            if fate == "hang":
                await trio.sleep_forever()
            if isinstance(fate, tuple):
                raise fate[1]
            return result

        return call


@pytest.fixture
def unreliable():
    return Unreliable(MemoryStore())


@pytest.fixture
def reports():
    return []


@pytest.fixture
def store(unreliable, reports):
    return RetryingStore(LimitedStore(unreliable, deadline=10), budget=30, report=reports.append)


async def test_passing_failures_are_overcome(store, unreliable, autojump_clock):
    """Unavailable and throttled requests are sent again until they succeed."""
    unreliable.plan = [Unavailable("reset"), Throttled("slow down"), None]
    await store.put(A, b"1")
    assert unreliable.calls == 3


@pytest.mark.parametrize("error", [NotFound("x"), Denied("x"), VersionChanged("x")])
async def test_answers_are_not_questioned(store, unreliable, error, autojump_clock):
    """What the store decided is not asked again."""
    unreliable.plan = [error]
    with pytest.raises(type(error)):
        await store.stat(A)
    assert unreliable.calls == 1


async def test_the_budget_ends_the_attempts(store, unreliable, reports, autojump_clock):
    """A store that stays away is given up in time, with the last error, and reported once."""
    unreliable.plan = [Unavailable(f"attempt {i}") for i in range(1000)]
    started = trio.current_time()
    with pytest.raises(Unavailable):
        await store.stat(A)
    assert trio.current_time() - started <= 30
    assert unreliable.calls > 5
    assert len(reports) == 1


async def test_the_wait_that_a_service_asks_for_is_kept(store, unreliable, autojump_clock):
    """Not a shorter one; but never longer than there is time for another attempt."""
    busy = Throttled("slow down")
    busy.retry_after = 12.0
    unreliable.plan = [busy]
    await store.put(A, b"1")
    assert 12 <= trio.current_time() < 13
    busy.retry_after = 3600.0
    unreliable.plan = [busy]
    await store.put(A, b"1")
    assert trio.current_time() < 43


async def test_a_request_without_answer_meets_its_deadline(store, unreliable, autojump_clock):
    """A hanging attempt is given up and repeated."""
    unreliable.plan = ["hang", None]
    await store.put(A, b"1")
    assert trio.current_time() >= 10
    unreliable.plan = ["hang"] * 100
    with pytest.raises(DeadlineExceeded):
        await store.stat(A)


async def test_a_put_whose_answer_was_lost_is_recognised(store, unreliable, autojump_clock):
    """The repeat fails on its own work; the bytes tell that it was carried out."""
    first = await store.put(A, b"first")
    unreliable.plan = [("after", Unavailable("reset"))]
    second = await store.put(A, b"second", expect=first.version)
    assert second == await store.stat(A)
    assert (await store.read_range(A, 0, 10)).data == b"second"


async def test_a_put_that_somebody_else_has_overtaken_is_not_believed(store, unreliable, autojump_clock):
    """Other bytes than ours mean that the precondition really failed."""
    first = await store.put(A, b"first")
    await store.put(A, b"theirs")
    unreliable.plan = [Unavailable("reset")]
    with pytest.raises(VersionChanged):
        await store.put(A, b"ours", expect=first.version)


async def test_an_exclusive_creation_whose_answer_was_lost_has_no_winner(store, unreliable, autojump_clock):
    """An empty object could be somebody else's lock: an error, rather than two winners."""
    unreliable.plan = [("after", Unavailable("reset"))]
    with pytest.raises(Unavailable):
        await store.put(A, b"", expect=ABSENT)


async def test_a_delete_whose_answer_was_lost_is_done(store, unreliable, autojump_clock):
    """The object is gone, as was wanted."""
    info = await store.put(A, b"1")
    unreliable.plan = [("after", Unavailable("reset"))]
    await store.delete(A, expect=info.version)
    with pytest.raises(NotFound):
        await store.stat(A)


async def test_a_copy_whose_answer_was_lost_is_known_by_its_bytes(store, unreliable, autojump_clock):
    """Where the version does not tell; other bytes of the same length are somebody else's."""
    source = await store.put(A, b"1")
    unreliable.plan = [("after", Unavailable("reset"))]
    copied = await store.copy(source, B, expect=ABSENT)
    assert copied == await store.stat(B)
    await store.put(B, b"2")
    unreliable.plan = [Unavailable("reset")]
    with pytest.raises(VersionChanged):
        await store.copy(source, B, expect=ABSENT)


async def test_a_large_copy_whose_answer_was_lost_is_not_guessed(store, unreliable, autojump_clock, monkeypatch):
    """Comparing it would take too long: the caller hears that the target has changed."""
    monkeypatch.setattr("mountd.objects.retry.COMPARED", 10)
    source = await store.put(A, b"x" * 11)
    unreliable.plan = [("after", Unavailable("reset"))]
    with pytest.raises(VersionChanged):
        await store.copy(source, B, expect=ABSENT)


async def test_parts_of_uploads_are_repeated(store, unreliable, autojump_clock):
    """Uploads go through the same layers."""
    unreliable.plan = [Unavailable("reset")]
    upload = await store.open_upload(A)
    await upload.put_part(1, 0, b"part")
    assert (await upload.complete([1])).size == 4


async def test_small_requests_do_not_wait_for_bodies(unreliable):
    """Uploads that hang leave room for questions."""
    store = LimitedStore(unreliable, deadline=10)
    await store.put(A, b"1")
    unreliable.plan = ["hang"] * 30

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(store.put, B, b"2")
            await trio.sleep(0.05)
            unreliable.plan = []
            assert (await store.stat(A)).size == 1
            nursery.cancel_scope.cancel()
