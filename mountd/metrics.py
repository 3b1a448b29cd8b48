"""Counting what happens, cheaply enough for every operation: about a microsecond each. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Upper bounds of a histogram's buckets, in seconds: from the kernel's round trip to a store that hardly answers.
BOUNDS: Sequence[float] = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# So many processes are kept apart; those that did nothing for longest are let go.
PROCESSES = 64


class Histogram:
    """How long something took, in buckets.

    Attributes:
        counts: by bucket; the last one is for what took longer than all of BOUNDS.
        total: seconds in all.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def to_json(self) -> dict[str, Any]:
        """Return what `quantile` and programs elsewhere take."""
        return {"counts": list(self.counts), "total": self.total}


class Timings:
    """Histograms and failures by name."""

    __slots__ = ("errors", "histograms")

    def __init__(self) -> None:
        self.histograms: dict[str, Histogram] = {}
        self.errors: Counter[str] = Counter()

    def add(self, name: str, seconds: float) -> None:
        """Count one of a name."""
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = Histogram()
        found.add(seconds)

    def to_json(self) -> dict[str, Any]:
        """Return all by name, with `errors`."""
        return {name: each.to_json() | {"errors": self.errors[name]} for name, each in sorted(self.histograms.items())}


@dataclass(slots=True)
class ProcessUse:
    """What one process did on the mount. `name`: its own, as far as it was still there to be asked."""

    name: str
    operations: int = 0
    read: int = 0
    written: int = 0


@dataclass(slots=True)
class Watch:
    """What the kernel asked of one mount since it began.

    Attributes:
        operations: by name of the FUSE request.
        read, written: bytes that programs got and gave.
        processes: by process id, the last active one last.
    """

    operations: Timings = field(default_factory=Timings)
    read: int = 0
    written: int = 0
    processes: OrderedDict[int, ProcessUse] = field(default_factory=OrderedDict)
    _owners: dict[int, ProcessUse] = field(default_factory=dict)
    _threads: dict[int, int] = field(default_factory=dict)

    def process(self, thread: int) -> ProcessUse:
        """Return the figures of a thread's process, with one operation more. The kernel says which thread asks."""
        pid = self._threads.get(thread)
        if pid is None:
            if len(self._threads) >= 4 * PROCESSES:
                self._threads.clear()
            pid = self._threads[thread] = _process_of(thread)
        found = self.processes.get(pid)
        if found is None:
            found = self.processes[pid] = ProcessUse(_name_of(pid))
            if len(self.processes) > PROCESSES:
                self.processes.popitem(last=False)
        else:
            self.processes.move_to_end(pid)
        found.operations += 1
        return found

    def opened(self, handle: int, thread: int) -> None:
        """A thread has opened a file: what is read and written by the handle is counted as its process's."""
        self._owners[handle] = self.process(thread)

    def closed(self, handle: int) -> None:
        """The handle is gone."""
        self._owners.pop(handle, None)

    def moved(self, handle: int, *, read: int = 0, written: int = 0) -> None:
        """Count bytes; requests for them do not say who asks."""
        self.read += read
        self.written += written
        owner = self._owners.get(handle)
        if owner is not None:
            owner.operations += 1
            owner.read += read
            owner.written += written

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "operations": self.operations.to_json(),
            "read": self.read,
            "written": self.written,
            "processes": [
                {"pid": pid, "name": use.name, "operations": use.operations, "read": use.read, "written": use.written}
                for pid, use in reversed(self.processes.items())
            ],
        }


def quantile(counts: Sequence[int], wanted: float) -> float:
    """Return the seconds within which the share `wanted` (0 to 1) of a histogram's events were done, as far as its
    buckets tell: linear within a bucket, as Prometheus' histogram_quantile does; 0 without events."""
    total = sum(counts)
    if not total:
        return 0.0
    left = wanted * total
    low = 0.0
    for count, high in zip(counts, (*BOUNDS, BOUNDS[-1]), strict=True):
        if count and left <= count:
            return low + (high - low) * left / count
        left -= count
        low = high
    return low


def difference(newer: Iterable[int], older: Iterable[int]) -> list[int]:
    """Return the histogram of what came between two looks."""
    return [new - old for new, old in zip(newer, older, strict=True)]


def _process_of(thread: int) -> int:
    """Return the process that a thread is of, the number itself where it is gone. Source: proc(5), status, Tgid."""
    try:
        lines = Path(f"/proc/{thread}/status").read_text().splitlines()
    except OSError:
        return thread
    return next((int(line.split()[1]) for line in lines if line.startswith("Tgid:")), thread)


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
