"""A content against the simplest model there is: the file as bytes, and the object in the store as bytes."""

import os

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.data import blocks
from mountd.data.content import Content
from mountd.data.extents import Span
from mountd.objects.interface import Key, ObjectInfo, Version

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
    checks = blocks.checksums(data, 0, len(data))
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
    assert await content.checked_blocks() == blocks.checksums(data, 0, len(data))
    content.close()
