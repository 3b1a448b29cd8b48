"""Many small files."""

import os

from benchmarks import raw
from benchmarks.client import Failed
from benchmarks.workload import KiB, Workload


def read_all(job):
    """List a directory and read every file."""
    folder = job.part("small")
    yield
    names = os.listdir(folder)
    total = 0
    for name in names:
        with open(folder / name, "rb", buffering=0) as file:
            total += len(file.read())
    yield
    if total != job.sizes.small * 4 * KiB:
        raise Failed(f"read {total} bytes in {len(names)} files")


def scan(job):
    """List a directory with the attributes of every file."""
    yield
    with os.scandir(job.part("scanned")) as entries:
        total = sum(entry.stat().st_size for entry in entries)
    yield
    assert total == job.sizes.small * 100


def stat_names(job):
    """Ask for files by name, without listing them."""
    folder = job.part("named")
    yield
    for number in range(job.sizes.small):
        assert os.stat(folder / f"{number:05}").st_size == 100


def write_all(job):
    """Create, write and close files, until all are in the bucket."""
    job.prepare()
    data = os.urandom(4 * KiB)
    names = [f"{number:05}" for number in range(job.sizes.small)]
    os.mkdir(job.mine / "new")
    yield
    for name in names:
        with open(job.mine / "new" / name, "wb", buffering=0) as file:
            file.write(data)
    job.wait_for_all("new", dict.fromkeys(names, len(data)))


def put_for_deletion(place, at, sizes):
    """Put what `delete_all` deletes."""
    place.put([f"{at}/old/{number:05}" for number in range(sizes.small)], b"x" * 4096)


def delete_all(job):
    """Delete the files of a directory, until none is in the bucket."""
    job.prepare()
    names = sorted(os.listdir(job.mine / "old"))
    if len(names) != job.sizes.small:
        raise Failed(f"sees {len(names)} of {job.sizes.small} files")
    yield
    for name in names:
        os.unlink(job.mine / "old" / name)
    job.wait_until_gone("old", names)


def _count(sizes):
    return sizes.small


EACH = {"amount": _count, "unit": "ms each"}

READING = (
    Workload(
        "small-read-cold",
        "{small} files of 4 KiB listed and read, cold",
        read_all,
        data=("small",),
        limit=(raw.gets("small", _count),),
        **EACH,
    ),
    Workload(
        "small-read-warm",
        "{small} files of 4 KiB listed and read, warm",
        read_all,
        data=("small",),
        after="small-read-cold",
        drop=True,
        limit="disk",
        **EACH,
    ),
    Workload(
        "stat-scandir",
        "{small} files stat'ed by os.scandir, cold",
        scan,
        data=("scanned",),
        limit=(raw.listing("scanned"),),
        **EACH,
    ),
    Workload(
        "stat-names",
        "{small} files stat'ed by name, cold",
        stat_names,
        data=("named",),
        limit=(raw.listing("named"),),
        **EACH,
    ),
)

WRITING = (
    Workload(
        "small-write",
        "{small} files of 4 KiB written",
        write_all,
        group="writing",
        limit=(raw.puts(_count),),
        **EACH,
    ),
    Workload(
        "small-delete",
        "{small} files deleted",
        delete_all,
        group="writing",
        setup=put_for_deletion,
        **EACH,
    ),
)
