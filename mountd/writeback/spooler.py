"""Acknowledging files: their present state goes to the backlog as a whole, whatever is written to them afterwards."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import trio

from mountd.data import blocks
from mountd.data.extents import Span
from mountd.errors import Corrupt
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version
from mountd.writeback.backlog import IN_JOURNAL, lacking
from mountd.writeback.pending import Change, Kind, new_version, units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.data.content import Content
    from mountd.data.snapshot import Snapshot
    from mountd.objects.interface import Buffer
    from mountd.writeback.backlog import Backlog

# Bytes that are copied at a time.
_STEP = 8 * 1024 * 1024


class Spooler:
    """Has the journal take files, in the place of `Uploader`, which has the store take them."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    def wrote(self, content: Content, key: Key, start: int, data: Buffer) -> None:
        """Note a write: nothing goes ahead of what is acknowledged."""

    async def forget(self, content: Content) -> None:
        """The file will not be stored."""

    async def made(self, content: Content, key: Key) -> ObjectInfo | None:
        """Return `None`: nothing was sent, so no answer was lost."""
        return None

    async def upload(self, content: Content, key: Key, *, expect: Version | None) -> ObjectInfo:
        """Make the content's present state durable as the object `key`, and mark it as clean.

        Raises VersionChanged when the key does not hold `expect`, as far as is known here; NoSpace. Then the content is
        as dirty as before.
        """
        snapshot = await content.freeze()
        try:
            info = await self._keep(content, snapshot, key, expect)
            content.settle(snapshot, info)
        finally:
            content.thaw(snapshot)
        return info

    async def upload_beside(self, content: Content, key: Key, *, expect: Version | None) -> ObjectInfo:
        """Make the content's present state durable under another key; the content itself stays as it is."""
        snapshot = await content.freeze()
        try:
            return await self._keep(content, snapshot, key, expect)
        finally:
            content.thaw(snapshot)

    async def _keep(self, content: Content, snapshot: Snapshot, key: Key, expect: Version | None) -> ObjectInfo:
        change = Change(
            0, Kind.PUT, key, new_version(), expect, size=snapshot.size, mtime_ns=time.time_ns(), base=content.base
        )
        data = await self._take(content, snapshot, change)
        try:
            self._backlog.add(change, data)
        except BaseException:
            await trio.to_thread.run_sync(self._backlog.spool.remove, [change.spool])
            raise
        await self._backlog.commit()
        return change.info

    async def _take(self, content: Content, snapshot: Snapshot, change: Change) -> bytes | None:
        """Bring the bytes to the spool, or return them where they go to the journal."""
        size = snapshot.size
        whole = content.extents.covers(0, size) and snapshot.frozen.covers(0, size)
        if whole and size <= IN_JOURNAL:
            data, _ = await content.read_frozen(snapshot, 0, size)
            snapshot.sent(0, size)
            change.base = None
            return bytes(data)
        if whole and await content.share(snapshot, lambda: self._link(content, change)):
            change.base, change.checks = None, await content.checked_blocks()
            if len(change.checks) < len(blocks.whole(0, size, size)):
                await trio.to_thread.run_sync(self._backlog.spool.remove, [change.spool])
                raise Corrupt(f"{change.key}: the local disk has damaged it; write the file again, or remove it")
            return None
        await self._copy(content, snapshot, change)
        return None

    def _link(self, content: Content, change: Change) -> None:
        os.truncate(content.path, change.size)  # a hole at the end may not be there yet
        change.spool = self._backlog.spool.link(content.path)

    async def _copy(self, content: Content, snapshot: Snapshot, change: Change) -> None:
        """Copy what the base lacks into a file of its own; the base is one that the store has, or is to copy."""
        while True:
            earlier = self._earlier(content)
            spans = snapshot.dirty()
            taken: list[Span] = []
            change.base = content.base
            if earlier is not None and earlier.kind is Kind.PUT:
                # What only the change before has is copied as well: the two must not depend on each other.
                taken = [gap for span in _here(earlier, change.size) for gap in lacking(spans, *span)]
                change.base, change.under = earlier.base, earlier.version if earlier.base is not None else ABSENT
                change.base_since = earlier.base_since
            elif earlier is None and content.base is not None:
                change.base = self._backlog.real(content.base)
            change.spans = sorted([*spans, *taken])
            if not lacking(change.spans, 0, change.size):
                change.base, change.under = None, ABSENT
            try:
                await self._fill(content, snapshot, change, spans, taken, earlier)
            except Corrupt:
                if earlier is None or earlier in self._backlog.pending:
                    raise
            if earlier is None or earlier in self._backlog.pending:
                return
            # It has just arrived, and its bytes are gone from here.
            self._backlog.spool.remove([change.spool])

    async def _fill(
        self,
        content: Content,
        snapshot: Snapshot,
        change: Change,
        spans: list[Span],
        taken: list[Span],
        earlier: Change | None,
    ) -> None:
        spool = self._backlog.spool
        change.spool, descriptor = await trio.to_thread.run_sync(spool.begin, change.size)
        checks: dict[Span, int] = {}

        async def write(data: bytes, start: int) -> None:
            for unit in blocks.cut(start, start + len(data)):
                checks[unit] = blocks.checksum(data[unit.start - start : unit.end - start])
            await trio.to_thread.run_sync(spool.write, descriptor, data, start)

        try:
            for start, end in _steps(spans):
                data, _ = await content.read_frozen(snapshot, start, end)
                await write(bytes(data), start)
            for start, end in _steps(taken):
                assert earlier is not None  # else nothing is taken from it
                await write(await self._backlog.bytes_here(earlier, start, end), start)
            change.checks = {number: checks[unit] for number, unit in units(change, 0, change.size)}
        except BaseException:
            os.close(descriptor)
            spool.remove([change.spool])
            raise
        await trio.to_thread.run_sync(spool.finish, descriptor)

    def _earlier(self, content: Content) -> Change | None:
        base = content.base
        return self._backlog.pending.made(base.key, base.version) if base is not None else None


def _here(change: Change, size: int) -> list[Span]:
    """Return what is here of a put, of its first `size` bytes."""
    spans = [Span(0, change.size)] if change.spans is None else change.spans
    return [Span(start, min(end, size)) for start, end in spans if start < size]


def _steps(spans: list[Span]) -> Iterator[Span]:
    for span in spans:
        start = span.start
        while start < span.end:
            end = min(span.end, (start // _STEP + 1) * _STEP)  # at the ends of blocks, which have a checksum each
            yield Span(start, end)
            start = end
