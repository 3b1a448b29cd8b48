"""A content against the simplest model there is: the file as bytes, and the object in the store as bytes."""

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.data import blocks
from mountd.data.content import Content
from mountd.data.extents import Span, State
from mountd.errors import Corrupt, NoSpace
from mountd.objects.interface import Key, MiB, ObjectInfo, Version

UNIT = blocks.BLOCK // 4
SIZE = 10 * UNIT + 17


class Ledger:
    """Counts what a cache would count."""

    def __init__(self):
        self.bytes = 0

    def used(self, content, start, end):
        pass

    def grew(self, amount):
        self.bytes += amount

    def opened(self, content):
        pass

    def closed(self, content):
        pass

    def reclaim(self, amount):
        return False


def info_of(data, version="v1"):
    return ObjectInfo(Key("k"), len(data), 0, Version(version))


def checks_of(data):
    """Return what is kept of a file that is here as a whole."""
    return {i: blocks.checksum(data[i * blocks.BLOCK :][: blocks.BLOCK]) for i in range(-(-len(data) // blocks.BLOCK))}


offsets = st.integers(0, SIZE + 2 * UNIT)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), offsets, st.integers(1, 3 * UNIT)),
        st.tuples(st.just("truncate"), offsets, st.just(0)),
        st.tuples(st.just("fill"), offsets, st.integers(1, 5 * UNIT)),
        st.tuples(st.just("evict"), offsets, st.integers(1, 5 * UNIT)),
        st.tuples(st.just("freeze"), st.just(0), st.just(0)),
        st.tuples(st.just("send"), offsets, st.integers(1, 4 * UNIT)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
        st.tuples(st.just("close"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


class Model:
    """The file, the stored object and the snapshot, as plain bytes beside the real content."""

    def __init__(self, path):
        self.stored = os.urandom(SIZE)
        self.file = bytearray(self.stored)
        self.ledger = Ledger()
        self.content = Content(path, base=info_of(self.stored), size=SIZE, ledger=self.ledger)
        self.snapshot = None
        self.frozen = b""
        self.count = 1

    async def write(self, offset, length):
        data = os.urandom(length)
        await self.content.write(offset, data)
        self.file.extend(bytes(max(0, offset - len(self.file))))
        self.file[offset : offset + length] = data

    async def truncate(self, size, _):
        await self.content.truncate(size)
        del self.file[size:]
        self.file.extend(bytes(size - len(self.file)))

    async def fill(self, offset, length):
        start, end = blocks.align_out(min(offset, len(self.stored)), min(offset + length, SIZE), len(self.stored))
        await self.content.fill(start, self.stored[start:end])

    async def evict(self, offset, length):
        if self.content.evictable:
            self.content.evict(offset, offset + length)

    async def freeze(self, *_):
        if self.snapshot is None:
            self.snapshot = await self.content.freeze()
            self.frozen = bytes(self.file)

    async def send(self, offset, length):
        if self.snapshot is not None:
            start, end = min(offset, self.snapshot.size), min(offset + length, self.snapshot.size)
            assert await self.whole(self.snapshot, start, end) == self.frozen[start:end]
            self.snapshot.sent(start, end)

    async def settle(self, *_):
        if self.snapshot is not None:
            self.count += 1
            self.stored = self.frozen
            self.content.settle(self.snapshot, info_of(self.stored, f"v{self.count}"))
            self.content.thaw(self.snapshot)
            self.snapshot = None

    async def close(self, *_):
        self.content.close()

    async def whole(self, snapshot, start, end):
        data, missing = await self.content.read_frozen(snapshot, start, end)
        for gap in missing:
            data[gap.start - start : gap.end - start] = self.stored[gap.start : gap.end]
        return bytes(data)

    async def check(self):
        assert self.content.size == len(self.file)
        pieces = []
        for run in list(self.content.extents.runs(0, self.content.size)):
            here = run.state is not None
            pieces.append(await self.content.read(*run[:2]) if here else self.stored[run.start : run.end])
        assert b"".join(pieces) == bytes(self.file)
        assert self.ledger.bytes == self.content.extents.total()
        assert await self.content.scrub() == []
        assert self.ledger.bytes == self.content.extents.total()
        if not self.content.dirty:
            assert bytes(self.file) == self.stored


@settings(max_examples=150, deadline=None)
@given(operations)
def test_every_byte_is_the_newest_whatever_happens_in_between(tmp_path_factory, ops):
    """Writes, truncation, fetching, eviction and uploads in any order: the file reads as a plain file would, and a
    snapshot reads as the file was when it was taken."""
    path = tmp_path_factory.mktemp("content") / "blob"

    async def run():
        model = Model(path)
        for name, offset, length in ops:
            # A range that was sent is not asked for again: the upload reads each part once.
            if name != "send":
                await getattr(model, name)(offset, length)
                await model.check()
        await model.freeze()
        await model.send(0, model.snapshot.size)
        await model.settle()
        await model.check()
        model.content.close()

    trio.run(run)


@settings(max_examples=150, deadline=None)
@given(operations, st.floats(0, 1, exclude_max=True))
def test_no_byte_can_turn_unnoticed_whatever_was_done_before(tmp_path_factory, ops, place):
    """Each byte that is here is covered by a checksum: one that the disk changes is dropped where the store has it, or
    reported and never uploaded, and it is never read."""
    path = tmp_path_factory.mktemp("content") / "blob"

    async def run():
        model = Model(path)
        for name, offset, length in ops:
            if name not in ("send", "freeze", "settle"):
                await getattr(model, name)(offset, length)
        content = model.content
        runs = list(content.extents)
        offset = int(place * sum(run.end - run.start for run in runs))
        run = next((r for r in runs if (offset := offset - (r.end - r.start)) < 0), None)
        if run is None:
            return
        at = run.end + offset
        block = blocks.span(at // blocks.BLOCK, content.size)
        dirty = content.extents.spans(*block, State.DIRTY)
        checks = await content.checked_blocks()
        content.close()
        turn(path, at)
        snapshot = await content.freeze()
        if dirty:
            assert await content.scrub() == [block]
            with pytest.raises(Corrupt):
                await content.read_frozen(snapshot, 0, content.size)
            with pytest.raises(Corrupt):
                await content.read(at, at + 1)
            assert at // blocks.BLOCK not in await content.checked_blocks()
        else:
            assert await model.whole(snapshot, 0, content.size) == bytes(model.file)
            assert content.extents.spans(*block, None) == [block]
            checks.pop(at // blocks.BLOCK, None)
            assert await content.checked_blocks() == checks
        content.thaw(snapshot)
        content.close()

    trio.run(run)


def turn(path, offset):
    """Turn a bit of a file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([(old or b"\0")[0] ^ 4]))


async def test_a_snapshot_keeps_what_is_overwritten_after_it_was_taken(tmp_path):
    """A write during an upload is not mixed into what is uploaded."""
    content = Content(tmp_path / "blob", base=None, size=0, ledger=Ledger())
    await content.write(0, b"a" * 1000)
    snapshot = await content.freeze()
    await content.write(100, b"b" * 100)
    await content.truncate(500)
    data, missing = await content.read_frozen(snapshot, 0, 1000)
    assert (bytes(data), missing) == (b"a" * 1000, [])
    content.settle(snapshot, info_of(data))
    content.thaw(snapshot)
    assert content.dirty
    assert await content.read(0, 500) == b"a" * 100 + b"b" * 100 + b"a" * 300
    content.close()


async def test_a_damaged_block_is_absent_after_a_restart(tmp_path):
    """A restored block whose checksum does not match is fetched again, never served."""
    data = os.urandom(3 * blocks.BLOCK)
    path = tmp_path / "blob"
    path.write_bytes(data)
    checks = checks_of(data)
    with open(path, "r+b") as file:
        file.seek(blocks.BLOCK + 5)
        file.write(b"damage")
    content = Content(path, base=info_of(data), size=len(data), ledger=Ledger(), checks=checks)
    assert await content.read(0, blocks.BLOCK) == data[: blocks.BLOCK]
    assert await content.read(blocks.BLOCK, 2 * blocks.BLOCK) is None
    assert content.extents.spans(0, len(data), None) == [Span(blocks.BLOCK, 2 * blocks.BLOCK)]
    content.close()


async def test_what_was_written_here_gets_checksums_once_it_is_clean(tmp_path):
    """Blocks written through the mount survive a restart like fetched ones."""
    data = os.urandom(2 * blocks.BLOCK + 99)
    content = Content(tmp_path / "blob", base=None, size=0, ledger=Ledger())
    await content.write(0, data)
    snapshot = await content.freeze()
    content.settle(snapshot, info_of(data))
    content.thaw(snapshot)
    assert await content.checked_blocks() == checks_of(data)
    content.close()


@pytest.mark.parametrize("pieces", [1, 2, 5])
async def test_damage_is_not_hidden_by_writing_over_a_part_of_it(tmp_path, pieces):
    """A write into a block that the disk has damaged makes no checksum of the damage; writes over all of it heal."""
    content = Content(tmp_path / "blob", base=None, size=0, ledger=Ledger())
    await content.write(0, b"a" * (2 * blocks.BLOCK))
    turn(content.path, 10)
    await content.write(1000, b"b" * 1000)
    snapshot = await content.freeze()
    with pytest.raises(Corrupt, match="damaged what was written at byte 0"):
        await content.read_frozen(snapshot, 0, content.size)
    content.thaw(snapshot)
    step = -(-blocks.BLOCK // pieces)
    for start in range(0, blocks.BLOCK, step):
        with pytest.raises(Corrupt):
            await content.read(start, blocks.BLOCK)
        await content.write(start, b"c" * min(step, blocks.BLOCK - start))
    snapshot = await content.freeze()
    data, _ = await content.read_frozen(snapshot, 0, content.size)
    assert data == b"c" * blocks.BLOCK + b"a" * blocks.BLOCK
    content.thaw(snapshot)
    content.close()


async def test_a_damaged_block_that_is_written_to_is_fetched_where_it_can_be(tmp_path):
    """What the store has, too, is dropped, and the write stays."""
    stored = os.urandom(blocks.BLOCK)
    content = Content(tmp_path / "blob", base=info_of(stored), size=len(stored), ledger=Ledger())
    await content.fill(0, stored)
    turn(content.path, 10)
    await content.write(1000, b"b" * 1000)
    assert list(content.extents) == [(1000, 2000, State.DIRTY)]
    await content.fill(0, stored)
    assert await content.read(0, len(stored)) == stored[:1000] + b"b" * 1000 + stored[2000:]
    content.close()


async def test_damaged_bytes_that_are_saved_for_an_upload_are_not_uploaded(tmp_path):
    """A write during an upload puts old bytes aside: they are compared, too."""
    content = Content(tmp_path / "blob", base=None, size=0, ledger=Ledger())
    await content.write(0, b"a" * (2 * blocks.BLOCK))
    turn(content.path, 10)
    snapshot = await content.freeze()
    await content.write(0, b"b" * blocks.BLOCK)
    with pytest.raises(Corrupt):
        await content.read_frozen(snapshot, 0, 100)
    content.thaw(snapshot)
    content.close()


async def test_what_arrives_while_the_file_is_closed_is_still_trusted_afterwards(tmp_path):
    """Who closes it right after the last read is sooner than the disk: the write that is under way is our own."""
    data = os.urandom(2 * MiB)
    content = Content(tmp_path / "c", base=info_of(data), size=len(data), ledger=Ledger())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(content.fill, 0, data, behind=False))
        await trio.testing.wait_all_tasks_blocked()
        content.close()
    buffer = bytearray(len(data))
    assert content.read_now(0, len(data), memoryview(buffer))
    assert buffer == data
    content.close()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, blocks.BLOCK)], ids=["gone", "short"])
async def test_a_backing_file_that_was_cut_or_deleted_is_fetched_again(tmp_path, damage):
    """While nobody has it open: its name then leads to other bytes, or to none."""
    stored = os.urandom(3 * blocks.BLOCK)
    content = Content(tmp_path / "blob", base=info_of(stored), size=len(stored), ledger=Ledger())
    await content.fill(0, stored)
    content.close()
    damage(content.path)
    assert await content.read(2 * blocks.BLOCK, 3 * blocks.BLOCK) is None
    await content.fill(2 * blocks.BLOCK, stored[2 * blocks.BLOCK :])
    assert await content.read(2 * blocks.BLOCK, 3 * blocks.BLOCK) == stored[2 * blocks.BLOCK :]
    content.close()


class SmallDisk:
    """A file system of 1 MiB, mounted for the length of the block."""

    def __init__(self, path):
        self.path = path
        path.mkdir()

    def __enter__(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", self.path], check=True)
        return self.path

    def __exit__(self, *exc):
        subprocess.run(["umount", "-l", self.path], check=True)  # a test that fails leaves its file open


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")


@needs_root
async def test_what_a_full_disk_did_not_take_leaves_nothing_behind(tmp_path):
    """Bytes that were written beyond the end before the disk was full do not show when the file grows."""
    with SmallDisk(tmp_path / "disk") as disk:
        content = Content(disk / "blob", base=None, size=0, ledger=Ledger())
        await content.write(0, b"a" * 1000)
        with pytest.raises(NoSpace):
            await content.write(1000, b"b" * (2 << 20))
        assert content.size == 1000
        await content.truncate(100_000)
        assert await content.read(0, 100_000) == b"a" * 1000 + bytes(99_000)
        assert await content.scrub() == []
        content.close()


@needs_root
async def test_an_upload_is_right_though_a_write_meanwhile_finds_the_disk_full(tmp_path):
    """The old bytes cannot be put aside, so they are not overwritten, and the upload reads them where they are."""
    with SmallDisk(tmp_path / "disk") as disk:
        content = Content(disk / "blob", base=None, size=0, ledger=Ledger())
        await content.write(0, b"a" * (700 << 10))
        snapshot = await content.freeze()
        with pytest.raises(NoSpace):
            await content.write(0, b"b" * (700 << 10))
        data, missing = await content.read_frozen(snapshot, 0, snapshot.size)
        assert (bytes(data), missing) == (b"a" * (700 << 10), [])
        content.thaw(snapshot)
        content.close()
