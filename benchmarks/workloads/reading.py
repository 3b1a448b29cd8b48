"""Reading large files."""

import os
import random

from benchmarks import raw
from benchmarks.client import Crew
from benchmarks.workload import KiB, MiB, Workload


def read_whole(path):
    """Read a file as `cat` does; return its size."""
    total = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(MiB):
            total += len(piece)
    return total


def sequential(job):
    """Read one file."""
    yield
    total = read_whole(job.root / "large/sequential")
    yield
    assert total == job.sizes.large


def first_byte(job):
    """Read one byte."""
    yield
    with open(job.root / "large/first", "rb", buffering=0) as file:
        got = file.read(1)
    yield
    assert len(got) == 1


def parallel(job):
    """Read four files, each by a process of its own."""
    crew = Crew(4, lambda number: read_whole(job.root / f"parallel/{number}"))
    yield
    crew.work()


def offsets(sizes, size):
    """Return where random reads are: the same ones each time."""
    chosen = random.Random(size)
    return [chosen.randrange(sizes.large // size) * size for _ in range(sizes.randoms)]


def at_random(name, size):
    """Read pieces of one file, one after another, at random places."""

    def act(job):
        places = offsets(job.sizes, size)
        yield
        fd = os.open(job.root / name, os.O_RDONLY)
        for begin in places:
            assert len(os.pread(fd, size, begin)) == size
        os.close(fd)

    return act


random_4k, random_128k = at_random("large/random4k", 4 * KiB), at_random("large/random128k", 128 * KiB)


def _rate(name, title, act, **more):
    return Workload(name, title, act, unit="MiB/s", **more)


def _random(kind, size, act):
    name = f"large/random{kind}"
    title = f"{{randoms}} random reads of {kind[:-1]} KiB"
    fetch = (raw.random_ranges(name, size, offsets),)
    shared = {"act": act, "amount": lambda sizes: sizes.randoms, "unit": "ms each", "data": (name,)}
    cold = Workload(f"random-{kind}-cold", f"{title}, cold", limit=fetch, **shared)
    warm = Workload(f"random-{kind}-warm", f"{title}, warm", after=cold.name, drop=True, limit="disk", **shared)
    return cold, warm


WHOLE = {"amount": lambda sizes: sizes.large / MiB, "data": ("large/sequential",)}

WORKLOADS = (
    Workload(
        "first-byte",
        "first byte of a cold file",
        first_byte,
        unit="ms each",
        data=("large/first",),
        limit=(raw.single_range("large/first", 1),),
    ),
    _rate(
        "read-cold",
        "sequential read of {large_mib} MiB, cold",
        sequential,
        limit=(raw.ranges("large/sequential"),),
        least=0.85,
        **WHOLE,
    ),
    _rate(
        "read-hot",
        "sequential read of {large_mib} MiB, hot",
        sequential,
        after="read-cold",
        limit="page cache",
        least=0.95,
        **WHOLE,
    ),
    _rate(
        "read-warm",
        "sequential read of {large_mib} MiB, warm",
        sequential,
        after="read-cold",
        drop=True,
        limit="disk",
        least=0.9,
        **WHOLE,
    ),
    _rate(
        "parallel-cold",
        "4 files of {parallel_mib} MiB read at once, cold",
        parallel,
        amount=lambda sizes: 4 * sizes.parallel / MiB,
        data=tuple(f"parallel/{number}" for number in range(4)),
        limit=(raw.ranges(*(f"parallel/{number}" for number in range(4))),),
        least=0.85,
    ),
    *_random("4k", 4 * KiB, random_4k),
    *_random("128k", 128 * KiB, random_128k),
)
