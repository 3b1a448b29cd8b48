"""Bringing absent bytes here: ranges bound to a version, each asked for once however many readers wait for it.

A reader gets what has arrived from memory, while it is written to the backing file. What lies there already and has
left the page cache is read into that again, as far ahead.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import trio

from mountd.data import blocks
from mountd.data.arrivals import Arrivals
from mountd.data.extents import ExtentMap, Span
from mountd.data.window import Streams
from mountd.errors import MountdError, NoSpace, NotFound, Stale, Unavailable, VersionChanged
from mountd.objects.interface import Buffer, Chunk, MiB, ObjectInfo, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from mountd.data.content import Content
    from mountd.data.inplace import InPlace

    Bring = Callable[[Content, Span], Awaitable[Callable[[], Awaitable[None]]]]

# One request for 8 MiB costs a service little more than one for 1 MiB, and eight of them in flight fill a fast link.
RANGE = 8 * MiB

# A window is fetched in at least this many requests: who waits for the first bytes does not wait for all of them.
PIECES = 4

# Bytes a second that fetching in large ranges gets of a store nearby. Whoever reads at random has no use for it, until
# the waits for single blocks add up to what fetching the rest would take: whether there are more reads to come is not
# known, and this way they take at most twice as long as with that knowledge (the ski rental problem).
RATE = 256 * MiB

# And so much of that is on its way at a time: its readers go on asking for single blocks meanwhile, and come first.
SWEEP = 4 * RANGE

# Fetching once more what lies between two holes of a file, up to this much, takes less time than a request for each.
BRIDGE = MiB // 2

# A file up to this size is fetched whole at the first read: a second request costs more than the bytes.
WHOLE = 2 * MiB


class _Flight:
    """Bytes on their way. `landed`: they are in memory, or will not come; `stored`: they are on the local disk, or
    `spilled`, because that had no room."""

    __slots__ = ("error", "landed", "span", "spilled", "stored")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.landed = trio.Event()
        self.stored = trio.Event()
        self.error: MountdError | None = None
        self.spilled = False


class _File:
    """What the fetcher knows of one content.

    Attributes:
        cold: what lies on the local disk has left the page cache.
        waited: how long readers at random places have waited for the store, in seconds.
        swept: up to where the file was fetched because that was too long.
        left: nobody had it open any more when something was still on its way.
    """

    __slots__ = ("cold", "flights", "left", "streams", "swept", "waited")

    def __init__(self, limit: int) -> None:
        self.flights: list[_Flight] = []
        self.streams = Streams(limit)
        self.cold = False
        self.waited = 0.0
        self.swept = 0
        self.left = False

    def over(self, start: int, end: int) -> list[_Flight]:
        """Return the flights that share a byte with `[start, end)`."""
        return [f for f in self.flights if f.span.start < end and start < f.span.end]


class Fetcher:
    """Serves reads of contents from local disk and, for what is absent, from the store.

    Args:
        nursery: where requests run; a reader that goes away does not cancel a request that others may wait for.
        prefetch_limit: bytes, the largest window of one sequential reader.
        sweep_limit: bytes, the most that is fetched of a file because its readers jump about in it.
        budget: bytes that may be on their way or waiting for a reader, over all files, before prefetching waits.
        in_place: reads what is absent, where the store is a folder of this machine.

    Attributes:
        served: bytes that were `here` when somebody read them, and that were `waited` for.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        nursery: trio.Nursery,
        prefetch_limit: int,
        sweep_limit: int = 0,
        budget: int = 128 * MiB,
        in_place: InPlace | None = None,
    ) -> None:
        self.served = Counter(here=0, waited=0)
        self._in_place = in_place
        self._store = store
        self._nursery = nursery
        self._limit = min(prefetch_limit, budget)
        self._sweep_limit = sweep_limit
        self._budget = budget
        self._in_flight = 0
        self._flights: dict[_Flight, None] = {}  # the oldest first
        self._arrivals = Arrivals(budget)
        self._files: WeakKeyDictionary[Content, _File] = WeakKeyDictionary()

    async def read(self, content: Content, offset: int, buffer: memoryview) -> Buffer:
        """Return up to `len(buffer)` bytes at `offset`, in `buffer` where that saves a copy.

        Raises Stale when the store no longer has this version; Unavailable and others when it cannot be read.
        """
        end = min(offset + len(buffer), content.size)
        if offset >= end:
            return b""
        wanted = buffer[: end - offset]
        if self._in_place is not None:
            self.served["here"] += end - offset
            if content.read_now(offset, end, wanted):
                return wanted
            return await self._in_place.read(content, offset, end, wanted)
        self._read_ahead(content, self._file(content), offset, end)
        waited = False
        while True:
            end = min(end, content.size)
            data: Buffer | None = self._at_hand(content, offset, end, wanted[: end - offset])
            if data is None:
                data = await self._after_waiting(content, offset, end, wanted[: end - offset])
            if data is not None:
                self.served["waited" if waited else "here"] += end - offset
                return data
            waited = True

    async def _after_waiting(self, content: Content, start: int, end: int, buffer: memoryview) -> Buffer | None:
        """Return `[start, end)` from the disk or past it, or `None` when it should be at hand by now."""
        file = self._file(content)
        begun = trio.current_time()
        if await _wait(flight for flight in file.over(start, end) if not flight.landed.is_set()):
            return None
        if not file.cold and content.extents.covers(start, end):
            file.cold = True
            if _is_complete(content):  # else this read has been counted
                self._read_ahead(content, file, start, end)
        data = await content.read(start, end, buffer)
        if data is not None:
            return data
        landed = await self._land(content, start, end)
        file.waited += trio.current_time() - begun
        return None if landed else await self._past_the_disk(content, start, end)

    @property
    def prefetches(self) -> bool:
        """Whether anything is to be fetched before somebody asks for it."""
        return self._limit > 0 and self._in_place is None

    def is_absent(self, content: Content) -> bool:
        """Tell whether nothing of a file is here or on its way."""
        return not content.extents and not self._file(content).flights

    async def fetch(self, content: Content) -> None:
        """Bring a file here that nobody waits for yet, if there is room for it. Raises as `read` does."""
        if self._in_flight + self._arrivals.bytes >= self._budget:
            return
        file = self._file(content)
        self._launch(content, file, 0, content.size, RANGE)
        for flight in list(file.flights):
            await flight.stored.wait()

    async def fetch_latest(self, content: Content) -> ObjectInfo | None:
        """Bring a file here of which nothing is here, if its key still holds this version; return what it holds.

        One request asks for whatever is there now, and so tells both. Returns `None` where that is nothing, or was not
        asked because somebody else has begun to fetch the file. Raises Unavailable and others, as `read` does.
        """
        await self._room()
        if not self.is_absent(content):
            return None
        found: list[ObjectInfo] = []
        span = Span(0, content.size)
        flight = self._start(content, self._file(content), span, partial(self._download_latest, found))
        await flight.landed.wait()
        if flight.error is not None:
            raise flight.error
        return found[0] if found else None

    def release(self, content: Content) -> None:
        """Nobody has the file open any more."""
        self._arrivals.release(content)
        file = self._files.get(content)
        if file is not None:
            file.left = bool(file.flights)

    async def settle(self) -> None:
        """Return when what is on its way now is on the local disk."""
        for flight in list(self._flights):
            await flight.stored.wait()

    async def hydrate(self, content: Content) -> None:
        """Bring every absent byte here, or make sure that it can be read for as long as the content is open."""
        if self._in_place is not None:
            return await self._in_place.hold(content)
        if not await self.bring(content):
            raise NoSpace("no room on the local disk to keep a file that is being deleted while it is open")
        return None

    @property
    def in_place(self) -> bool:
        """Whether the store's files are read where they are, so that there is nothing to bring here."""
        return self._in_place is not None

    async def bring(self, content: Content) -> bool:
        """Bring every absent byte here; tell whether the local disk took them. Raises as `read` does."""
        at = 0
        while at < content.size:
            end = min(at + 4 * RANGE, content.size)
            while not content.extents.covers(at, min(end, content.size)):
                if not await self._land(content, at, min(end, content.size)):
                    return False
            at = end
        return True

    def _at_hand(self, content: Content, start: int, end: int, buffer: memoryview) -> memoryview | None:
        """Return `[start, end)` if that needs no disk, `None` otherwise."""
        first = self._arrivals.find(content, start)
        if first is not None and end <= first.end:
            self._arrivals.was_read(content, first, end - start)
            return first.part(start, end)
        if content.read_now(start, end, buffer):
            return buffer
        return self._put_together(content, start, end, buffer) if self._arrivals.bytes else None

    def _put_together(self, content: Content, start: int, end: int, buffer: memoryview) -> memoryview | None:
        used = []
        at = start
        while at < end:
            arrival = self._arrivals.find(content, at)
            stop = min(end, arrival.end if arrival is not None else at - at % blocks.BLOCK + blocks.BLOCK)
            into = buffer[at - start : stop - start]
            if arrival is not None:
                into[:] = arrival.part(at, stop)
                used.append((arrival, stop - at))
            elif not content.read_now(at, stop, into):
                return None
            at = stop
        for arrival, amount in used:
            self._arrivals.was_read(content, arrival, amount)
        return buffer

    def _read_ahead(self, content: Content, file: _File, offset: int, end: int) -> None:
        complete = _is_complete(content)
        if complete and not file.cold:
            return None
        ahead = file.streams.advance(offset, end - offset)
        if content.size <= WHOLE:
            ahead = Span(0, content.size)
        stop = min(ahead.end, content.size)
        if stop <= end:
            return self._sweep(content, file)
        if self._in_flight + self._arrivals.bytes >= self._budget:
            file.streams.hold_back(end)
            return None
        start = offset if ahead.start else 0
        piece = max(MiB, min(RANGE, file.streams.window // PIECES // MiB * MiB))
        if not complete:
            self._launch(content, file, start, stop, piece)
        if file.cold:
            self._nursery.start_soon(content.read_ahead, start, stop)
        return None

    def _sweep(self, content: Content, file: _File) -> None:
        """Fetch the rest of a file, a window at a time, once waiting for pieces of it takes longer."""
        absent = content.size - content.extents.total()
        if not min(self._sweep_limit, file.waited * RATE) > absent:
            return
        window = sum(flight.span.end - flight.span.start for flight in file.flights)
        while file.swept < content.size and window < min(self._limit, SWEEP) and self._in_flight < self._budget:
            start, file.swept = file.swept, min(file.swept + RANGE, content.size)
            for span in _bridged(self._lacking(content, file, start, file.swept, RANGE)):
                self._start(content, file, span, self._stow)
                window += span.end - span.start

    async def _land(self, content: Content, start: int, end: int) -> bool:
        """Wait until something of what is absent of `[start, end)` has arrived; tell whether the local disk took it."""
        await self._room()
        file = self._file(content)
        self._launch(content, file, start, end, RANGE)
        over = file.over(start, end)
        if not await _wait(flight for flight in over if not flight.landed.is_set()):
            for flight in over:
                await flight.stored.wait()
                if flight.error is not None:
                    raise flight.error
        return not any(flight.spilled for flight in over)

    async def _room(self) -> None:
        """Wait while more is on its way than memory should hold, because the local disk is slower than the store."""
        while self._in_flight > 2 * self._budget:
            await next(iter(self._flights)).stored.wait()

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

    def _launch(self, content: Content, file: _File, start: int, end: int, piece: int) -> None:
        """Start requests for what of `[start, end)` is absent and not under way yet."""
        for span in self._lacking(content, file, start, end, piece):
            self._start(content, file, span, self._download)

    def _lacking(self, content: Content, file: _File, start: int, end: int, piece: int) -> list[Span]:
        absent = content.extents.spans(*blocks.align_out(start, end, content.size), None)
        return list(_without(absent, [flight.span for flight in file.flights], piece))

    def _start(self, content: Content, file: _File, span: Span, bring: Bring) -> _Flight:
        flight = _Flight(span)
        file.flights.append(flight)
        self._flights[flight] = None
        self._in_flight += span.end - span.start
        self._nursery.start_soon(self._fly, content, file, flight, bring)
        return flight

    async def _fly(self, content: Content, file: _File, flight: _Flight, bring: Bring) -> None:
        try:
            store = await bring(content, flight.span)
            flight.landed.set()
            await store()
        except NoSpace:
            flight.spilled = True
        except MountdError as exc:
            flight.error = exc
        finally:
            file.flights.remove(flight)
            del self._flights[flight]
            self._in_flight -= flight.span.end - flight.span.start
            flight.landed.set()
            flight.stored.set()
        if file.left and not file.flights:
            file.left = False
            if content.idle:  # writing what came last has opened it again
                content.backing.close_file()

    async def _download(self, content: Content, span: Span) -> Callable[[], Awaitable[None]]:
        """Get bytes from the store, and return what writes them to the disk."""
        return self._arrived(content, span, await self._fetch(content, span))

    async def _download_latest(
        self, found: list[ObjectInfo], content: Content, span: Span
    ) -> Callable[[], Awaitable[None]]:
        """Do the same with what the key holds now, and note what that is; of another version, nothing is kept.

        That is no error of this flight: whoever waits for it has the file open and asks for the version by its name.
        """
        base = content.base
        assert base is not None  # nothing else can be fetched
        try:
            chunk = await self._store.read_range(base.key, span.start, span.end - span.start)
        except NotFound:
            return trio.lowlevel.checkpoint
        found.append(chunk.info)
        if chunk.info.version != base.version:
            return trio.lowlevel.checkpoint
        _require_all(chunk, base, span)
        return self._arrived(content, span, chunk.data)

    def _arrived(self, content: Content, span: Span, data: Buffer) -> Callable[[], Awaitable[None]]:
        if content.extents.spans(*span, None) == [span]:  # else somebody has written there meanwhile
            self._arrivals.hold(content, span.start, data)
        return partial(content.fill, span.start, data)

    async def _stow(self, content: Content, span: Span) -> Callable[[], Awaitable[None]]:
        """Get bytes from the store for readers who will take a little here and there: the page cache is their place."""
        data = await self._fetch(content, span)
        return partial(content.fill, span.start, data, behind=False)

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
            _require_all(chunk, base, span)
            return chunk.data


def _require_all(chunk: Chunk, base: ObjectInfo, span: Span) -> None:
    if len(chunk.data) < min(span.end, base.size) - span.start:
        raise Unavailable(f"{base.key}: the store sent {len(chunk.data)} bytes of {span.end - span.start}")


def _is_complete(content: Content) -> bool:
    """Tell whether no byte of a file is in the store alone."""
    return content.base is None or content.extents.covers(0, content.size)


async def _wait(flights: Iterable[_Flight]) -> bool:
    """Wait until each of some flights has landed; tell whether there were any. Raises what kept one from it."""
    waited = False
    for flight in list(flights):
        waited = True
        await flight.landed.wait()
        if flight.error is not None:
            raise flight.error
    return waited


def _bridged(spans: Iterable[Span]) -> list[Span]:
    """Return spans, which ascend, with those that are near each other as one."""
    joint: list[Span] = []
    for span in spans:
        if joint and span.start - joint[-1].end <= BRIDGE:
            joint[-1] = Span(joint[-1].start, span.end)
        else:
            joint.append(span)
    return joint


def _without(wanted: Iterable[Span], known: Iterable[Span], piece: int) -> Iterator[Span]:
    """Yield what of `wanted` is not in `known`, cut at multiples of `piece` bytes where that leaves half a piece."""
    there = ExtentMap()
    for start, end in known:
        there.set(start, end, 1)
    for span in wanted:
        for start, end in there.spans(*span, None):
            while start < end:
                stop = start - start % piece + piece
                stop += piece if stop - start < piece // 2 else 0
                stop = stop if end - stop >= piece // 2 else end
                yield Span(start, stop)
                start = stop
