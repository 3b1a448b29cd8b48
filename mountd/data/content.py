"""A node's bytes on this machine: one sparse backing file and the map of what is in it.

Read cache and write staging are the same file. A byte is absent (only the store has it, under `base`), clean (here and
in the store) or dirty (only here). Absent always means "the same byte of `base`": whatever makes that untrue, such as
growing a file that was shrunk, makes the range dirty.

Concurrency: `_mutex` serialises everything that changes the backing file or reads it for an upload. Cached reads take
no lock; eviction keeps away from a content that has one under way (`readers`).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol

import trio

from mountd.data import blocks, disk
from mountd.data.extents import ExtentMap, Span, State
from mountd.data.snapshot import Snapshot, Source
from mountd.errors import NoSpace, from_os_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from mountd.objects.interface import Buffer, ObjectInfo

# Up to this size a copy to or from the page cache takes less time than handing it to a thread and back.
INLINE = 64 * 1024


class Ledger(Protocol):
    """Who is told about space: the cache's budget."""

    def used(self, content: Content, start: int, end: int) -> None:
        """Bytes of `[start, end)` were read or written."""

    def grew(self, amount: int) -> None:
        """`amount` more bytes lie in backing files (fewer when negative)."""

    def opened(self, content: Content) -> None:
        """The backing file has been opened; called in any thread."""

    def closed(self, content: Content) -> None:
        """The backing file has been closed."""

    def reclaim(self, amount: int) -> bool:
        """Try to free `amount` bytes of disk; tell whether any were."""


class Content:
    """The bytes of one version of one file, as far as they are here.

    Attributes:
        base: the object that absent and clean bytes belong to; `None` while the store has none.
        size: the file's length in bytes.
        generation: grows with every change of bytes or size.
        settled: the generation that the store holds.
        readers: how many reads of the backing file are under way in threads.
        pinned: keep every byte here, because the store no longer has it.
        original: descriptor of the store's own file, where the store is a folder of this machine; see `inplace`.
        watchers: called with `(start, end)` whenever bytes change.
    """

    def __init__(
        self,
        path: Path,
        *,
        base: ObjectInfo | None,
        size: int,
        ledger: Ledger,
        checks: dict[int, int] | None = None,
    ) -> None:
        self.path = path
        self.base = base
        self.size = size
        self.generation = 0
        self.settled = 0 if base else -1  # a new file, though empty, is something the store lacks
        self.readers = 0
        self.pinned = False
        self.extents = ExtentMap()
        self.watchers: set[Callable[[int, int], None]] = set()
        self._checks = checks or {}
        self._unverified: set[int] = set(self._checks)
        for number in self._checks:
            self.extents.set(*blocks.span(number, size), State.CLEAN)
        self._ledger = ledger
        self._fd: int | None = None
        self.original: int | None = None
        self._replaced: list[int] = []
        self._mutex = trio.Lock()
        self._snapshot: Snapshot | None = None

    @property
    def dirty(self) -> bool:
        """Whether the store lacks something."""
        return self.generation != self.settled

    @property
    def evictable(self) -> bool:
        """Whether clean extents may be taken away right now."""
        return self.idle and not self.pinned

    @property
    def idle(self) -> bool:
        """Whether nobody is using the backing file right now."""
        return not (self.readers or self._mutex.locked() or self._snapshot)

    def read_now(self, start: int, end: int, buffer: memoryview) -> bool:
        """Fill `buffer` with `[start, end)` if it is here, verified and in the page cache; tell whether it did."""
        if not self.extents.covers(start, end) or not self._verified(start, end):
            return False
        self._ledger.used(self, start, end)
        return disk.read_from_page_cache(self._file(), buffer, start)

    async def read(self, start: int, end: int) -> bytes | None:
        """Return `[start, end)` from the backing file, or `None` where some of it is absent or turned out damaged."""
        if not self.extents.covers(start, end):
            return None
        self.readers += 1
        try:
            if not self._verified(start, end):
                await self._verify(start, end)
                if not self.extents.covers(start, end):
                    return None
            self._ledger.used(self, start, end)
            return await trio.to_thread.run_sync(disk.read_all, self._file(), start, end)
        finally:
            self.readers -= 1

    def _verified(self, start: int, end: int) -> bool:
        return not self._unverified or self._unverified.isdisjoint(blocks.touched(start, end))

    async def _verify(self, start: int, end: int) -> None:
        """Compare restored blocks with their checksums; a block that does not match becomes absent."""
        for number in sorted(self._unverified.intersection(blocks.touched(start, end))):
            block = blocks.span(number, self.size)
            data = await trio.to_thread.run_sync(disk.read_all, self._file(), *block)
            if number not in self._unverified:
                continue
            self._unverified.discard(number)
            if blocks.checksum(data) != self._checks[number]:
                self._checks.pop(number)
                self._set(block.start, block.end, None)

    async def write(self, offset: int, data: Buffer) -> None:
        """Put `data` at `offset`; the file grows where needed. Raises NoSpace."""
        end = offset + len(data)
        async with self._exclusive():
            if offset > self.size:
                await self._grow(offset)
            await self._change(offset, end, lambda fd: disk.write_all(fd, data, offset))
            self._set(offset, end, State.DIRTY)
            self.size = max(self.size, end)
        self._ledger.used(self, offset, end)

    async def truncate(self, size: int) -> None:
        """Cut the file off at `size`, or let it grow by zeros."""
        async with self._exclusive():
            if size > self.size:
                await self._grow(size)
            elif size < self.size:
                await self._change(size, self.size, lambda fd: os.ftruncate(fd, size))
                self._set(size, self.size, None)
                self._forget_checks(size, self.size)
                self.size = size

    async def _grow(self, size: int) -> None:
        # A hole of the sparse file reads as zeros; making it dirty is what says that these zeros are meant.
        await self._change(self.size, size, lambda fd: os.ftruncate(fd, size))
        self._set(self.size, size, State.DIRTY)
        self.size = size

    async def _change(self, start: int, end: int, act: Callable[[int], None]) -> None:
        """Save what a snapshot needs of `[start, end)`, then `act` on the backing file."""
        self._forget_checks(start, end)
        to_save = self._snapshot.overwriting(start, end, self.extents) if self._snapshot else []
        snapshot = self._snapshot

        def change() -> None:
            if snapshot and to_save:
                snapshot.save(self._file(), to_save)
            act(self._file())

        try:
            await self._on_disk(change, inline=end - start <= INLINE and not to_save, amount=end - start)
        except OSError as exc:
            # The old bytes may be half overwritten: what the store has too is dropped, to be fetched again.
            for span in self.extents.spans(start, end, State.CLEAN):
                self._set(span.start, span.end, None)
            raise from_os_error(exc) from exc
        self.generation += 1
        for watcher in tuple(self.watchers):
            watcher(start, end)

    async def _on_disk(self, act: Callable[[], None], *, inline: bool, amount: int) -> None:
        try:
            await _run(act, inline=inline)
        except OSError as exc:
            if not isinstance(from_os_error(exc), NoSpace) or not self._ledger.reclaim(amount):
                raise
            await _run(act, inline=inline)

    async def fill(self, start: int, data: bytes) -> None:
        """Put bytes of the store's object where they are still absent. Raises NoSpace; then nothing has changed.

        Bytes that were asked for before an upload of ours advanced `base` are as good: it carried absent bytes over.
        """
        async with self._exclusive():
            view = memoryview(data)
            spans = self.extents.spans(start, min(start + len(data), self.size), None)

            def put() -> dict[int, int]:
                for span in spans:
                    disk.write_all(self._file(), view[span.start - start : span.end - start], span.start)
                return blocks.checksums(data, start, self.size)

            try:
                checks = await trio.to_thread.run_sync(put)
            except OSError as exc:
                raise from_os_error(exc) from exc
            for span in spans:
                self._set(span.start, span.end, State.CLEAN)
                for number in blocks.whole(span.start, span.end, self.size):
                    self._checks[number] = checks[number]
                self._ledger.used(self, span.start, span.end)

    async def freeze(self) -> Snapshot:
        """Take the snapshot that an upload works from; at most one at a time."""
        async with self._exclusive():
            if self._snapshot is not None:
                raise RuntimeError("a snapshot is already held")
            self._snapshot = Snapshot(
                generation=self.generation, size=self.size, frozen=self.extents.copy(), folder=self.path.parent
            )
            return self._snapshot

    async def read_frozen(self, snapshot: Snapshot, start: int, end: int) -> tuple[bytearray, list[Span]]:
        """Return `[start, end)` of the snapshot, and the spans of it that only the store has (zeros meanwhile)."""
        data = bytearray(end - start)
        view = memoryview(data)
        missing: list[Span] = []
        async with self._exclusive():
            pieces = list(snapshot.pieces(start, end, self.extents))

            def collect() -> None:
                for piece in pieces:
                    part = view[piece.start - start : piece.end - start]
                    if piece.source is Source.BACKING:
                        part[:] = disk.read_all(self._file(), piece.start, piece.end)
                    elif piece.source is Source.SIDE:
                        part[:] = snapshot.read_side(piece.start, piece.end)
                    else:
                        missing.append(Span(piece.start, piece.end))

            await trio.to_thread.run_sync(collect)
        return data, missing

    def settle(self, snapshot: Snapshot, info: ObjectInfo) -> None:
        """The store now holds the snapshot as `info`: what has not changed since is clean."""
        for span in snapshot.unchanged():
            self._set(span.start, min(span.end, self.size), State.CLEAN)
        self.base = info
        self.settled = snapshot.generation

    def thaw(self, snapshot: Snapshot) -> None:
        """Let the snapshot go, whatever became of the upload."""
        if self._snapshot is snapshot:
            self._snapshot = None
        snapshot.close()

    def evict(self, start: int, end: int) -> int:
        """Take clean bytes of `[start, end)` away; return how many. Only while `evictable`."""
        freed = 0
        for span in self.extents.spans(start, end, State.CLEAN):
            disk.punch_hole(self._file(), span.start, span.end)
            self._forget_checks(span.start, span.end)
            self._set(span.start, span.end, None)
            freed += span.end - span.start
        return freed

    async def checked_blocks(self) -> dict[int, int]:
        """Return the checksum of every whole clean block, computing those of blocks that were written here."""
        spans = self.extents.spans(0, self.size, State.CLEAN)
        lacking = [n for s in spans for n in blocks.whole(s.start, s.end, self.size) if n not in self._checks]
        generation = self.generation

        def compute(numbers: Iterable[int]) -> dict[int, int]:
            fd = self._file()
            return {n: blocks.checksum(disk.read_all(fd, *blocks.span(n, self.size))) for n in numbers}

        if lacking:
            self.readers += 1
            try:
                found = await trio.to_thread.run_sync(compute, lacking)
            finally:
                self.readers -= 1
            if generation == self.generation:
                self._checks.update(found)
        return dict(self._checks)

    async def give_away(self, adopt: Callable[[int], Awaitable[ObjectInfo | None]]) -> ObjectInfo | None:
        """Let `adopt` make the store's own file out of the backing file, and read from there afterwards.

        Returns what the store has then; `None`, and nothing has changed, where some bytes are not here or `adopt` says
        that it cannot. Writes wait meanwhile. Raises what `adopt` raises.
        """
        if not self.extents.covers(0, self.size):
            return None
        self.readers += 1
        try:  # before the lock is taken, so that those who wait for it wait no longer
            await trio.to_thread.run_sync(os.fsync, self._file())
        finally:
            self.readers -= 1
        async with self._exclusive():
            if not self.extents.covers(0, self.size) or self._snapshot is not None:
                return None
            descriptor = self._file()
            await trio.to_thread.run_sync(os.ftruncate, descriptor, self.size)
            info = await adopt(descriptor)
            if info is None:
                return None
            self._fd = None
            self._ledger.closed(self)
            self.keep_original(descriptor)
            self.path.unlink(missing_ok=True)
            self._checks.clear()
            self._unverified.clear()
            self._set(0, self.size, None)
            self.base, self.settled = info, self.generation
            return info

    def keep_original(self, descriptor: int) -> None:
        """Read absent bytes from this file of the store from now on."""
        if self.original is not None:
            self._replaced.append(self.original)
        self.original = descriptor
        if not self.readers:  # a descriptor that is being read from must not come to stand for another file
            self._close_replaced()

    def _close_replaced(self) -> None:
        while self._replaced:
            os.close(self._replaced.pop())

    def close(self) -> None:
        """Close the files; they are opened again on demand."""
        self.close_file()
        if self.original is not None:
            os.close(self.original)
        self.original = None
        self._close_replaced()

    def close_file(self) -> None:
        """Close the backing file. Only while it is `idle`, or when nobody has the file open."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._ledger.closed(self)

    def discard(self) -> None:
        """Delete the backing file and everything known about it."""
        self.close()
        self._ledger.grew(-self.extents.total())
        self.extents = ExtentMap()
        self._checks.clear()
        self._unverified.clear()
        self.path.unlink(missing_ok=True)

    def _file(self) -> int:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._ledger.opened(self)
        return self._fd

    def _set(self, start: int, end: int, state: State | None) -> None:
        before = self.extents.total()
        self.extents.set(start, end, state)
        self._ledger.grew(self.extents.total() - before)

    def _forget_checks(self, start: int, end: int) -> None:
        if not self._checks:
            return
        touched = blocks.touched(start, end)
        # A file can be made any size: then those that there are are fewer than those that could be.
        few = touched if len(touched) < len(self._checks) else [n for n in self._checks if n in touched]
        for number in few:
            self._checks.pop(number, None)
            self._unverified.discard(number)

    @contextlib.asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        # The usual case, nobody else there, must not cost a trip through the scheduler.
        try:
            self._mutex.acquire_nowait()
        except trio.WouldBlock:
            await self._mutex.acquire()
        try:
            yield
        finally:
            self._mutex.release()


async def _run(act: Callable[[], None], *, inline: bool) -> None:
    if inline:
        act()
    else:
        await trio.to_thread.run_sync(act)
