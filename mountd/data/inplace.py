"""Reading a store's files where they are: a folder on this machine needs no copies of its bytes in a cache.

What of a content is not in its backing file is read from the folder's own file, which is opened once and belongs to one
version as long as it is open: a file that is replaced goes on existing for those who have it open.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import trio

from mountd.data import disk
from mountd.errors import NotFound, Stale, VersionChanged, from_os_error

if TYPE_CHECKING:
    from mountd.data.content import Content
    from mountd.objects.interface import Buffer, Key, ObjectInfo, Version


class Originals(Protocol):
    """The folder's own files."""

    async def open(self, info: ObjectInfo) -> int:
        """Return a descriptor to read a version from. Raises NotFound, VersionChanged."""

    def holds(self, descriptor: int, version: Version) -> bool:
        """Tell whether an open file is in a version."""

    async def adopt(self, descriptor: int, key: Key, *, expect: Version | None) -> ObjectInfo | None:
        """Let an open file of this machine be the object, `None` where it is on another disk."""


class InPlace:
    """Reads contents from the folder's own files where they have no bytes of their own."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals

    async def read(self, content: Content, start: int, end: int, buffer: memoryview) -> Buffer:
        """Return `[start, end)` of a content, in `buffer` where that saves a copy.

        Raises Stale when the folder no longer has this version.
        """
        if not content.extents and self._read_now(content, start, buffer):
            return buffer
        pieces = []
        for run in list(content.extents.runs(start, min(end, content.size))):
            here = await content.read(run.start, run.end) if run.state is not None else None
            pieces.append(here if here is not None else await self._original(content, run.start, run.end))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def hold(self, content: Content) -> None:
        """Make sure that a content can be read when its file has lost its name."""
        if content.base is not None and not content.extents.covers(0, content.size):
            await self._descriptor(content)

    def _read_now(self, content: Content, start: int, buffer: memoryview) -> bool:
        """Fill the buffer if that needs no disk; tell whether it did."""
        base, descriptor = content.base, content.backing.original
        if base is None or descriptor is None or not disk.read_from_page_cache(descriptor, buffer, start):
            return False
        return self._originals.holds(descriptor, base.version)

    async def _original(self, content: Content, start: int, end: int) -> bytes:
        while True:
            base = content.base
            descriptor = await self._descriptor(content)
            try:
                with content.backing.reading():  # which keeps the descriptor open
                    data = await trio.to_thread.run_sync(disk.read_all, descriptor, start, end)
            except OSError as exc:
                raise from_os_error(exc) from exc
            if base is not None and self._originals.holds(descriptor, base.version):
                return data
            if content.base is base:
                raise Stale(f"{base.key if base else content.path}: changed by somebody else while it was read")

    async def _descriptor(self, content: Content) -> int:
        base = content.base
        if base is None:
            raise Stale("the file has no object in the store to read from")
        if content.backing.original is not None and self._originals.holds(content.backing.original, base.version):
            return content.backing.original
        try:
            descriptor = await self._originals.open(base)
        except (NotFound, VersionChanged) as exc:
            if content.base is not base:
                return await self._descriptor(content)
            raise Stale(f"{base.key}: the version that was opened is no longer in the store") from exc
        if content.base is not base:
            os.close(descriptor)
            return await self._descriptor(content)
        content.backing.keep_original(descriptor)
        return descriptor
