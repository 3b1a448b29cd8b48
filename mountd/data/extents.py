"""Which bytes of a file are on this machine, and which of them the store does not have yet. Pure.

An extent is a half-open byte range `[start, end)` in one state. Ranges in no extent are *absent*: only the store has
them.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class State(enum.IntEnum):
    """What an extent's bytes are, seen from the store."""

    CLEAN = 1  # the same bytes are in the store
    DIRTY = 2  # only here


class Span(NamedTuple):
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int


class Run(NamedTuple):
    """A maximal span in one state; `state` is `None` where the bytes are absent."""

    start: int
    end: int
    state: int | None


class ExtentMap:
    """A map from byte ranges to small integers, kept as sorted runs without overlaps or mergeable neighbours.

    Every operation costs O(log n) plus the runs that it touches, and moves list tails for edits in the middle.
    """

    __slots__ = ("_ends", "_starts", "_states", "_totals")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._states: list[int] = []
        self._totals: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[Run]:
        return map(Run, self._starts, self._ends, self._states)

    def total(self, state: int | None = None) -> int:
        """Return how many bytes are in `state`, or in any state."""
        return sum(self._totals.values()) if state is None else self._totals.get(state, 0)

    def set(self, start: int, end: int, state: int | None) -> None:
        """Put `[start, end)` into `state`; `None` makes it absent."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)  # the first run that touches or follows `start`
        last = bisect_right(self._starts, end)  # one past the last run that touches or precedes `end`
        pieces: list[tuple[int, int, int]] = []
        for i in range(first, last):
            self._count(self._states[i], self._starts[i] - self._ends[i])
            if self._starts[i] < start:
                pieces.append((self._starts[i], min(start, self._ends[i]), self._states[i]))
        if state is not None:
            pieces.append((start, end, state))
        pieces += [
            (max(end, self._starts[i]), self._ends[i], self._states[i])
            for i in range(first, last)
            if self._ends[i] > end
        ]
        self._replace(first, last, _merged(pieces))

    def _replace(self, first: int, last: int, pieces: list[tuple[int, int, int]]) -> None:
        self._starts[first:last] = [p[0] for p in pieces]
        self._ends[first:last] = [p[1] for p in pieces]
        self._states[first:last] = [p[2] for p in pieces]
        for start, end, state in pieces:
            self._count(state, end - start)

    def _count(self, state: int, amount: int) -> None:
        self._totals[state] = self._totals.get(state, 0) + amount

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield the runs that make up `[start, end)`, absent ones included, in order."""
        at = start
        i = bisect_right(self._ends, start)
        while at < end and i < len(self._starts) and self._starts[i] < end:
            if at < self._starts[i]:
                yield Run(at, self._starts[i], None)
            stop = min(end, self._ends[i])
            yield Run(max(at, self._starts[i]), stop, self._states[i])
            at = stop
            i += 1
        if at < end:
            yield Run(at, end, None)

    def spans(self, start: int, end: int, state: int | None) -> list[Span]:
        """Return the parts of `[start, end)` that are in `state` (`None`: absent)."""
        return [Span(run.start, run.end) for run in self.runs(start, end) if run.state == state]

    def covers(self, start: int, end: int) -> bool:
        """Tell whether no byte of `[start, end)` is absent."""
        if start >= end:
            return True
        i = bisect_right(self._ends, start)
        while i < len(self._starts) and self._starts[i] <= start:
            start = self._ends[i]
            if start >= end:
                return True
            i += 1
        return False

    def truncate(self, size: int) -> None:
        """Make everything from `size` on absent."""
        if self._ends and self._ends[-1] > size:
            self.set(size, self._ends[-1], None)

    def copy(self) -> ExtentMap:
        """Return an independent map with the same runs."""
        twin = ExtentMap()
        twin._starts, twin._ends, twin._states = self._starts[:], self._ends[:], self._states[:]
        twin._totals = dict(self._totals)
        return twin


def _merged(pieces: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    merged: list[tuple[int, int, int]] = []
    for start, end, state in pieces:
        if merged and merged[-1][1] == start and merged[-1][2] == state:
            merged[-1] = (merged[-1][0], end, state)
        else:
            merged.append((start, end, state))
    return merged
