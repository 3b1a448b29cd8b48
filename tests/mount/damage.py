"""Damage to what a mount has on local disk, as disks and people do it."""

import contextlib
import os
import time


def blobs(mount):
    """Return the files that hold bytes of a mount, largest first."""
    found = [path for path in (mount.host.folder / "state" / "mountd").glob("*/blobs/*/*") if path.is_file()]
    return sorted((path for path in found if path.stat().st_blocks), key=lambda path: -path.stat().st_size)


def closed(mount):
    """Return when the mount has closed its backing files, some time after `close()`: from then on they are watched.

    The kernel gives handles back later, and what has arrived is yet to be written: a file that is open is trusted.
    """
    quiet = 0
    while quiet < 3:
        quiet = 0 if mount.status()["handles"] or _open_blobs(mount) else quiet + 1
        time.sleep(0.1)


def _open_blobs(mount):
    found = []
    for entry in os.scandir(f"/proc/{mount.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += [name for name in [os.readlink(entry)] if "/blobs/" in name]
    return found


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
