"""Damage to what a mount has on local disk, as disks and people do it."""

import os
import time


def blobs(mount):
    """Return the files that hold bytes of a mount, largest first."""
    found = [path for path in (mount.host.folder / "state" / "mountd").glob("*/blobs/*/*") if path.is_file()]
    return sorted((path for path in found if path.stat().st_blocks), key=lambda path: -path.stat().st_size)


def closed(mount):
    """Return when the kernel has given all handles back, some time after `close()`: a file that is open is trusted."""
    while mount.status()["handles"]:
        time.sleep(0.05)
    time.sleep(0.3)  # and what has arrived is written, and the backing file closed: from then on it is watched


def turn(path, offset):
    """Turn a bit of a file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        (old,) = file.read(1)
        file.seek(offset)
        file.write(bytes([old ^ 4]))


def drop(path):
    """Have the kernel forget a file's pages, so that reads reach the daemon."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def reach_the_daemon(file, mount, size):
    """Have the kernel hand over what was written, without an fsync, and return the backing file that has it."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        found = [path for path in blobs(mount) if path.stat().st_size == size]
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("what was written has not reached the daemon")
