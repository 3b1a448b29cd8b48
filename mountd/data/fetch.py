"""Bringing absent bytes here: ranges bound to a version, each asked for once however many readers wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import trio

from mountd.data import blocks
from mountd.data.extents import ExtentMap, Span
from mountd.data.window import Streams
from mountd.errors import MountdError, NoSpace, NotFound, Stale, Unavailable, VersionChanged
from mountd.objects.interface import Buffer, MiB, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mountd.data.content import Content
    from mountd.data.inplace import InPlace

# One request for 8 MiB costs a service little more than one for 1 MiB, and eight of them in flight fill a fast link.
RANGE = 8 * MiB

# A file up to this size is fetched whole at the first read: a second request costs more than the bytes.
WHOLE = 2 * MiB


class _Flight:
    """One request under way; `spilled` when the local disk had no room for what it brought."""

    __slots__ = ("error", "landed", "span", "spilled")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.landed = trio.Event()
        self.error: MountdError | None = None
        self.spilled = False


class _File:
    """What the fetcher knows of one content."""

    __slots__ = ("flights", "streams")

    def __init__(self, limit: int) -> None:
        self.flights: list[_Flight] = []
        self.streams = Streams(limit)


class Fetcher:
    """Serves reads of contents from local disk and, for what is absent, from the store.

    Args:
        nursery: where requests run; a reader that goes away does not cancel a request that others may wait for.
        prefetch_limit: bytes, the largest window of one sequential reader.
        budget: bytes that may be in flight over all files before prefetching waits its turn.
        in_place: reads what is absent, where the store is a folder of this machine.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        nursery: trio.Nursery,
        prefetch_limit: int,
        budget: int = 128 * MiB,
        in_place: InPlace | None = None,
    ) -> None:
        self._in_place = in_place
        self._store = store
        self._nursery = nursery
        self._limit = prefetch_limit
        self._budget = budget
        self._in_flight = 0
        self._files: WeakKeyDictionary[Content, _File] = WeakKeyDictionary()

    async def read(self, content: Content, offset: int, buffer: memoryview) -> memoryview | bytes:
        """Return up to `len(buffer)` bytes at `offset`, in `buffer` where that saves a copy.

        Raises Stale when the store no longer has this version; Unavailable and others when it cannot be read.
        """
        end = min(offset + len(buffer), content.size)
        if offset >= end:
            return b""
        wanted = buffer[: end - offset]
        if self._in_place is None:
            self._read_ahead(content, offset, end)
        if content.read_now(offset, end, wanted):
            return wanted
        if self._in_place is not None:
            return await self._in_place.read(content, offset, end, wanted)
        while True:
            end = min(end, content.size)
            data = await content.read(offset, end)
            if data is not None:
                return data
            if not await self._land(content, offset, end):
                return await self._past_the_disk(content, offset, end)

    async def hydrate(self, content: Content) -> None:
        """Bring every absent byte here, or make sure that it can be read for as long as the content is open."""
        if self._in_place is not None:
            return await self._in_place.hold(content)
        at = 0
        while at < content.size:
            end = min(at + 4 * RANGE, content.size)
            while not content.extents.covers(at, min(end, content.size)):
                if not await self._land(content, at, min(end, content.size)):
                    raise NoSpace("no room on the local disk to keep a file that is being deleted while it is open")
            at = end
        return None

    def _read_ahead(self, content: Content, offset: int, end: int) -> None:
        if content.base is None or content.extents.covers(0, content.size):
            return
        file = self._file(content)
        ahead = file.streams.advance(offset, end - offset)
        if content.size <= WHOLE:
            ahead = Span(0, content.size)
        stop = min(ahead.end, content.size)
        if stop > end and (self._in_flight < self._budget or not content.extents.covers(offset, end)):
            self._launch(content, file, offset if ahead.start else 0, stop)

    async def _land(self, content: Content, start: int, end: int) -> bool:
        """Wait until `[start, end)` has arrived; tell whether the local disk took it."""
        file = self._file(content)
        self._launch(content, file, start, end)
        for flight in [f for f in file.flights if f.span.start < end and start < f.span.end]:
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.spilled:
                return False
        return True

    async def _past_the_disk(self, content: Content, start: int, end: int) -> bytes:
        """Read with a local disk that is full: what is not there goes from the store to the reader alone."""
        pieces = []
        for run in list(content.extents.runs(start, min(end, content.size))):
            here = await content.read(run.start, run.end) if run.state is not None else None
            pieces.append(await self._fetch(content, Span(run.start, run.end)) if here is None else here)
        return b"".join(pieces)

    def _file(self, content: Content) -> _File:
        file = self._files.get(content)
        if file is None:
            file = self._files[content] = _File(self._limit)
        return file

    def _launch(self, content: Content, file: _File, start: int, end: int) -> None:
        """Start requests for what of `[start, end)` is absent and not under way yet."""
        for span in list(_lacking(content, file.flights, blocks.align_out(start, end, content.size))):
            flight = _Flight(span)
            file.flights.append(flight)
            self._in_flight += span.end - span.start
            self._nursery.start_soon(self._fly, content, file, flight)

    async def _fly(self, content: Content, file: _File, flight: _Flight) -> None:
        try:
            data = await self._fetch(content, flight.span)
            try:
                await content.fill(flight.span.start, data)
            except NoSpace:
                flight.spilled = True
        except MountdError as exc:
            flight.error = exc
        finally:
            self._in_flight -= flight.span.end - flight.span.start
            file.flights.remove(flight)
            flight.landed.set()

    async def _fetch(self, content: Content, span: Span) -> Buffer:
        while True:
            base = content.base
            if base is None:
                raise Stale("the file has no object in the store to read from")
            try:
                chunk = await self._store.read_range(base.key, span.start, span.end - span.start, version=base.version)
            except (NotFound, VersionChanged) as exc:
                if content.base is base:
                    raise Stale(f"{base.key}: the version that was opened is no longer in the store") from exc
                continue  # our own upload or rename has moved the base on: the same bytes are there
            if len(chunk.data) < min(span.end, base.size) - span.start:
                raise Unavailable(f"{base.key}: the store sent {len(chunk.data)} bytes of {span.end - span.start}")
            return chunk.data


def _lacking(content: Content, flights: Iterable[_Flight], wanted: Span) -> Iterator[Span]:
    """Yield what of `wanted` is neither here nor under way, in ranges of at most RANGE bytes."""
    under_way = ExtentMap()
    for flight in flights:
        under_way.set(flight.span.start, flight.span.end, 1)
    for absent in content.extents.spans(*wanted, None):
        for gap in under_way.spans(*absent, None):
            for start in range(gap.start, gap.end, RANGE):
                yield Span(start, min(start + RANGE, gap.end))
