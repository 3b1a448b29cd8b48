"""How many requests are under way at a time, how long each may take, and how many there have been."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import trio

from mountd.errors import DeadlineExceeded
from mountd.objects.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mountd.objects.interface import ObjectStore

T = TypeVar("T")

# Bodies: what one connection each can keep busy; more only divide the same bandwidth and hold more memory.
DATA_REQUESTS = 24
# Questions and deletions: small, so that a long upload never delays a `stat`.
SMALL_REQUESTS = 64
# Work that a service does by itself, in time that grows with the object, before it answers.
SLOW_FACTOR = 5.0

_DATA = frozenset({"read_range", "put", "put_part"})
_SLOW = frozenset({"copy", "copy_part", "complete"})


class LimitedStore(Layer):
    """Bounds the requests under way, those with bodies apart from the small ones, and counts all of them.

    `deadline`: seconds that one request may take once it is its turn, after which it fails with DeadlineExceeded.

    Attributes:
        requests: how many requests of each name were sent, repeats included.
    """

    def __init__(self, inner: ObjectStore, *, deadline: float) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self._deadline = deadline
        self._data = trio.CapacityLimiter(DATA_REQUESTS)
        self._small = trio.CapacityLimiter(SMALL_REQUESTS)

    async def _request(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        allowed = self._deadline * (SLOW_FACTOR if name in _SLOW else 1.0)
        async with self._data if name in _DATA else self._small:
            self.requests[name] += 1
            with trio.move_on_after(allowed):
                return await send()
        raise DeadlineExceeded(f"no answer to {name} within {allowed:g} s")
