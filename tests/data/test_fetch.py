"""The fetcher against the simplest model there is: the file as bytes, while what was asked for is still on its way."""

import os

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.data import blocks, disk
from mountd.data.content import Content
from mountd.data.extents import State
from mountd.data.fetch import RANGE, RATE, Fetcher
from mountd.objects.interface import Chunk, Key, MiB
from mountd.objects.memory import MemoryStore
from tests.data.test_content import Ledger

SIZE = 5 * MiB + 4321


class SlowStore(MemoryStore):
    """Answers after as many seconds as it is told, and counts the bytes of its answers."""

    def __init__(self, waits):
        super().__init__()
        self.waits = iter(waits)
        self.sent = 0
        self.asked = []

    async def read_range(self, key, start, length, *, version=None):
        self.asked.append(length)
        chunk = await super().read_range(key, start, length, version=version)
        await trio.sleep(next(self.waits, 1))
        self.sent += len(chunk.data)
        return chunk


offsets = st.integers(0, SIZE + 1000)
steps = st.one_of(
    st.tuples(st.just("read"), offsets, st.integers(1, MiB)),
    st.tuples(st.just("read_on"), st.integers(1, 8), st.integers(1, MiB)),
    st.tuples(st.just("write"), offsets, st.integers(1, 300_000)),
    st.tuples(st.just("truncate"), offsets),
    st.tuples(st.just("evict")),
    st.tuples(st.just("drop_pages")),
    st.tuples(st.just("release")),
    st.tuples(st.just("wait"), st.integers(1, 3)),
)


class Player:
    """Carries steps out on a file and on the model of it."""

    def __init__(self, content, fetcher, model):
        self.content, self.fetcher, self.model = content, fetcher, model
        self.buffer = memoryview(bytearray(MiB))

    async def read(self, at, length):
        found = await self.fetcher.read(self.content, at, self.buffer[:length])
        assert bytes(found) == bytes(self.model[at : at + length])

    async def read_on(self, times, length):
        for number in range(times):
            await self.read(number * length, length)

    async def write(self, at, length):
        data = os.urandom(length)
        self.model.extend(bytes(max(0, at - len(self.model))))
        self.model[at : at + length] = data
        await self.content.write(at, data)

    async def truncate(self, size):
        await self.content.truncate(size)
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    async def evict(self):
        if self.content.evictable:
            self.content.evict(0, self.content.size)

    async def drop_pages(self):
        if self.content.backing.is_open:
            os.posix_fadvise(self.content.backing.fd(), 0, 0, os.POSIX_FADV_DONTNEED)

    async def release(self):
        self.fetcher.release(self.content)

    async def wait(self, seconds):
        await trio.sleep(seconds)


@given(st.lists(steps, max_size=20), st.lists(st.integers(0, 5), max_size=40), st.sampled_from([MiB, 64 * MiB]))
@settings(max_examples=60, deadline=None)
def test_every_read_returns_what_the_file_holds(played, waits, budget):
    """Whatever is written, cut off or evicted while bytes of the store arrive late and in any order."""

    async def main(folder):
        store = SlowStore(waits)
        model = bytearray(os.urandom(SIZE))
        info = await store.put(Key("file"), bytes(model))
        content = Content(folder / "file", base=info, size=SIZE, ledger=Ledger())
        try:
            async with trio.open_nursery() as nursery:
                fetcher = Fetcher(store, nursery=nursery, prefetch_limit=4 * MiB, sweep_limit=MiB << 10, budget=budget)
                player = Player(content, fetcher, model)
                for kind, *how in played:
                    await getattr(player, kind)(*how)
                await fetcher.settle()
                assert fetcher._in_flight == 0
                fetcher.release(content)
                assert fetcher._arrivals.bytes == 0
                assert not content.watchers
        finally:
            content.discard()

    in_folder(main)


def in_folder(main):
    """Run `main` with a new folder, on a clock that jumps."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder), clock=trio.testing.MockClock(autojump_threshold=0.01))


def in_page_cache(content, start, end):
    return disk.read_from_page_cache(content.backing.fd(), memoryview(bytearray(end - start)), start)


async def until(met):
    for _ in range(1000):
        if met():
            return
        await trio.sleep(0.01)
    raise AssertionError


def test_what_has_left_the_page_cache_is_read_ahead_from_the_disk():
    """A reader in order finds what comes next in memory, what it has come from goes, and the store is asked nothing."""

    async def main(folder):
        size = 40 * MiB
        store = SlowStore([0] * 100)
        data = os.urandom(size)
        info = await store.put(Key("file"), data)
        content = Content(folder / "file", base=info, size=size, ledger=Ledger())
        buffer = memoryview(bytearray(MiB))
        async with trio.open_nursery() as nursery:
            fetcher = Fetcher(store, nursery=nursery, prefetch_limit=16 * MiB)
            await content.fill(0, data)
            assert content.extents.spans(0, size, State.CLEAN)
            os.fsync(content.backing.fd())
            os.posix_fadvise(content.backing.fd(), 0, 0, os.POSIX_FADV_DONTNEED)
            for at in range(0, size, MiB):
                assert bytes(await fetcher.read(content, at, buffer)) == data[at : at + MiB]
                await trio.sleep(0.01)
                await until(lambda at=at: in_page_cache(content, at, min(at + 2 * MiB, size)))
            await until(lambda: not in_page_cache(content, 4 * MiB, 5 * MiB))
            assert store.sent == 0
            nursery.cancel_scope.cancel()
        content.discard()
        await content.read_ahead(0, size)  # asked for before that, and begun only now
        assert not content.path.exists()

    in_folder(main)


def test_what_arrives_after_a_file_was_closed_leaves_it_closed():
    """Its descriptor would stay until too many are open."""

    async def main(folder):
        store = SlowStore([5] * 100)
        info = await store.put(Key("file"), os.urandom(20 * MiB))
        content = Content(folder / "file", base=info, size=info.size, ledger=Ledger())
        async with trio.open_nursery() as nursery:
            fetcher = Fetcher(store, nursery=nursery, prefetch_limit=16 * MiB)
            nursery.start_soon(fetcher.fetch, content)
            await trio.sleep(1)
            fetcher.release(content)
            content.close()
            await fetcher.settle()
            await trio.testing.wait_all_tasks_blocked()
            assert content.extents.covers(0, info.size)
            assert not content.backing.is_open
        content.discard()

    in_folder(main)


def test_a_reader_in_order_has_whole_ranges_fetched():
    """Once its window is large, each of them by one request; before that by a few small ones, so as not to wait."""

    async def main(folder):
        size = 100 * MiB
        store = SlowStore([0.01] * 100)
        info = await store.put(Key("file"), bytes(size))
        content = Content(folder / "file", base=info, size=size, ledger=Ledger())
        buffer = memoryview(bytearray(MiB))
        async with trio.open_nursery() as nursery:
            fetcher = Fetcher(store, nursery=nursery, prefetch_limit=64 * MiB, budget=2 * size)
            for at in range(0, size, MiB):
                assert len(await fetcher.read(content, at, buffer)) == MiB
            nursery.cancel_scope.cancel()
        content.discard()
        assert sum(store.asked) == size
        assert min(store.asked) == MiB
        assert len(store.asked) - store.asked.count(RANGE) <= 7

    in_folder(main)


@pytest.mark.parametrize(("sweep_limit", "whole"), [(1 << 30, True), (20 * MiB, False), (0, False)])
def test_waits_at_random_places_are_ended_by_fetching_the_rest(sweep_limit, whole):
    """Once they add up to what that takes, if as much may be fetched in vain."""

    async def main(folder):
        size = 40 * MiB
        store = SlowStore([size / RATE / 4] * 100)
        data = os.urandom(size)
        info = await store.put(Key("file"), data)
        content = Content(folder / "file", base=info, size=size, ledger=Ledger())
        buffer = memoryview(bytearray(4096))
        async with trio.open_nursery() as nursery:
            fetcher = Fetcher(store, nursery=nursery, prefetch_limit=64 * MiB, sweep_limit=sweep_limit)
            for at in (number * 7 % 40 * MiB + 10_000 for number in range(40)):
                assert bytes(await fetcher.read(content, at, buffer)) == data[at : at + 4096]
            await fetcher.settle()
            assert content.extents.covers(0, size) == whole
            assert store.asked[:4] == [blocks.BLOCK] * 4  # as little as possible at first
            assert (store.asked == [blocks.BLOCK] * 40) != whole
            rest = [length for length in store.asked if length != blocks.BLOCK]
            assert 0 < len(rest) <= size / RANGE if whole else not rest  # in large ranges, over what is here already
            nursery.cancel_scope.cancel()
        content.discard()

    in_folder(main)


class Versions(SlowStore):
    """Keeps what was replaced, for those who name its version."""

    def __init__(self, waits):
        super().__init__(waits)
        self.kept = {}

    async def put(self, key, data, *, expect=None):
        info = await super().put(key, data, expect=expect)
        self.kept[info.version] = Chunk(bytes(data), info)
        return info

    async def read_range(self, key, start, length, *, version=None):
        if version is None:
            return await super().read_range(key, start, length)
        self.asked.append(length)
        chunk = self.kept[version]
        return Chunk(chunk.data[start : start + length], chunk.info)


def test_who_has_an_older_version_open_gets_it_though_the_latest_is_asked_for():
    """The request tells the one who opens the file of the other version, and is no error for those who wait for it."""

    async def main(folder):
        store = Versions([1])
        info = await store.put(Key("file"), b"old")
        latest = await store.put(Key("file"), b"latest")
        content = Content(folder / "file", base=info, size=3, ledger=Ledger())
        found = []
        async with trio.open_nursery() as nursery:
            fetcher = Fetcher(store, nursery=nursery, prefetch_limit=4 * MiB)

            async def fetch():
                found.append(await fetcher.fetch_latest(content))

            nursery.start_soon(fetch)
            await until(lambda: not fetcher.is_absent(content))
            assert bytes(await fetcher.read(content, 0, memoryview(bytearray(3)))) == b"old"
            assert found == [latest]
            assert len(store.asked) == 2
            nursery.cancel_scope.cancel()
        content.discard()

    in_folder(main)


def test_small_files_that_are_opened_wait_for_room_like_all_others():
    """However many are opened, no more is on its way than memory is to hold."""

    async def main(folder):
        store = SlowStore([1] * 10)
        files = {}
        for name, size in (("large", 4 * MiB), ("small", 1000)):
            info = await store.put(Key(name), bytes(size))
            files[name] = Content(folder / name, base=info, size=size, ledger=Ledger())
        async with trio.open_nursery() as nursery:
            fetcher = Fetcher(store, nursery=nursery, prefetch_limit=4 * MiB, budget=MiB)
            nursery.start_soon(fetcher.fetch, files["large"])
            await until(lambda: store.asked)
            nursery.start_soon(fetcher.fetch_latest, files["small"])
            await trio.sleep(0.5)
            assert 1000 not in store.asked
            await until(lambda: 1000 in store.asked)
            nursery.cancel_scope.cancel()
        for content in files.values():
            content.discard()

    in_folder(main)


def test_memory_for_arrivals_is_bounded():
    """Half-read pieces of many files are let go, the oldest first."""
    from mountd.data.arrivals import Arrivals

    class Plain:
        def __init__(self):
            self.watchers = set()

    files = [Plain() for _ in range(10)]
    arrivals = Arrivals(4 * MiB)
    for file in files:
        arrivals.hold(file, 0, bytes(MiB))
    assert arrivals.bytes == 4 * MiB
    assert [arrivals.find(file, 5) is not None for file in files] == [False] * 6 + [True] * 4
    assert [bool(file.watchers) for file in files] == [False] * 6 + [True] * 4
