"""Making an object of the bytes that the journal or the spool has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from mountd.data.content import Content
from mountd.data.extents import Span, State
from mountd.errors import Corrupt
from mountd.writeback.upload import Uploader

if TYPE_CHECKING:
    from pathlib import Path

    from mountd.objects.interface import Key, ObjectInfo, ObjectStore, Version
    from mountd.writeback.backlog import Backlog
    from mountd.writeback.pending import Change


class _NoBudget:
    """The spool is no part of the cache."""

    def used(self, content: Content, start: int, end: int) -> None: ...

    def grew(self, amount: int) -> None: ...

    def reclaim(self, amount: int) -> bool:
        return False

    def opened(self, content: Content) -> None: ...

    def closed(self, content: Content) -> None: ...


class Sender:
    """Sends puts. `store` is the one that is to have them."""

    def __init__(self, store: ObjectStore, backlog: Backlog, *, nursery: trio.Nursery, part_size: int) -> None:
        self._store = store
        self._backlog = backlog
        self._uploader = Uploader(store, nursery=nursery, part_size=part_size)

    async def send(self, change: Change, key: Key, expect: Version | None) -> ObjectInfo:
        """Make the object `key`. Raises VersionChanged; Corrupt where the bytes are not what was acknowledged."""
        if not change.spool:
            return await self._store.put(key, await self._backlog.bytes_here(change, 0, change.size), expect=expect)
        path = self._backlog.spool.path(change.spool)
        await trio.to_thread.run_sync(_require_size, path, change)
        base = None if change.base is None else self._backlog.real(change.base)
        whole = change.spans is None
        if not whole:  # of a whole file, blocks are compared as they are read
            await self._backlog.verify(change)
        checks = change.checks if whole else None
        content = Content(path, base=base, size=change.size, ledger=_NoBudget(), checks=checks)
        for span in [Span(0, change.size)] if change.spans is None else change.spans:
            content.extents.set(span.start, span.end, State.DIRTY)
        try:
            return await self._uploader.upload(content, key, expect=expect)
        except Corrupt as exc:
            raise Corrupt(f"{change.key}: {exc}") from exc
        finally:
            content.close()


def _require_size(path: Path, change: Change) -> None:
    try:
        size = os.lstat(path).st_size
    except OSError as exc:
        raise Corrupt(f"{change.key}: its bytes are gone from this machine: {exc}") from exc
    if size != change.size:
        raise Corrupt(f"{change.key}: its bytes on this machine are damaged: {path} has {size} of {change.size} bytes")
