"""What each object has cost: requests, bytes, and how long the last ones took, for `mountd explain`."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import trio

from mountd.errors import MountdError, NotFound, VersionChanged
from mountd.objects.layer import Layer, LayerUpload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mountd.objects.interface import Buffer, Chunk, Key, ListPage, ObjectInfo, ObjectStore, Upload, Version

T = TypeVar("T")

# Keys that are remembered, some 1 KiB each where all of it is used; and requests of each.
KEYS, REQUESTS = 5_000, 8


class Request(NamedTuple):
    """One request. `at`: when it began, on trio's clock; `seconds` include repeats; `bytes` of the object."""

    name: str
    at: float
    seconds: float
    bytes: int
    error: str


@dataclass(slots=True)
class Account:
    """One object's requests: how many by name, bytes both ways, and the last ones, the oldest first."""

    requests: Counter[str] = field(default_factory=Counter)
    received: int = 0
    sent: int = 0
    last: deque[Request] = field(default_factory=lambda: deque(maxlen=REQUESTS))


class AccountingStore(Layer):
    """Keeps an account of each object that was asked for, those that were asked for last."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._accounts: OrderedDict[Key, Account] = OrderedDict()

    def account(self, key: Key) -> Account:
        """Return what an object has cost since the mount began, as far as that is remembered."""
        return self._accounts.get(key) or Account()

    async def _request(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        return await send()

    async def _counted(
        self,
        key: Key,
        name: str,
        send: Callable[[], Awaitable[T]],
        *,
        sent: int = 0,
        received: Callable[[T], int] = lambda _: 0,
    ) -> T:
        begun, came, error = trio.current_time(), 0, ""
        try:
            found = await send()
            came = received(found)
        except MountdError as exc:
            error = "" if isinstance(exc, (NotFound, VersionChanged)) else str(exc)
            raise
        else:
            return found
        finally:
            account = self._accounts.setdefault(key, Account())
            self._accounts.move_to_end(key)
            if len(self._accounts) > KEYS:
                self._accounts.popitem(last=False)
            account.requests[name] += 1
            account.sent += sent
            account.received += came
            account.last.append(Request(name, begun, trio.current_time() - begun, sent or came, error))

    async def stat(self, key: Key) -> ObjectInfo:
        return await self._counted(key, "stat", lambda: self._inner.stat(key))

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        return await self._counted(
            prefix,
            "list_page",
            lambda: self._inner.list_page(prefix, recursive=recursive, cursor=cursor, limit=limit, known=known),
        )

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        return await self._counted(
            key,
            "read_range",
            lambda: self._inner.read_range(key, start, length, version=version),
            received=lambda chunk: len(chunk.data),
        )

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        return await self._counted(key, "put", lambda: self._inner.put(key, data, expect=expect), sent=len(data))

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        return await self._counted(target, "copy", lambda: self._inner.copy(source, target, expect=expect, match=match))

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        await self._counted(key, "delete", lambda: self._inner.delete(key, expect=expect))

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        inner = await self._counted(key, "open_upload", lambda: self._inner.open_upload(key, replaces=replaces))
        return _AccountedUpload(inner, self, key)


class _AccountedUpload(LayerUpload):
    """An upload whose parts are on its object's account."""

    def __init__(self, inner: Upload, layer: AccountingStore, key: Key) -> None:
        super().__init__(inner, layer)
        self._counted = layer._counted
        self._key = key

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        await self._counted(self._key, "put_part", lambda: self._inner.put_part(number, offset, data), sent=len(data))

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        await self._counted(
            self._key, "copy_part", lambda: self._inner.copy_part(number, offset, source, start, length)
        )

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        return await self._counted(self._key, "complete", lambda: self._inner.complete(numbers, expect=expect))
