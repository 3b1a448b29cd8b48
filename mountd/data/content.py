"""A node's bytes on this machine: one sparse backing file and the map of what is in it.

Read cache and write staging are the same file. A byte is absent (only the store has it, under `base`), clean (here and
in the store) or dirty (only here). Absent always means "the same byte of `base`": whatever makes that untrue, such as
growing a file that was shrunk, makes the range dirty.

Concurrency: `_mutex` serialises everything that changes the backing file or reads it for an upload. Cached reads take
no lock; eviction keeps away from a content that has one under way (`backing.readers`).
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

import trio

from mountd.data import blocks, disk
from mountd.data.backing import BackingFile
from mountd.data.extents import ExtentMap, Span, State
from mountd.data.snapshot import Snapshot, Source
from mountd.data.sums import Sum, Sums, sums_of
from mountd.errors import Corrupt, NoSpace, from_os_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from mountd.data.sums import Claim
    from mountd.objects.interface import Buffer, ObjectInfo

log = logging.getLogger(__name__)

T = TypeVar("T")

# Up to this size a copy to or from the page cache takes less time than handing it to a thread and back.
INLINE = 64 * 1024
# How much is read and compared at a time when all of a file is.
STEP = 8 * 1024 * 1024


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
        backing: the backing file, read by threads as `backing.reading` tells.
        pinned: keep every byte here, because the store no longer has it.
        dropped: how many bytes have turned out damaged and were dropped, because the store has them.
        noted: the `state` that the cache's index has, where it has one.
        unwritten: zeros that are there because the file was made longer, where nobody has written yet.
        watchers: called with `(start, end)` whenever bytes change.
    """

    _promptness: ClassVar = disk.Promptness()  # a daemon's backing files are all on one disk

    def __init__(
        self,
        path: Path,
        *,
        base: ObjectInfo | None,
        size: int,
        ledger: Ledger,
        checks: dict[int, int] | None = None,
    ) -> None:
        self.backing = BackingFile(
            path, compared=not checks, opened=lambda: ledger.opened(self), closed=lambda: ledger.closed(self)
        )
        self.base = base
        self.size = size
        self.generation = 0
        self.settled = 0 if base else -1  # a new file, though empty, is something the store lacks
        self.pinned = False
        self.dropped = 0
        self.noted: tuple[ObjectInfo | None, int] | None = None
        self.extents = ExtentMap()
        self.watchers: set[Callable[[int, int], None]] = set()
        self._sums = Sums(checks, size)
        for number in checks or ():
            self.extents.set(*blocks.span(number, size), State.CLEAN)
        self._ledger = ledger
        self._discarded = False
        self._changes = 0
        self._mutex = trio.Lock()
        self._snapshot: Snapshot | None = None
        self._refused = ExtentMap()
        self.unwritten = ExtentMap()

    @property
    def dirty(self) -> bool:
        """Whether the store lacks something."""
        return self.generation != self.settled or self.refused

    @property
    def refused(self) -> bool:
        """Whether the local disk did not take a write, and nobody has written there since: the file is not whole."""
        return bool(self._refused)

    @property
    def path(self) -> Path:
        """Where the backing file is."""
        return self.backing.path

    @property
    def evictable(self) -> bool:
        """Whether clean extents may be taken away right now."""
        return self.idle and not self.pinned and not self.backing.is_shared()

    @property
    def idle(self) -> bool:
        """Whether nobody is using the backing file right now."""
        return not (self.backing.readers or self._mutex.locked() or self._snapshot)

    def read_now(self, start: int, end: int, buffer: memoryview) -> bool:
        """Fill `buffer` with `[start, end)` if it is here, verified and in the page cache; tell whether it did."""
        if not self.extents.covers(start, end) or not self._verified(start, end):
            return False
        self._ledger.used(self, start, end)
        return disk.read_from_page_cache(self.backing.fd(), buffer, start)

    async def read(self, start: int, end: int, buffer: memoryview | None = None) -> Buffer | None:
        """Return `[start, end)` from the backing file, or `None` where some of it is absent or turned out damaged.

        `buffer`: memory of that size, which is used where nothing else can run meanwhile. Raises Corrupt where what is
        damaged is not in the store.
        """
        if not self.extents.covers(start, end):
            return None
        with self.backing.reading():
            if not self._verified(start, end):
                return await self._read_unverified(start, end)
            self._ledger.used(self, start, end)
            if buffer is not None and end - start <= blocks.BLOCK and self._promptness.prompt:
                return self._promptness.read_into(self.backing.fd(), buffer, start)
            return await trio.to_thread.run_sync(self._promptness.read, self.backing.fd(), start, end)

    async def read_ahead(self, start: int, end: int) -> None:
        """Have what is here of `[start, end)` in the page cache, for reads in order that come to it soon.

        What they have come from is not kept there: the kernel has it once more, as the mount's.
        """
        here = [run for run in self.extents.runs(start, end) if run.state is not None]
        if not here:  # discarded meanwhile, perhaps: a descriptor would make the file anew
            return

        def act() -> None:
            for run in here:
                disk.read_ahead(fd, run.start, run.end)
            if start > STEP:  # the kernel's requests may be a little out of order
                disk.let_go(fd, max(0, start - 2 * STEP), start - STEP)

        with contextlib.suppress(OSError), self.backing.reading():  # whoever reads there will get the error
            fd = self.backing.fd()
            await trio.to_thread.run_sync(act)

    async def _read_unverified(self, start: int, end: int) -> Buffer | None:
        whole = blocks.align_out(start, end, self.size)
        data = await self._read_compared(*whole)
        self.backing.compared(blocks.touched(start, end))
        if not self.extents.covers(start, end):
            return None
        self._require_sound(start, end)
        self._ledger.used(self, start, end)
        return data[start - whole.start : end - whole.start]

    def _verified(self, start: int, end: int) -> bool:
        return self.backing.trusts(blocks.touched(start, end)) and not self._sums.is_damaged(start, end)

    async def read_compared(self, start: int, end: int) -> Buffer | None:
        """Return `[start, end)` after comparing it with its checksums, or `None` as `read` does. Raises Corrupt."""
        if not self.extents.covers(start, end):
            return None
        data = await self._read_compared(start, end)
        self._require_sound(start, end)
        return data if self.extents.covers(start, end) else None

    async def scrub(self) -> list[Span]:
        """Compare all that is here with its checksums: what is damaged and in the store, too, becomes absent.

        Returns the damaged blocks that only this machine had.
        """
        for run in list(self.extents):
            for start in range(run.start, run.end, STEP):
                await self._read_compared(start, min(start + STEP, run.end))
        return [blocks.span(number, self.size) for number in sorted(self._sums.damaged)]

    async def _read_compared(self, start: int, end: int) -> Buffer:
        """Return `[start, end)` of the backing file; blocks that are not as they were written are dropped, or noted."""
        with self.backing.reading():
            data, broken = await self._compare(start, end)
            if broken:  # or only written to at this very moment
                async with self._exclusive():
                    data, broken = await self._compare(start, end)
                    self._drop_damaged(broken)
            return data

    async def _compare(self, start: int, end: int) -> tuple[Buffer, set[int]]:
        claim, fd = self._sums.claim(start, end), self.backing.fd()

        def compare() -> tuple[Buffer, set[int]]:
            data = memoryview(disk.read_once(fd, claim.start, claim.end))
            broken = claim.broken(data)
            return (data if claim[:2] == (start, end) else data[start - claim.start : end - claim.start]), broken

        try:
            return await trio.to_thread.run_sync(compare)
        except OSError as exc:
            raise from_os_error(exc) from exc

    def _drop_damaged(self, numbers: set[int]) -> None:
        expendable = set(self._expendable(numbers))
        before = self.extents.total()
        for number in expendable:
            self._sums.forget(*blocks.span(number, self.size))
            self._set(*blocks.span(number, self.size), None)
        if expendable:
            self.dropped += before - self.extents.total()
            log.warning("%s: the local disk has damaged it; the store is asked for it again", self.path)
        self._sums.found_damaged(numbers - expendable - self._sums.damaged)
        self._sums.found_sound(expendable)

    def _expendable(self, numbers: Iterable[int]) -> list[int]:
        """Return those of the blocks that the store has, too."""
        if self.pinned or self.base is None:
            return []
        return [n for n in numbers if not self.extents.spans(*blocks.span(n, self.size), State.DIRTY)]

    def _require_sound(self, start: int, end: int) -> None:
        if self._sums.is_damaged(start, end):
            number = next(n for n in blocks.touched(start, end) if n in self._sums.damaged)
            raise Corrupt(
                f"the local disk has damaged what was written at byte {number * blocks.BLOCK} (in {self.path}); "
                "write the file again, or remove it"
            )

    async def write(self, offset: int, data: Buffer) -> None:
        """Put `data` at `offset`; the file grows where needed. Raises NoSpace."""
        end = offset + len(data)
        async with self._exclusive():
            # The kernel has told the program that this is written, and has no other way to take it back than an error
            # at the end: until it is written again, the file must not be stored.
            self._refused.set(offset, end, 1)
            if offset > self.size:
                await self._grow(offset)
            await self._change(offset, end, lambda fd: disk.write_behind(fd, data, offset), data)
            self._refused.set(offset, end, None)
            if self.unwritten:
                self.unwritten.set(offset, end, None)
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
                self.size = size
            self._refused.truncate(size)
            self.unwritten.truncate(size)

    async def _grow(self, size: int) -> None:
        # A hole of the sparse file reads as zeros; making it dirty is what says that these zeros are meant.
        await self._change(self.size, size, lambda fd: os.ftruncate(fd, size))
        self._sums.add_zeros(self.size, size)
        self._set(self.size, size, State.DIRTY)
        self.unwritten.set(self.size, size, 1)
        self.size = size

    async def _change(self, start: int, end: int, act: Callable[[int], None], data: Buffer = b"") -> None:
        """Save what a snapshot needs of `[start, end)`, then `act` on the backing file, which puts `data` there."""
        await self.backing.make_own()
        snapshot = self._snapshot
        to_save = snapshot.overwriting(start, end, self.extents) if snapshot else []
        saving = [self._sums.claim(*span) for span in to_save]
        edit = self._sums.writing(start, end) if data else self._sums.removing(start, end)
        edit.expendable = self._expendable({each.block for each in edit.torn})
        inline = end - start <= INLINE and not to_save
        prepared = inline and edit.read_now(self.backing.fd())
        made: list[Sum] = []

        def change() -> None:
            nonlocal prepared, made
            fd = self.backing.fd()
            if not prepared:  # once: a second attempt would take half of the new bytes for the old ones
                edit.read(fd)
                if snapshot and to_save:
                    snapshot.save(fd, to_save, sound=_is_sound(fd, saving))
                prepared = True
            act(fd)
            made = edit.written(data) if data else edit.removed()

        try:
            await self._on_disk(change, inline=inline and prepared, amount=end - start)
        except OSError as exc:
            if snapshot and not prepared:
                snapshot.not_overwritten(to_save)
            self._half_changed(start, end)
            raise from_os_error(exc) from exc
        self._sums.apply(edit, made)
        for number in edit.dropped:
            self._set(*blocks.span(number, self.size), None)
        self.generation += 1
        for watcher in tuple(self.watchers):
            watcher(start, end)

    def _half_changed(self, start: int, end: int) -> None:
        """Bytes that were to change may have done so: what the store has too is dropped, to be fetched again."""
        self._sums.forget(start, end)
        for span in self.extents.spans(start, end, State.CLEAN):
            self._set(span.start, span.end, None)
        if end > self.size:
            with contextlib.suppress(OSError):  # what was written beyond the end must not show when the file grows
                os.ftruncate(self.backing.fd(), self.size)

    async def _on_disk(self, act: Callable[[], None], *, inline: bool, amount: int) -> None:
        try:
            await _run(act, inline=inline)
        except OSError as exc:
            if not isinstance(from_os_error(exc), NoSpace) or not self._ledger.reclaim(amount):
                raise
            await _run(act, inline=inline)

    async def fill(self, start: int, data: Buffer, *, behind: bool = True) -> None:
        """Put bytes of the store's object where they are still absent. Raises NoSpace; then nothing has changed.

        `behind`: large pieces need not stay in the page cache.

        Bytes that were asked for before an upload of ours advanced `base` are as good: it carried absent bytes over.
        """
        async with self._exclusive():
            view, write = memoryview(data), disk.write_behind if behind else disk.write_all
            spans = self.extents.spans(start, min(start + len(data), self.size), None)
            if self._discarded:
                return

            def put() -> list[Sum]:
                made: list[Sum] = []
                for span in spans:
                    piece = view[span.start - start : span.end - start]
                    write(fd, piece, span.start)
                    made += sums_of(span.start, piece)
                return made

            try:
                with self.backing.reading():
                    fd = self.backing.fd()  # now, so that a close that comes meanwhile closes it
                    made = put() if len(data) <= INLINE else await trio.to_thread.run_sync(put)
            except OSError as exc:
                raise from_os_error(exc) from exc
            self._sums.add(made)
            for span in spans:
                self._set(span.start, span.end, State.CLEAN)
                self._ledger.used(self, span.start, span.end)

    async def freeze(self) -> Snapshot:
        """Take the snapshot that an upload works from; at most one at a time. Raises NoSpace as `require_whole`."""
        async with self._exclusive():
            if self._snapshot is not None:
                raise RuntimeError("a snapshot is already held")
            self.require_whole()
            self._snapshot = Snapshot(
                generation=self.generation, size=self.size, frozen=self.extents.copy(), folder=self.path.parent
            )
            return self._snapshot

    async def read_frozen(self, snapshot: Snapshot, start: int, end: int) -> tuple[bytearray, list[Span]]:
        """Return `[start, end)` of the snapshot, and the spans of it that only the store has (zeros meanwhile).

        Raises Corrupt where it is not what was written: damaged bytes never get to the store.
        """
        async with self._exclusive():
            while True:
                inline = end - start <= INLINE and self._in_page_cache(start, end)
                data, missing, broken = await _run(self._collector(snapshot, start, end), inline=inline)
                if not broken:
                    break
                self._drop_damaged(broken)
                self._require_sound(start, end)
        return data, missing

    def _collector(
        self, snapshot: Snapshot, start: int, end: int
    ) -> Callable[[], tuple[bytearray, list[Span], set[int]]]:
        """Return what reads a range of a snapshot from disk; the result's third part are the damaged blocks."""
        pieces = [(p, self._sums.claim(p.start, p.end)) for p in snapshot.pieces(start, end, self.extents)]
        fd, data, missing = self.backing.fd(), bytearray(end - start), list[Span]()
        broken = self._sums.damaged.intersection(blocks.touched(start, end))

        def collect() -> tuple[bytearray, list[Span], set[int]]:
            for piece, claim in pieces:
                part = memoryview(data)[piece.start - start : piece.end - start]
                if piece.source is Source.BACKING:
                    disk.read_into(fd, part, piece.start)
                    broken.update(claim.broken(part if claim[:2] == piece[:2] else disk.read_all(fd, *claim[:2])))
                elif piece.source is Source.SIDE:
                    part[:] = snapshot.read_side(piece.start, piece.end)
                else:
                    missing.append(Span(piece.start, piece.end))
            return data, missing, broken

        return collect

    def _in_page_cache(self, start: int, end: int) -> bool:
        return disk.read_from_page_cache(self.backing.fd(), memoryview(bytearray(end - start)), start)

    def require_whole(self) -> None:
        """Raise NoSpace where the local disk did not take all that was written."""
        for run in self._refused:
            raise NoSpace(f"the local disk had no room for {run.end - run.start} bytes at byte {run.start}")

    def settle(self, snapshot: Snapshot, info: ObjectInfo) -> None:
        """The store now holds the snapshot as `info`: what has not changed since is clean."""
        for span in snapshot.unchanged():
            self._set(span.start, min(span.end, self.size), State.CLEAN)
        self.base = info
        self.settled = snapshot.generation

    def disown(self) -> None:
        """The object that an empty file has is gone: the store lacks the file."""
        self.base = None
        self.settled = -1

    def thaw(self, snapshot: Snapshot) -> None:
        """Let the snapshot go, whatever became of the upload."""
        if self._snapshot is snapshot:
            self._snapshot = None
        snapshot.close()

    def evict(self, start: int, end: int) -> int:
        """Take clean bytes of `[start, end)` away; return how many. Only while `evictable`."""
        freed = 0
        for span in self.extents.spans(start, end, State.CLEAN):
            edit = self._sums.removing(span.start, span.end)
            edit.read(self.backing.fd())
            disk.punch_hole(self.backing.fd(), span.start, span.end)
            self._sums.apply(edit, edit.removed())
            self._set(span.start, span.end, None)
            freed += span.end - span.start
        return freed

    async def checked_blocks(self) -> dict[int, int]:
        """Return the checksum of every block that is here as a whole, and as it was written."""
        found = {}
        for number in [n for run in list(self._present()) for n in blocks.whole(*run, self.size)]:
            span = blocks.span(number, self.size)
            check = self._sums.check(span)
            if check is None:
                check = await self._joined(span)
            if check is not None and not self._sums.is_damaged(*span):
                found[number] = check
        return found

    def _present(self) -> Iterator[Span]:
        """Yield what is here, whatever its state."""
        at = 0
        for absent in self.extents.spans(0, self.size, None):
            yield Span(at, absent.start)
            at = absent.end
        yield Span(at, self.size)

    async def _joined(self, span: Span) -> int | None:
        """Return the one checksum of a block that was put together of several runs; `None` when it is not whole."""
        generation = self.generation
        data = await self._read_compared(*span)
        if generation != self.generation or not self.extents.covers(*span) or self._sums.is_damaged(*span):
            return None
        check = blocks.checksum(data)
        self._sums.join(span, check)
        return check

    async def give_away(self, adopt: Callable[[int], Awaitable[ObjectInfo | None]]) -> ObjectInfo | None:
        """Let `adopt` make the store's own file out of the backing file, and read from there afterwards.

        Returns what the store has then; `None`, and nothing has changed, where some bytes are not here or `adopt` says
        that it cannot. Writes wait meanwhile. Raises what `adopt` raises, and Corrupt when the bytes are not those that
        were written.
        """
        if not self.extents.covers(0, self.size):
            return None
        with self.backing.reading():  # before the lock is taken, so that those who wait for it wait no longer
            await trio.to_thread.run_sync(os.fsync, self.backing.fd())
        generation = self.generation
        await self.scrub()
        self._require_sound(0, self.size)
        async with self._exclusive():
            self.require_whole()
            if generation != self.generation or self._snapshot is not None or not self.extents.covers(0, self.size):
                return None
            descriptor = self.backing.fd()
            await trio.to_thread.run_sync(os.ftruncate, descriptor, self.size)
            info = await adopt(descriptor)
            if info is None:
                return None
            self.backing.give_away()
            self._sums = Sums()
            self._set(0, self.size, None)
            self.base, self.settled = info, self.generation
            return info

    async def share(self, snapshot: Snapshot, link: Callable[[], None]) -> bool:
        """Have `link` give the backing file a second name, if it holds the snapshot and nothing else; tell whether.

        The file is copied before it is written to again. `link` runs in a thread; what it raises is passed on.
        """
        async with self._exclusive():
            if self.generation != snapshot.generation or not self.extents.covers(0, self.size):
                return False
            await self.backing.link(link)
            return True

    def close(self) -> None:
        """Close the files; they are opened again on demand, and compared then if somebody has been at them."""
        self.backing.close()

    def discard(self) -> None:
        """Delete the backing file and everything known about it; what is still on its way here is not kept."""
        self._discarded = True
        self.close()
        self._ledger.grew(-self.extents.total())
        self.extents = ExtentMap()
        self._sums = Sums()
        self.path.unlink(missing_ok=True)

    @property
    def state(self) -> tuple[ObjectInfo | None, int]:
        """What is another one whenever something else is here, or the same of another version."""
        return self.base, self._changes

    def _set(self, start: int, end: int, state: State | None) -> None:
        self._changes += 1
        before = self.extents.total()
        self.extents.set(start, end, state)
        self._ledger.grew(self.extents.total() - before)

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


async def _run(act: Callable[[], T], *, inline: bool) -> T:
    return act() if inline else await trio.to_thread.run_sync(act)


def _is_sound(fd: int, claims: Iterable[Claim]) -> bool:
    return not any(claim.broken(disk.read_all(fd, claim.start, claim.end)) for claim in claims)
