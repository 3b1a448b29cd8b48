"""Bytes that have just arrived and wait in memory for their readers, so that these never wait for the disk.

What arrives goes to the backing file as well; nothing depends on what is held here, and it goes when it has been read,
when it no longer is what the file holds, or when newer arrivals need the room.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mountd.data.content import Content
    from mountd.objects.interface import Buffer


class Arrival:
    """Bytes `[start, end)` of a file; `unread`: how many of them nobody has asked for yet."""

    __slots__ = ("data", "end", "start", "unread")

    def __init__(self, start: int, data: memoryview) -> None:
        self.start = start
        self.end = start + len(data)
        self.data = data
        self.unread = len(data)

    def part(self, start: int, end: int) -> memoryview:
        """Return the bytes from `start` up to `end`, or up to this arrival's."""
        return self.data[start - self.start : end - self.start]


class Arrivals:
    """What is held for all files of a mount.

    Args:
        limit: bytes; beyond it, the oldest arrivals are let go.

    Attributes:
        bytes: how many are held.
    """

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self._limit = limit
        self._held: dict[Content, list[Arrival]] = {}
        self._watchers: dict[Content, Callable[[int, int], None]] = {}
        self._oldest: OrderedDict[Arrival, Content] = OrderedDict()

    def hold(self, content: Content, start: int, data: Buffer) -> None:
        """Hold what a file has at `start` until it has been read."""
        if not len(data):
            return
        arrival = Arrival(start, memoryview(data))
        if content not in self._held:
            self._held[content] = []
            self._watchers[content] = partial(self._changed, content)
            content.watchers.add(self._watchers[content])
        self._held[content].append(arrival)
        self._oldest[arrival] = content
        self.bytes += arrival.end - arrival.start
        while self.bytes > self._limit and len(self._oldest) > 1:
            oldest, owner = next(iter(self._oldest.items()))
            self._drop(owner, oldest)

    def find(self, content: Content, at: int) -> Arrival | None:
        """Return what is held of a file at byte `at`."""
        for arrival in self._held.get(content, ()):
            if arrival.start <= at < arrival.end:
                return arrival
        return None

    def was_read(self, content: Content, arrival: Arrival, amount: int) -> None:
        """Count `amount` bytes as read; the kernel keeps them, so nobody asks again for what all has been read of."""
        arrival.unread -= amount
        if arrival.unread <= 0:
            self._drop(content, arrival)

    def release(self, content: Content) -> None:
        """Let go of a file that nobody has open."""
        for arrival in list(self._held.get(content, ())):
            self._drop(content, arrival)

    def _changed(self, content: Content, start: int, end: int) -> None:
        for arrival in list(self._held.get(content, ())):
            if arrival.start < end and start < arrival.end:
                self._drop(content, arrival)

    def _drop(self, content: Content, arrival: Arrival) -> None:
        if self._oldest.pop(arrival, None) is None:
            return
        self.bytes -= arrival.end - arrival.start
        self._held[content].remove(arrival)
        if not self._held[content]:
            del self._held[content]
            content.watchers.discard(self._watchers.pop(content))
