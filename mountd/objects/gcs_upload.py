"""Uploads to Google Cloud Storage: parts are objects of their own until they are composed into one.

The service cannot copy a range of an object, only compose whole objects. So the parts of a large object stay for a
while after it is complete: when a part of the file changes soon afterwards, the others need not be sent again. What is
appended is composed with the object as it is. https://cloud.google.com/storage/docs/composite-objects
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING

import trio

from mountd.errors import MountdError, Unsupported
from mountd.objects.interface import Buffer, Key, ObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.objects.described import Description
    from mountd.objects.gcs import GcsStore

# Names that begin like this are not shown by mounts.
PARTS = ".mountd-parts/"
COMPOSE_MAX = 32
# How long the parts of an object are kept, in seconds, and of how many objects. They take as much room as the object.
KEEP, KEPT_OBJECTS = 600.0, 8
# Parts that a killed daemon has left are removed by the next one after this time: another may be using them now.
ABANDONED = 7 * 86400.0


class Piece:
    """A part: the object that holds it, and which bytes of the file those are."""

    __slots__ = ("end", "info", "start")

    def __init__(self, start: int, end: int, info: ObjectInfo) -> None:
        self.start, self.end, self.info = start, end, info


class KeptParts:
    """The parts of the objects that were made last, by version of the object."""

    def __init__(self, store: GcsStore) -> None:
        self._store = store
        self._pieces: dict[Version, tuple[float, list[Piece]]] = {}
        self._watched = False

    def covering(self, version: Version, start: int, end: int) -> list[Piece]:
        """Return the parts that are together exactly `[start, end)` of a version, none where there are none."""
        _, pieces = self._pieces.get(version, (0.0, []))
        inside = [piece for piece in pieces if start <= piece.start and piece.end <= end]
        return inside if sum(piece.end - piece.start for piece in inside) == end - start else []

    async def keep(self, made: ObjectInfo, pieces: list[Piece], replaced: Version | None) -> None:
        """Keep the parts of what was just made, and drop what is not worth keeping any more."""
        self._pieces[made.version] = time.monotonic(), pieces
        await self._drop({*list(self._pieces)[:-KEPT_OBJECTS], *([replaced] if replaced else [])} - {made.version})
        if not self._watched:
            self._watched = True
            trio.lowlevel.spawn_system_task(self._expire)

    async def _expire(self) -> None:
        """Drop what nobody has used for long, until there is nothing left."""
        while self._pieces:
            await trio.sleep(KEEP / 10)
            now = time.monotonic()
            with contextlib.suppress(MountdError):
                await self._drop({version for version, (at, _) in self._pieces.items() if at + KEEP < now})
        self._watched = False

    async def clear(self) -> None:
        """Drop all."""
        with contextlib.suppress(MountdError):
            await self._drop(set(self._pieces))

    async def _drop(self, versions: set[Version]) -> None:
        gone = [piece for version in versions for piece in self._pieces.pop(version, (0.0, []))[1]]
        still = {piece.info.key for _, pieces in self._pieces.values() for piece in pieces}
        await remove(self._store, {piece.info.key for piece in gone} - still)

    async def sweep(self) -> None:
        """Delete what an earlier daemon has left long ago."""
        page = await self._store.list_page(Key(PARTS), recursive=True)
        await remove(self._store, {info.key for info in page.objects if info.mtime_ns / 1e9 + ABANDONED < time.time()})


async def remove(store: GcsStore, keys: set[Key]) -> None:
    """Delete parts, some at a time."""
    limiter = trio.CapacityLimiter(16)

    async def delete(key: Key) -> None:
        async with limiter:
            await store.delete(key)

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(delete, key)


class ComposedUpload:
    """An upload whose parts are composed at the end."""

    def __init__(self, store: GcsStore, key: Key, described: Description) -> None:
        self._store = store
        self._key = key
        self._described = described
        self._folder = f"{PARTS}{secrets.token_hex(12)}/"
        self._parts: dict[int, list[Piece]] = {}
        self._sent: dict[Key, ObjectInfo] = {}
        self._replaced: Version | None = None

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        made = await self._store.put(Key(f"{self._folder}{number:05}"), data)
        self._sent[made.key] = made
        self._parts[number] = [Piece(offset, offset + len(data), made)]

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        if (start, length) == (0, source.size) and length:
            self._parts[number] = [Piece(0, length, source)]
            return
        pieces = self._store.kept.covering(source.version, start, start + length) if start == offset else []
        if not pieces:
            raise Unsupported("Google Cloud Storage cannot copy a part of an object")
        self._parts[number], self._replaced = pieces, source.version

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        pieces = [piece for number in numbers for piece in self._parts[number]]
        sources = [piece.info for piece in pieces]
        groups: dict[Key, ObjectInfo] = {}
        level = 0
        while len(sources) > COMPOSE_MAX:
            level += 1
            sources = [
                await self._store.compose(
                    sources[i : i + COMPOSE_MAX], Key(f"{self._folder}{level}-{i:05}"), {}, expect=None
                )
                for i in range(0, len(sources), COMPOSE_MAX)
            ]
            groups |= {info.key: info for info in sources}
        try:
            made = await self._store.compose(sources, self._key, self._described, expect=expect)
        finally:
            await remove(self._store, set(groups))
        used = {piece.info.key for piece in pieces}
        unused, self._sent = set(self._sent) - used, {}
        await remove(self._store, unused)
        if all(piece.info.key.startswith(PARTS) for piece in pieces):
            await self._store.kept.keep(made, pieces, self._replaced)
        else:  # the object itself was among them
            await remove(self._store, {key for key in used if key.startswith(self._folder)})
        return made

    async def abort(self) -> None:
        sent, self._sent = self._sent, {}
        await remove(self._store, set(sent))
