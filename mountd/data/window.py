"""How far ahead of its readers a file is fetched. Pure.

A file can have several readers at once, through one handle or many, mapped or not: streams are told apart by where they
read, not by who reads. Heuristics per handle see chaos when several processes read one mapped file.
"""

from __future__ import annotations

from dataclasses import dataclass

from mountd.data.extents import Span

KiB, MiB = 1024, 1024 * 1024

# 1 MiB + 128 KiB: Linux reads 128 KiB past a 1 MiB read, and FUSE cannot tell the two apart; without the slack every
# random 1 MiB read would wait for a second request (after mountpoint-s3, prefetch.rs).
INITIAL_WINDOW = MiB + 128 * KiB

# A read this close behind or ahead of where a stream is expected belongs to it: the kernel's read-ahead sends its
# requests in parallel, so they arrive out of order.
TOLERANCE = MiB

# By how much a window grows while its reader reads on: after mountpoint-s3, whose windows grow eightfold.
GROWTH = 8

# The reader that was there last may leave out this much: mapped weights are touched tensor by tensor, not byte by byte.
LEAP = 4 * MiB

# How near a second read has to be to one that may have been all that somebody wanted.
SEEK = 128 * KiB

STREAMS = 16

# Fetching goes on in steps of at most this much, so that a reader's progress by 128 KiB does not become a request.
STEP = 8 * MiB


@dataclass(slots=True)
class _Stream:
    next: int  # where the reader is expected
    window: int
    unread: int  # how much is to be read until the window grows
    ahead: int  # everything before this has been asked for


class Streams:
    """The sequential readers of one file, each with a window that grows while it reads on.

    Args:
        limit: bytes, the largest window.
    """

    __slots__ = ("_limit", "_streams")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: list[_Stream] = []

    def advance(self, offset: int, size: int) -> Span:
        """Record a read of `size` bytes and return the span to have now: often just the read."""
        end = offset + size
        known = self._match(offset)
        stream = known or self._start(offset)
        # A read that happens to hit what was fetched far ahead of somebody brings nobody further: windows that grew
        # with it made random readers fetch half a file.
        stream.unread -= max(0, end - stream.next) if offset <= stream.next + LEAP else size
        stream.next = max(stream.next, end)
        if known and stream.unread <= 0:  # one read alone, however long, tells nothing of the next
            stream.window = min(max(stream.window * GROWTH, INITIAL_WINDOW), self._limit)
            stream.unread = stream.window // 2
        target = stream.next + stream.window
        if stream.window > STEP:
            target -= target % STEP  # where requests are cut: else each step would be the end of one and another one
        if target - stream.ahead < min(stream.window // 2, STEP):
            return Span(offset, end)
        stream.ahead = target
        return Span(offset, target)

    @property
    def window(self) -> int:
        """The window of the stream that was read last, in bytes."""
        return self._streams[0].window if self._streams else 0

    def hold_back(self, at: int) -> None:
        """What `advance` has just asked for was not fetched beyond `at`: the next read asks again."""
        self._streams[0].ahead = at

    def _start(self, offset: int) -> _Stream:
        # A read from the start is most often the first of many; anywhere else it is a seek until proven otherwise.
        window = min(INITIAL_WINDOW, self._limit) if offset == 0 else 0
        stream = _Stream(offset, window, unread=window // 2 or SEEK, ahead=offset)
        self._streams.insert(0, stream)
        del self._streams[STREAMS:]
        return stream

    def _match(self, offset: int) -> _Stream | None:
        for i, stream in enumerate(self._streams):
            # A place that was read once is taken up again right there, or not at all: with a wider look, one in ten
            # random reads of a file of 256 MiB would be near one of the last sixteen.
            behind, beyond = (TOLERANCE, TOLERANCE // 2) if stream.window else (SEEK, SEEK)
            beyond = beyond if i else LEAP
            if stream.next - behind <= offset <= max(stream.next + beyond, stream.ahead):
                self._streams.insert(0, self._streams.pop(i))
                return stream
        return None
