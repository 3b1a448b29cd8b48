"""What this machine has acknowledged and the store does not have: kept in the journal, readable meanwhile.

A change is on disk when `commit` returns; changes of callers at the same time share one commit. Bytes of small files
are in the journal itself, so that a file costs one wait for the disk; those of large ones are in the spool.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from mountd import crash
from mountd.data import blocks
from mountd.data.extents import ExtentMap
from mountd.errors import Corrupt, MountdError, VersionChanged
from mountd.objects.interface import ABSENT, Key, MiB, ObjectInfo, ObjectStore, Version
from mountd.writeback.pending import NOT_YET, Change, Kind, Pending, Written, is_local, units
from mountd.writeback.rows import Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mountd.data.extents import Span
    from mountd.writeback.rows import Rows
    from mountd.writeback.spool import Spool

log = logging.getLogger(__name__)

# Bytes up to which an object is kept in the journal: writing a file and its name durably costs as much as this.
IN_JOURNAL = 64 * 1024
VERIFIED_AT_ONCE = 8 * MiB


class Backlog:
    """The pending changes of one mount.

    Attributes:
        pending: the changes, in order.
        finals: what earlier ones have become.
        recovered: how many of them an earlier daemon has left.
    """

    def __init__(self, rows: Rows, spool: Spool) -> None:
        self.spool = spool
        self.pending = Pending(iter(rows.load()))
        self.finals = rows.finals()
        self.recovered = len(self.pending)
        self._rows = rows
        self._data: dict[int, bytes] = {}  # what the journal does not have yet
        self._group = max((change.group for change in self.pending), default=NOT_YET)
        self._commit = trio.Lock()
        self._changed = trio.Event()
        self._noting = trio.Lock()
        self._done: list[tuple[Change, Final | None]] = []
        self._rebased: list[Change] = []
        spool.sweep({change.spool for change in self.pending})

    async def changed(self) -> None:
        """Return after the next change of what is pending."""
        await self._changed.wait()

    def pulse(self) -> None:
        """Wake those who wait for a change."""
        self._changed.set()
        self._changed = trio.Event()

    def add(self, change: Change, data: bytes | None = None) -> None:
        """Append a change, which is seen from now on and acknowledged when `commit` has returned.

        Raises VersionChanged where the key does not hold `change.expect`, as far as is known here; then nothing has
        changed.
        """
        change.expect = self.real_version(change.key, change.expect)
        self.pending.require(change.key, change.expect)
        self.pending.add(change)
        if data is not None and change in self.pending:
            change.checks = {0: blocks.checksum(data)}
            self._data[change.seq] = data

    async def commit(self) -> None:
        """Return when all changes so far are durable. Raises NoSpace; then they may be, or be forgotten by a crash."""
        wanted = self.pending.unwritten
        async with self._commit:
            if wanted.durable:  # another commit took it along; what is newer waits for one of its own, together
                return
            written, self.pending.unwritten = self.pending.unwritten, Written()
            if not written.added and not written.dropped:
                return
            data = {change.seq: self._data[change.seq] for change in written.added if change.seq in self._data}
            crash.point("before-commit")
            try:
                await trio.to_thread.run_sync(self._rows.write, written, data)
            except BaseException:
                later = self.pending.unwritten
                added = [change for change in written.added if change in self.pending]
                self.pending.unwritten = Written(added + later.added, written.dropped + later.dropped)
                raise
            crash.point("after-commit")
            written.durable = True
            self._group += 1
            for change in written.added:
                change.group = self._group
                change.since = trio.current_time() if change.since is None else change.since
                self._data.pop(change.seq, None)
            await trio.to_thread.run_sync(self.spool.remove, [change.spool for change in written.dropped])
        self.pulse()

    def final(self, local: Version) -> Final | None:
        """Return what a local version has become in the store, `None` where it has not."""
        return self.finals.of(local) or self._rows.final(local)

    def real_version(self, key: Key, version: Version | None) -> Version | None:
        """Return the store's version for a local one that has arrived there; others as they are.

        Raises VersionChanged for a local one that neither is pending nor has arrived under this key.
        """
        if version is None or not is_local(version) or self.pending.made(key, version) is not None:
            return version
        final = self.final(version)
        if final is None or final.info.key != key:
            raise VersionChanged(f"{key} was changed meanwhile")
        return final.info.version

    def real(self, info: ObjectInfo) -> ObjectInfo:
        """Return the store's name of an object that may have a local version. Raises VersionChanged."""
        if not is_local(info.version):
            return info
        final = self.final(info.version)
        if final is None:
            raise VersionChanged(f"{info.key} was changed meanwhile")
        return final.info

    async def bytes_here(self, change: Change, start: int, end: int) -> bytes:
        """Return bytes of a put, zeros where only the store has them. Raises Corrupt where they are damaged."""
        if not change.spool:
            return await trio.to_thread.run_sync(self._in_journal, change, start, end)
        return await trio.to_thread.run_sync(self._in_spool, change, start, end)

    def _in_journal(self, change: Change, start: int, end: int) -> bytes:
        data = self._data.get(change.seq)
        if data is None:
            data = self._rows.data(change)
        if len(data) != change.size:  # the row is gone: it has just arrived, or somebody has changed the journal
            raise Corrupt(f"{change.key}: the journal has {len(data)} of its {change.size} bytes")
        if change.checks.get(0) not in (None, blocks.checksum(data)):
            raise Corrupt(f"{change.key}: the journal on local disk is damaged; write the file again, or remove it")
        return data[start:end]

    def _in_spool(self, change: Change, start: int, end: int) -> bytes:
        found = bytearray(end - start)
        for number, unit in units(change, start, end):
            data = self.spool.read(change.spool, *unit)
            if change.checks.get(number) not in (None, blocks.checksum(data)):
                raise Corrupt(
                    f"{change.key}: the local disk has damaged it (in {self.spool.path(change.spool)}); "
                    "write the file again, or remove it"
                )
            low, high = max(start, unit.start), min(end, unit.end)
            found[low - start : high - start] = data[low - unit.start : high - unit.start]
        return bytes(found)

    async def verify(self, change: Change) -> None:
        """Compare all that is here of a put with its checksums. Raises Corrupt."""
        for start in range(0, change.size, VERIFIED_AT_ONCE):
            await self.bytes_here(change, start, min(start + VERIFIED_AT_ONCE, change.size))

    async def damaged(self) -> AsyncIterator[tuple[Change, str]]:
        """Yield the pending puts whose bytes are not what was acknowledged, with what is wrong."""
        for change in self.pending:
            if change.kind is Kind.PUT:
                try:
                    await self.verify(change)
                except Corrupt as exc:
                    if change in self.pending:
                        yield change, str(exc)

    async def read(self, store: ObjectStore, change: Change, start: int, end: int) -> bytes:
        """Return bytes of a put, those that only the store has from there."""
        end = min(end, change.size)
        if start >= end:
            return b""
        here = await self.bytes_here(change, start, end)
        missing = lacking(change.spans, start, end)
        if not missing:
            return here
        data = bytearray(here)
        for gap in missing:
            base = change.base
            if base is None:
                raise Corrupt(f"{change.key}: bytes of it are neither here nor in the store")
            chunk = await store.read_range(base.key, gap.start, gap.end - gap.start, version=base.version)
            data[gap.start - start : gap.start - start + len(chunk.data)] = chunk.data
        return bytes(data)

    async def twin(self, made: Change, change: Change) -> bytes | None:
        """Make `change` a put of the bytes of a pending one, and return those that the journal is to have."""
        change.kind, change.source = Kind.PUT, None
        change.mtime_ns, change.size, change.spans, change.checks = made.mtime_ns, made.size, made.spans, made.checks
        change.base, change.under = made.base, made.version if made.base is not None else ABSENT
        change.base_since = made.base_since
        if made.spool:
            change.spool = await trio.to_thread.run_sync(self.spool.link, self.spool.path(made.spool))
            return None
        return await self.bytes_here(made, 0, made.size)

    async def slow_down(self, limit: int, patience: float) -> None:
        """Wait while more than `limit` bytes are pending, at most `patience` seconds."""
        if self.pending.bytes > limit:
            with trio.move_on_after(patience):
                while self.pending.bytes > limit:
                    await self.changed()

    async def done(self, arrived: Mapping[Change, ObjectInfo | None]) -> None:
        """The store has these changes, or they were given up; with the objects that they have become, if any."""
        for change, info in arrived.items():
            if change in self.pending:
                self.pending.remove(change)
            final = None
            if info is not None:
                final = Final(change.version, change.key, info)
                self.finals.add(final)
                self._rebased += self.pending.rebase(change.version, info)
            self._done.append((change, final))
        try:
            await self._note_done()
        finally:
            self.pulse()

    async def _note_done(self) -> None:
        """Have the journal forget what is done, once for all who come at the same time."""
        async with self._noting:
            if not self._done:
                return
            crash.point("before-done")
            batch, self._done = self._done, []
            rebased, self._rebased = self._rebased, []
            changes, finals = [c for c, _ in batch], [f for _, f in batch if f is not None]
            try:
                await trio.to_thread.run_sync(self._rows.done, changes, finals, rebased)
            except MountdError as exc:  # the rows stay; if they survive the daemon, their own work is recognised
                log.warning("the journal could not note what was stored: %s", exc)
                self._done, self._rebased = batch + self._done, rebased + self._rebased
                return
            crash.point("after-done")
            await trio.to_thread.run_sync(self.spool.remove, [change.spool for change in changes])


def lacking(spans: list[Span] | None, start: int, end: int) -> list[Span]:
    """Return the parts of `[start, end)` that are in none of the sorted spans; `None` stands for everything."""
    if spans is None:
        return []
    here = ExtentMap()
    for span in spans:
        here.set(span.start, span.end, 1)
    return here.spans(start, end, None)
