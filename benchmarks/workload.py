"""What a workload is: how it is prepared, what is timed, in which unit it is told, and what it is measured against."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

KiB, MiB = 1024, 1024 * 1024

# The timed part: a generator. Up to the first `yield` it prepares; what follows, up to its end or a second `yield`, is
# timed; what comes after that checks.
Act = Callable[[Any], Iterator[None]]


# Parts of the data that have fewer files where latency is added, and which of the `Sizes` says how many.
COUNTED = {
    "small": "small",
    "scanned": "small",
    "named": "small",
    "samples": "samples",
    "local/tree": "tree",
    "local/repository": "cloned",
}


@dataclass(frozen=True)
class Sizes:
    """How much is done: bytes, and numbers of files and calls."""

    large: int = 256 * MiB
    huge: int = 1024 * MiB
    parallel: int = 64 * MiB
    moved: int = 32 * MiB
    backward: int = 64 * MiB
    weights: int = 100 * MiB
    table: int = 200 * MiB
    randoms: int = 200
    small: int = 1000
    many: int = 10_000
    moves: int = 200
    tree: int = 200
    directories: int = 20
    cloned: int = 300
    samples: int = 5000
    sample: int = 100 * KiB
    appends: int = 200
    modules: int = 60

    def where(self, part: str) -> str:
        """Return the path, in the store, of a part of the data."""
        return f"{part}/{getattr(self, COUNTED[part])}" if part in COUNTED else part

    def far_away(self) -> "Sizes":
        """Return what is enough where each request takes long: figures for one file or call stay comparable."""
        return replace(
            self,
            small=min(self.small, 200),
            appends=min(self.appends, 40),
            samples=min(self.samples, 1000),
            tree=min(self.tree, 60),
            directories=min(self.directories, 6),
            cloned=min(self.cloned, 60),
        )


SCALES = {
    "full": Sizes(),
    "small": Sizes(
        large=24 * MiB,
        huge=48 * MiB,
        parallel=8 * MiB,
        moved=4 * MiB,
        backward=8 * MiB,
        weights=8 * MiB,
        table=8 * MiB,
        randoms=20,
        small=40,
        many=1200,
        moves=10,
        tree=20,
        directories=4,
        cloned=20,
        samples=60,
        appends=5,
        modules=20,
    ),
}


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        name: to choose it by; `title` says it with numbers, by `str.format` of the `Sizes`.
        act: the timed part.
        amount: bytes, files or calls that it does, of the `Sizes`; `unit` tells what figure that makes: `MiB/s`,
            `ms each` or `s`.
        group: workloads of one group share a mount. `reading` and `writing`, the latter in both write modes.
        data: what has to be in the store before: names of `benchmarks.data`.
        setup: brings what the workload uses up: called with a place, a folder there, and `Sizes`.
        after: the workload that has to have run on the same mount, as what it left in caches is measured.
        drop: whether the kernel forgets all pages and names first, so that only local disk can help.
        limit: acts that do the same with no file system, the fastest of which counts, or `disk` or `page cache`: the
            same act on local files.
        least: the target: at least this part of the limit's speed.
        against: another workload on the same mount that is the limit.
        libraries: modules that are loaded before the clock runs.
        only: peers that it is for, all if empty.
    """

    name: str
    title: str
    act: Act
    amount: Callable[[Sizes], float] = lambda sizes: 1
    unit: str = "s"
    group: str = "reading"
    data: tuple[str, ...] = ()
    setup: Callable[[Any, str, Sizes], None] | None = None
    after: str = ""
    drop: bool = False
    limit: tuple[Act, ...] | str = ()
    least: float | None = None
    against: str = ""
    libraries: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
