"""How many requests are under way at a time, how long each may take, and how many there have been."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import trio

from mountd.errors import Busy, DeadlineExceeded, Unavailable
from mountd.metrics import Timings
from mountd.objects.interface import MiB
from mountd.objects.layer import Layer, LayerUpload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mountd.objects.interface import Buffer, Chunk, Key, ObjectInfo, ObjectStore, Upload, Version

T = TypeVar("T")

# Bodies: what one connection each can keep busy; more only divide the same bandwidth and hold more memory.
DATA_REQUESTS = 24
# Questions and deletions: small, so that a long upload never delays a `stat`.
SMALL_REQUESTS = 64
# Work that a service does by itself, in time that grows with the object, before it answers.
SLOW_FACTOR = 5.0
# And this much at least it moves in a second, in bytes, when it copies.
SLOWEST_COPY = 50 * MiB

_DATA = frozenset({"read_range", "put", "put_part"})
_SLOW = frozenset({"copy", "copy_part", "complete"})


class LimitedStore(Layer):
    """Bounds the requests under way, those with bodies apart from the small ones, and counts all of them.

    `deadline`: seconds that one request may take once it is its turn, after which it fails with DeadlineExceeded.
    `data_requests`: how many with bodies are under way at a time.

    Attributes:
        requests: how many requests of each name were sent, repeats included.
        timings: how long each took once it was its turn, and how many were not answered.
        traffic: bytes of objects `sent` and `received`, repeats included.
    """

    def __init__(self, inner: ObjectStore, *, deadline: float, data_requests: int = DATA_REQUESTS) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self.timings = Timings()
        self.traffic: Counter[str] = Counter(sent=0, received=0)
        self._deadline = deadline
        self._data = trio.CapacityLimiter(data_requests)
        self._small = trio.CapacityLimiter(SMALL_REQUESTS)

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        self.traffic["sent"] += len(data)
        return await super().put(key, data, expect=expect)

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        chunk = await super().read_range(key, start, length, version=version)
        self.traffic["received"] += len(chunk.data)
        return chunk

    def _upload(self, inner: Upload, key: Key) -> Upload:
        return _CountedUpload(inner, self)

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        # Of what is large this is many requests, on some services one after the other.
        return await self._request(
            "copy", lambda: self._inner.copy(source, target, expect=expect, match=match), copied=source.size
        )

    async def _request(self, name: str, send: Callable[[], Awaitable[T]], *, copied: int = 0) -> T:
        allowed = self._deadline * (SLOW_FACTOR if name in _SLOW else 1.0) + copied / SLOWEST_COPY
        async with self._data if name in _DATA else self._small:
            self.requests[name] += 1
            begun = trio.current_time()
            try:
                with trio.move_on_after(allowed):
                    return await send()
            except (Unavailable, Busy):
                self.timings.errors[name] += 1
                raise
            finally:
                self.timings.add(name, trio.current_time() - begun)
        self.timings.errors[name] += 1
        raise DeadlineExceeded(f"no answer to {name} within {allowed:g} s")


class _CountedUpload(LayerUpload):
    """An upload whose bytes are counted."""

    def __init__(self, inner: Upload, layer: LimitedStore) -> None:
        super().__init__(inner, layer)
        self._traffic = layer.traffic

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        self._traffic["sent"] += len(data)
        await super().put_part(number, offset, data)
