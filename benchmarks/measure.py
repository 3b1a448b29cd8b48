"""What a daemon and the store spend: CPU time, memory, requests. Linux's /proc and the server's own metrics."""

import contextlib
import os
import re
import time
import urllib.request
from collections import Counter
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def process_tree(pids):
    """Return these processes and all below them that live."""
    children = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int(_stat(folder.name)[1])
                children.setdefault(parent, []).append(int(folder.name))
    found, new = [], [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    while new:
        found += new
        new = [child for pid in new for child in children.get(pid, ()) if child not in found]
    return found


def _stat(pid):
    """Return the fields of /proc/PID/stat from the third, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pids):
    """Return the CPU time, user and system, that processes have used, in seconds."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += sum(int(field) for field in _stat(pid)[11:13])
    return total / TICKS


def reset_peaks(pids):
    """Have the kernel forget the largest sizes of processes, where it lets us."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pids):
    """Return the largest resident sizes of processes since `reset_peaks`, added up, in bytes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
    return total


def settle(pids, longest=3.0):
    """Wait until processes have nothing to do any more, at most `longest` seconds."""
    end = time.monotonic() + longest
    before = cpu_seconds(pids)
    while time.monotonic() < end:
        time.sleep(0.15)
        now = cpu_seconds(pids)
        if now - before <= 1 / TICKS:
            return
        before = now


def drop_caches():
    """Have the kernel forget all clean pages and unused names of this machine."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def warm_server(process):
    """Have the kernel read what a server has stored, so that it is as fast for each competitor after `drop_caches`."""
    for path in Path(f"/proc/{process.pid}/cwd").resolve().glob("*.dat"):
        with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while file.read(4 * 1024 * 1024):
                pass


def vacuum(process):
    """Have SeaweedFS give back the disk space of what was deleted: a full run writes more than a disk may have."""
    port = next(part.partition("=")[2] for part in process.args if part.startswith("-master.port="))
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/vol/vacuum?garbageThreshold=0.3", timeout=120).close()


LINE = re.compile(r'^SeaweedFS_s3_(\w+?)(?:_total)?\{bucket="[^"]*"(?:,code="(\d+)")?(?:,type="(\w+)")?\} (\S+)', re.M)


def parse_metrics(text):
    """Return, of the metrics of SeaweedFS, how many requests of each kind it answered, and the bytes it received.

    It counts HEAD among GET, but times the first byte of what it sends: a GET without one is called HEAD here.
    """
    counted = Counter()
    bodies = received = 0
    for name, _, kind, value in LINE.findall(text):
        if name == "request":
            counted[kind] += int(float(value))
        elif name == "time_to_first_byte_millisecond_count" and kind == "GET":
            bodies += int(float(value))
        elif name == "bucket_traffic_received_bytes":
            received += int(float(value))
    counted["HEAD"] = counted["GET"] - bodies
    counted["GET"] = bodies
    return counted, received


class StoreCounter:
    """What the server has been asked."""

    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._before = None

    def _read(self):
        with urllib.request.urlopen(self._url, timeout=20) as answer:
            return parse_metrics(answer.read().decode())

    def start(self):
        """Count from here."""
        self._before = self._read()

    def stop(self, ours):
        """Return the requests by kind since `start`, without `ours`, and the bytes that the server received."""
        (kinds, received), (kinds_before, received_before) = self._read(), self._before
        asked = {kind: kinds[kind] - kinds_before[kind] - ours.get(kind, 0) for kind in sorted(kinds)}
        return {kind: count for kind, count in asked.items() if count > 0}, received - received_before
