"""Large directories: when the first name is there, when all are, what the store is asked, and what a name costs.

    python benchmarks/directories.py [NAMES]

On a local folder, of which every name is listed as those of a bucket would be.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.harness import Host
from tests.kits import LocalFolder


def fill(folder, count):
    """Make empty files with typical names."""
    folder.mkdir()
    for i in range(count):
        os.close(os.open(folder / f"part-{i:08}-object.bin", os.O_CREAT | os.O_WRONLY))


def scan(path, *, stop=None):
    """Read names and attributes, at most `stop` of them; return how many there were and when the first was there."""
    started, first, count = time.perf_counter(), 0.0, 0
    with os.scandir(path) as entries:
        for entry in entries:
            first = first or time.perf_counter() - started
            entry.stat()
            count += 1
            if count == stop:
                break
    return count, first


def run(mount, count):
    """Measure."""
    scan(mount / "warm")
    before = mount.memory()
    for what, stop in (("the first 10", 10), ("all", None), ("all, again", None)):
        started = time.perf_counter()
        with mount.counting() as requests:
            found, first = scan(mount / "d", stop=stop)
        total = time.perf_counter() - started
        grown = (mount.memory() - before) / count
        print(
            f"{what:<14} {found:>8} names   first {first * 1e3:7.1f} ms   total {total:6.2f} s   "
            f"{sum(requests.values()):>4} requests   {grown:4.0f} bytes a name",
            flush=True,
        )


def main():
    """Run everything; nothing is left behind."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    folder = Path(tempfile.mkdtemp(prefix="mountd-bench-"))
    try:
        host = Host(folder / "host")
        host.folder.mkdir()
        store = LocalFolder(folder / "store")
        fill(store.folder / "d", count)
        fill(store.folder / "warm", 2000)
        with contextlib.closing(host):
            run(host.mount(store, "--freshness", "600"), count)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
