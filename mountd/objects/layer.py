"""A store around a store: what retry, limits and counting have in common.

Each of them only wraps requests; `Layer` names every request once, so that none can be forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from mountd.objects.interface import (
        Buffer,
        Capabilities,
        Chunk,
        Key,
        ListPage,
        ObjectInfo,
        ObjectStore,
        Upload,
        Version,
    )

T = TypeVar("T")


class Layer:
    """Passes every request to `inner` through `_request`, those of its uploads included."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner

    async def _request(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        """Carry out one request. `name` is the interface's name of it; `send` may be called more than once."""
        raise NotImplementedError

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def check(self) -> None:
        await self._request("check", self._inner.check)

    async def stat(self, key: Key) -> ObjectInfo:
        return await self._request("stat", lambda: self._inner.stat(key))

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        return await self._request(
            "list_page",
            lambda: self._inner.list_page(prefix, recursive=recursive, cursor=cursor, limit=limit, known=known),
        )

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        return await self._request("read_range", lambda: self._inner.read_range(key, start, length, version=version))

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        return await self._request("put", lambda: self._inner.put(key, data, expect=expect))

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        return await self._request("copy", lambda: self._inner.copy(source, target, expect=expect, match=match))

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        await self._request("delete", lambda: self._inner.delete(key, expect=expect))

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        await self._request("delete_many", lambda: self._inner.delete_many(versions))

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None = None) -> ObjectInfo:
        return await self._request("rename", lambda: self._inner.rename(source, target, expect=expect))

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        inner = await self._request("open_upload", lambda: self._inner.open_upload(key, replaces=replaces))
        return self._upload(inner, key)

    def _upload(self, inner: Upload, key: Key) -> Upload:
        """Return what passes the requests of an upload on."""
        return LayerUpload(inner, self)

    async def aclose(self) -> None:
        await self._inner.aclose()


class LayerUpload:
    """An upload whose requests go through the layer's `_request`."""

    def __init__(self, inner: Upload, layer: Layer) -> None:
        self._inner = inner
        self._request = layer._request

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        await self._request("put_part", lambda: self._inner.put_part(number, offset, data))

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        await self._request("copy_part", lambda: self._inner.copy_part(number, offset, source, start, length))

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        return await self._request("complete", lambda: self._inner.complete(numbers, expect=expect))

    async def abort(self) -> None:
        await self._request("abort", self._inner.abort)
