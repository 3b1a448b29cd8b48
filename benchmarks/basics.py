"""What the kernel answers by itself, and what the store is asked: the speed that the design promises, on a real S3
server.

    python benchmarks/basics.py

Prints one line per property: time, requests sent to the store, CPU time of the daemon. Timings are of this machine; the
numbers of requests are not.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.harness import Host
from tests.kits import Bucket
from tests.servers import seaweedfs

MiB = 1024 * 1024
FILES = 10_000
SMALL = 200
LARGE = 256 * MiB


def cpu_seconds(pid):
    """Return the CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def measured(mount, what, per=1, unit="s", scale=1.0):
    """Print what the block costs; divided by `per`, in `unit`s of which a second has `scale`."""
    cpu = cpu_seconds(mount.pid)
    with mount.counting() as requests:
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
    cpu = cpu_seconds(mount.pid) - cpu
    sent = ", ".join(f"{count} {name}" for name, count in requests.items()) or "none"
    print(f"{what:<52} {elapsed * scale / per:10.2f} {unit:<9} daemon CPU {cpu:5.2f} s   requests: {sent}", flush=True)


def drop_pages(path):
    """Have the kernel forget a file's bytes."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def fill(store):
    """Put the objects that are read, past the mount."""

    def put(first):
        client = Bucket.__new__(Bucket)
        client.bucket, client.client = store.bucket, store.server.client()
        for i in range(first, FILES, 16):
            client.put(f"many/f{i:05}", b"x" * 100)

    threads = [threading.Thread(target=put, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(SMALL):
        store.put(f"small/f{i:03}", os.urandom(20_000))
    store.put("large", os.urandom(LARGE))


def read(path):
    """Read a file as `cat` does."""
    total = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(MiB):
            total += len(piece)
    return total


def run(mount):
    """Measure."""
    for turn in ("first", "again"):
        with measured(mount, f"ls -l of {FILES} objects, {turn}"), os.scandir(mount / "many") as entries:
            assert sum(entry.stat().st_size for entry in entries) == 100 * FILES
    path = mount / "many" / "f00001"
    path.stat()
    with measured(mount, "stat of a known file, 100 000 times", per=100_000, unit="us each", scale=1e6):
        for _ in range(100_000):
            os.stat(path)
    os.listdir(mount / "small")
    with measured(mount, f"open and read a small cold file, {SMALL} of them", per=SMALL, unit="ms each", scale=1e3):
        for i in range(SMALL):
            assert read(mount / "small" / f"f{i:03}") == 20_000
    with measured(mount, "open and read a small hot file, the same", per=SMALL, unit="ms each", scale=1e3):
        for i in range(SMALL):
            assert read(mount / "small" / f"f{i:03}") == 20_000
    for turn in ("cold: from the store", "hot: from the page cache", "warm: from local disk"):
        if "warm" in turn:
            drop_pages(mount / "large")
        with measured(mount, f"read {LARGE // MiB} MiB, {turn}", per=LARGE / 1e9, unit="s/GB"):
            assert read(mount / "large") == LARGE
    with measured(mount, f"write {LARGE // MiB} MiB until it is in the store", per=LARGE / 1e9, unit="s/GB"):
        shutil.copyfile(mount / "large", mount / "copy")
    with measured(mount, "create, write and close a small file, 200 of them", per=200, unit="ms each", scale=1e3):
        for i in range(200):
            (mount / "small" / f"new{i}").write_bytes(b"x" * 1000)
    state = mount.status()
    print(f"peak memory of the daemon: {state['memory'] / MiB:.0f} MiB")


def main():
    """Run everything; nothing is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="mountd-bench-"))
    host = Host(folder / "host")
    host.folder.mkdir()
    try:
        with seaweedfs() as server:
            store = Bucket(server)
            fill(store)
            try:
                run(host.mount(store, "--freshness", "60"))
            finally:
                host.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
