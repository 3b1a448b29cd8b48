"""From recorded numbers to figures: medians, ratios, targets missed. Pure: works on what the JSON file holds.

A record is a dict: `latency` (ms), `run`, `workload`, `peer`, and `seconds` or `failed`; with `cpu` (seconds),
`memory` (bytes), `requests` (by kind), `received` (bytes that the store received).
"""

import statistics
from dataclasses import dataclass

OURS = "mountd"
OURS_LATER = "mountd write-back"
LIMIT = "limit"
# At least this many times as fast as the best peer that keeps files as plain objects.
TARGET = 1.2


@dataclass(frozen=True)
class Cell:
    """What one peer did in one row, over all runs. Seconds are `None` if it never worked out.

    `returned` is how long the calls of what was waited for in the bucket took.
    """

    seconds: float | None
    fastest: float | None
    slowest: float | None
    runs: int
    failed: str
    cpu: float
    memory: int
    requests: dict[str, int]
    received: int
    returned: float | None = None


@dataclass(frozen=True)
class Row:
    """One workload at one latency.

    Attributes:
        ratio: how many times as fast as the best raw-object peer mountd is; `later` is the same in write-back mode.
        waiting: the same among those whose `close()` waits until the store has the file.
        to_limit: the part of the limit's speed that mountd has; `least` is the target.
    """

    workload: str
    cells: dict[str, Cell]
    limit: float | None = None
    ratio: float | None = None
    later: float | None = None
    waiting: float | None = None
    to_limit: float | None = None
    least: float | None = None
    best: str = ""

    @property
    def slower(self) -> bool:
        """Whether the ratio to the best peer misses the target."""
        return self.ratio is not None and self.ratio < TARGET

    @property
    def far_from_limit(self) -> bool:
        """Whether the ratio to the limit misses its target."""
        return self.least is not None and self.to_limit is not None and self.to_limit < self.least

    @property
    def missed(self) -> list[str]:
        """Which targets are missed, and by how much."""
        return list(_missed(self))


def cell(records):
    """Return what the records of one peer in one row say together."""
    worked = sorted((each for each in records if "seconds" in each), key=lambda each: each["seconds"])
    failed = next((each["failed"] for each in records if "failed" in each), "")
    if not worked:
        return Cell(None, None, None, 0, failed, 0.0, 0, {}, 0)
    times = [each["seconds"] for each in worked]
    typical = worked[(len(worked) - 1) // 2]  # the run that is the median, or the faster one beside it
    return Cell(
        statistics.median(times),
        times[0],
        times[-1],
        len(times),
        failed,
        statistics.median(each.get("cpu", 0.0) for each in worked),
        max(each.get("memory", 0) for each in worked),
        typical.get("requests", {}),
        typical.get("received", 0),
        typical.get("returned"),
    )


def quotient(theirs, ours):
    """Return how many times as fast ours is; `None` where either is missing."""
    return theirs / ours if theirs and ours else None


def best(cells, names):
    """Return the name and the seconds of the fastest of these peers."""
    done = [(cells[name].seconds, name) for name in names if name in cells and cells[name].seconds]
    return min(done, default=(None, ""))


def row(workload, records, peers, *, limit=None, least=None):
    """Make a row of the records of one workload at one latency.

    `peers` has, by name, whether each is `raw` and whether it `waits`; `limit` is in seconds.
    """
    cells = {}
    for name in dict.fromkeys(each["peer"] for each in records):
        cells[name] = cell([each for each in records if each["peer"] == name])
    others = [name for name in cells if name in peers and peers[name]["raw"] and name not in (OURS, OURS_LATER)]
    seconds, who = best(cells, others)
    waiting, _ = best(cells, [name for name in others if peers[name]["waits"]])
    ours = cells[OURS].seconds if OURS in cells else None
    later = cells[OURS_LATER].seconds if OURS_LATER in cells else None
    return Row(
        workload,
        cells,
        limit,
        quotient(seconds, ours),
        quotient(seconds, later),
        quotient(waiting, ours) if waiting != seconds else None,
        quotient(limit, ours),
        least,
        who,
    )


def _missed(row):
    """Say which targets a row misses, and by how much."""
    if OURS in row.cells and row.cells[OURS].seconds is None:
        yield f"failed: {row.cells[OURS].failed}"
    for which, ratio in ((OURS, row.ratio), (OURS_LATER, row.later)):
        if ratio is not None and ratio < TARGET:
            yield f"{which} {ratio:.2f} of {TARGET} times {row.best}"
    if row.far_from_limit:
        yield f"{row.to_limit:.2f} of {row.least:.2f} of the limit"


def rows(results, latency):
    """Return the rows of one latency, in the order of the workloads."""
    made = []
    for name, known in results["workloads"].items():
        records = [each for each in results["records"] if (each["workload"], each["latency"]) == (name, latency)]
        if records:
            limit = _limit(results, latency, name, known)
            made.append(row(name, records, results["peers"], limit=limit, least=known.get("least")))
    return made


def _limit(results, latency, name, known):
    """Return the seconds of a row's limit: of the acts with no file system, or of another row of mountd."""
    wanted = (known["against"], OURS) if known.get("against") else (name, LIMIT)
    records = [
        each
        for each in results["records"]
        if (each["workload"], each["peer"], each["latency"]) == (*wanted, latency) and "seconds" in each
    ]
    return statistics.median(each["seconds"] for each in records) if records else None


def worst(rows, count=3):
    """Return the rows with the worst ratios to the best peer: of the mode that does better."""

    def better(row):
        return max(each for each in (row.ratio, row.later) if each is not None)

    rated = [row for row in rows if row.ratio is not None or row.later is not None]
    return sorted(rated, key=better)[:count]


def figure(seconds, unit, amount):
    """Return seconds as a figure in a row's unit: `MiB/s`, `ms each` or `s`."""
    if seconds is None:
        return ""
    value = {"MiB/s": lambda: amount / seconds, "ms each": lambda: seconds * 1e3 / amount, "s": lambda: seconds}[unit]()
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
