"""Uploads to Google Cloud Storage: parts are objects of their own until they are composed into one.

The service cannot copy a range of an object, only compose whole objects. So the parts of a large object stay for a
while after it is complete: when a part of the file changes soon afterwards, the others need not be sent again. What is
appended is composed with the object as it is. https://cloud.google.com/storage/docs/composite-objects
"""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING

import trio

from mountd.errors import MountdError, NotFound, StoreFailure, Unsupported, VersionChanged
from mountd.objects import checksums
from mountd.objects.interface import Buffer, Key, ObjectInfo, Version
from mountd.objects.leftovers import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.objects.described import Description
    from mountd.objects.gcs import GcsStore
    from mountd.objects.leftovers import Leftovers

log = logging.getLogger(__name__)

# Names that begin like this are not shown by mounts.
PARTS = ".mountd-parts/"
COMPOSE_MAX = 32
# How long the parts of an object are kept, in seconds, and of how many objects. They take as much room as the object.
KEEP, KEPT_OBJECTS = 600.0, 8
# Parts of other mounts, which nobody came back for, are removed after this time, in seconds: they may be in use.
ABANDONED = 7 * 86400.0


class Piece:
    """A part: the object that holds it, which bytes of the file those are, and their CRC32C where they were sent."""

    __slots__ = ("checksum", "end", "info", "start")

    def __init__(self, start: int, end: int, info: ObjectInfo, checksum: str | None = None) -> None:
        self.start, self.end, self.info, self.checksum = start, end, info, checksum


def joint_checksum(pieces: Sequence[Piece]) -> str | None:
    """Return the CRC32C of all the parts together; `None` where bytes are among them that were never here."""
    known = [(piece.checksum, piece.end - piece.start) for piece in pieces if piece.checksum is not None]
    return checksums.joint(known, checksums.CRC32C) if len(known) == len(pieces) else None


class KeptParts:
    """The parts of the objects that were made last, by version of the object."""

    def __init__(self, store: GcsStore, leftovers: Leftovers) -> None:
        self._store = store
        self._leftovers = leftovers
        self._pieces: dict[Version, tuple[float, list[Piece]]] = {}
        self._used: Counter[Version] = Counter()  # by uploads that are not complete yet
        self._watched = False

    def covering(self, version: Version, start: int, end: int) -> list[Piece]:
        """Return the parts that are together exactly `[start, end)` of a version, none where there are none."""
        _, pieces = self._pieces.get(version, (0.0, []))
        inside = [piece for piece in pieces if start <= piece.start and piece.end <= end]
        return inside if sum(piece.end - piece.start for piece in inside) == end - start else []

    def begin(self, folder: str) -> None:
        """Parts are about to be put into a folder."""
        self._leftovers.note(folder, folder)

    def use(self, version: Version) -> None:
        """An upload takes parts of a version over: they stay until `done`."""
        self._used[version] += 1

    def done(self, version: Version) -> None:
        self._used[version] -= 1

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
            await self._drop({version for version, (at, _) in self._pieces.items() if at + KEEP < now})
        self._watched = False

    async def clear(self) -> None:
        """Drop all."""
        await self._drop(set(self._pieces))

    async def _drop(self, versions: set[Version]) -> None:
        free = {version for version in versions if self._used[version] <= 0}
        gone = [piece for version in free for piece in self._pieces.pop(version, (0.0, []))[1]]
        await self.remove({piece.info.key for piece in gone})

    async def remove(self, keys: set[Key]) -> None:
        """Delete those of the parts that no object needs that is kept; what fails is left to the next mount."""
        still = {piece.info.key for _, pieces in self._pieces.values() for piece in pieces}
        stayed = await remove(self._store, keys - still)
        for folder in {_folder_of(key) for key in keys} - {_folder_of(key) for key in still | stayed}:
            self._leftovers.forget(folder)

    async def sweep(self) -> None:
        """Delete what this mount's earlier daemon has left, and what others left long ago."""
        await self._leftovers.abandon(lambda _, folder: self._remove_folder(folder))
        with trio.move_on_after(PATIENCE), contextlib.suppress(MountdError):
            await self._remove_folder(PARTS, older_than=time.time() - ABANDONED)

    async def _remove_folder(self, folder: str, older_than: float = math.inf) -> None:
        cursor = None
        while True:
            page = await self._store.list_page(Key(folder), recursive=True, cursor=cursor)
            stayed = await remove(self._store, {info.key for info in page.objects if info.mtime_ns / 1e9 < older_than})
            if stayed:
                raise StoreFailure(f"{len(stayed)} parts of uploads could not be removed")
            cursor = page.cursor
            if cursor is None:
                return


def _folder_of(key: Key) -> str:
    return key.rpartition("/")[0] + "/"


async def remove(store: GcsStore, keys: set[Key]) -> set[Key]:
    """Delete parts, some at a time, and return those that stayed: an object that was made is not the worse for them."""
    limiter = trio.CapacityLimiter(16)
    stayed: set[Key] = set()

    async def delete(key: Key) -> None:
        try:
            async with limiter:
                await store.delete(key)
        except MountdError as exc:
            log.debug("%s: not removed: %s", key, exc)
            stayed.add(key)

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(delete, key)
    return stayed


class ComposedUpload:
    """An upload whose parts are composed at the end."""

    def __init__(self, store: GcsStore, key: Key, described: Description) -> None:
        self._store = store
        self._key = key
        self._described = described
        self._folder = f"{PARTS}{secrets.token_hex(12)}/"
        self._parts: dict[int, list[Piece]] = {}
        self._sent: set[Key] = set()
        self._taken: Version | None = None  # the version that parts are taken from

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        if not self._sent:
            self._store.kept.begin(self._folder)
        key = Key(f"{self._folder}{number:05}")
        self._sent.add(key)
        made = await self._store.put(key, data)
        self._parts[number] = [Piece(offset, offset + len(data), made, checksums.crc32c(data))]

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        pieces = self._store.kept.covering(source.version, start, start + length) if start == offset else []
        if not pieces and (start, length) == (0, source.size) and length:
            pieces = [Piece(0, length, source)]
        elif not pieces:
            raise Unsupported("Google Cloud Storage cannot copy a part of an object")
        elif self._taken is None:
            self._taken = source.version
            self._store.kept.use(source.version)
        self._parts[number] = pieces

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        pieces = [piece for number in numbers for piece in self._parts[number]]
        sources = [piece.info for piece in pieces]
        try:
            made = await self._compose(sources, self._key, expect, joint_checksum(pieces))
        except VersionChanged:
            made = await self._composed_before(sources)
        used = {piece.info.key for piece in pieces}
        unused, self._sent = self._sent - used, set()
        replaced = self._release()
        if all(key.startswith(PARTS) for key in used):
            await self._store.kept.keep(made, pieces, replaced)
        else:  # the object itself was among them
            unused |= {key for key in used if key.startswith(self._folder)}
        await self._store.kept.remove(unused)
        return made

    async def _composed_before(self, sources: list[ObjectInfo]) -> ObjectInfo:
        """Return the object where its bytes are these: then only the answer to an earlier attempt was lost."""
        aside = Key(f"{self._folder}aside")
        try:
            await self._compose(sources, aside, None)
            (found, theirs), (_, ours) = [await self._store.stat_with_checksum(key) for key in (self._key, aside)]
        except NotFound:
            theirs = ours = None
        finally:
            await remove(self._store, {aside})
        if ours is None or theirs != ours:
            raise VersionChanged(f"{self._key} was changed by somebody else")
        return found

    async def _compose(
        self, sources: list[ObjectInfo], target: Key, expect: Version | None, checksum: str | None = None
    ) -> ObjectInfo:
        """Make an object out of others, by way of larger parts where they are many; `checksum`: what it has to have."""
        joined: set[Key] = set()
        level = 0
        try:
            while len(sources) > COMPOSE_MAX:
                level += 1
                groups = [sources[i : i + COMPOSE_MAX] for i in range(0, len(sources), COMPOSE_MAX)]
                sources = []
                for i, group in enumerate(groups):
                    key = Key(f"{self._folder}{level}-{i:05}")
                    joined.add(key)
                    sources.append(await self._store.compose(group, key, {}, expect=None))
            return await self._store.compose(sources, target, self._described, expect=expect, checksum=checksum)
        finally:
            await remove(self._store, joined)

    def _release(self) -> Version | None:
        taken, self._taken = self._taken, None
        if taken is not None:
            self._store.kept.done(taken)
        return taken

    async def abort(self) -> None:
        self._release()
        sent, self._sent = self._sent, set()
        await self._store.kept.remove(sent)
