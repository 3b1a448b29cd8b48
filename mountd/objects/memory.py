"""Objects in memory: the reference of what the interface means, and the store of tests that need no service."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from typing import TYPE_CHECKING

import trio

from mountd.errors import NotFound, VersionChanged
from mountd.objects.base import Basic
from mountd.objects.interface import (
    ABSENT,
    Buffer,
    Capabilities,
    Chunk,
    Key,
    ListPage,
    ObjectInfo,
    Upload,
    Version,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MemoryStore(Basic):
    """A store that can do everything and forgets it when the process ends."""

    capabilities = Capabilities(
        conditional_create=True,
        conditional_put=True,
        conditional_copy=True,
        conditional_delete=True,
        versioned_read=True,
        part_copy=True,
        range_copy=True,
        batch_delete=True,
        min_part=1,
    )

    def __init__(self) -> None:
        self._objects: dict[Key, tuple[bytes, ObjectInfo]] = {}
        self._versions = itertools.count(1)

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    async def stat(self, key: Key) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        return self._get(key)[1]

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        await trio.lowlevel.checkpoint()
        objects: list[ObjectInfo] = []
        prefixes: list[Key] = []
        folded = last = ""
        for key in sorted(self._objects):
            if (
                not key.startswith(prefix)
                or (cursor is not None and key <= cursor)
                or (folded and key.startswith(folded))
            ):
                continue
            if len(objects) + len(prefixes) >= limit:
                return _page(objects, prefixes, last, known)
            name, slash, _ = key[len(prefix) :].partition("/")
            if slash and not recursive:
                folded = prefix + name + "/"
                prefixes.append(Key(folded))
                last = folded + "\U0010ffff"  # after everything below the prefix
            else:
                objects.append(self._objects[key][1])
                last = str(key)
        return _page(objects, prefixes, None, known)

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        await trio.lowlevel.checkpoint()
        data, info = self._get(key, version)
        return Chunk(data[start : start + length], info)

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        return self._put(key, bytes(data), expect)

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        return self._put(target, self._get(source.key, source.version if match else None)[0], expect)

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if expect is not None:
            self._require(key, expect)
        self._objects.pop(key, None)

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        for key, version in versions.items():
            with contextlib.suppress(VersionChanged):
                await self.delete(key, expect=version)

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        await trio.lowlevel.checkpoint()
        return _MemoryUpload(self, key)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _get(self, key: Key, version: Version | None = None) -> tuple[bytes, ObjectInfo]:
        if key not in self._objects:
            raise NotFound(f"no object {key}")
        if version is not None:
            self._require(key, version)
        return self._objects[key]

    def _require(self, key: Key, expect: Version) -> None:
        if (self._objects[key][1].version if key in self._objects else ABSENT) != expect:
            raise VersionChanged(f"{key} is not in version {expect or 'absent'}")

    def _put(self, key: Key, data: bytes, expect: Version | None) -> ObjectInfo:
        if expect is not None:
            self._require(key, expect)
        info = ObjectInfo(key, len(data), time.time_ns(), Version(f"v{next(self._versions)}"))
        self._objects[key] = (data, info)
        return info


class _MemoryUpload:
    def __init__(self, store: MemoryStore, key: Key) -> None:
        self._store = store
        self._key = key
        self._parts: dict[int, bytes] = {}

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        await trio.lowlevel.checkpoint()
        self._parts[number] = bytes(data)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        chunk = await self._store.read_range(source.key, start, length, version=source.version)
        self._parts[number] = bytes(chunk.data)

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        return await self._store.put(self._key, b"".join(self._parts[number] for number in numbers), expect=expect)

    async def abort(self) -> None:
        await trio.lowlevel.checkpoint()
        self._parts.clear()


def _page(objects: list[ObjectInfo], prefixes: list[Key], cursor: str | None, known: bytes) -> ListPage:
    digest = hashlib.blake2b(repr((objects, prefixes)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if digest == known:
        return ListPage((), (), cursor, digest, unchanged=True)
    return ListPage(objects, prefixes, cursor, digest)
