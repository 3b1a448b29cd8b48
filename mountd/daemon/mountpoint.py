"""The folder that a store is mounted at: made, checked, cleaned of a dead mount, and unmounted."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from mountd.daemon import users
from mountd.errors import EXIT_BUSY, EXIT_FAILURE, EXIT_NO_FUSE, Busy, StoreFailure, UserError, is_disconnected

DEVICE = Path("/dev/fuse")
# An answer within this many seconds, or the kernel is stuck and nobody should wait for it.
UNMOUNT_TIMEOUT = 20.0
# For so many seconds a mount is tried again that is in use by nobody who can be found: a process that is ending has
# files open that /proc shows no longer, and whoever reads /proc holds what it looks at for a moment.
PASSING, PAUSE = 1.0, 0.05


def require_fuse() -> None:
    """Raise UserError (EXIT_NO_FUSE) where this machine cannot mount, saying what to do about it."""
    if not DEVICE.exists():
        raise UserError(
            "there is no /dev/fuse: load the kernel module (modprobe fuse); in a container, start it with "
            "--device /dev/fuse --cap-add SYS_ADMIN",
            EXIT_NO_FUSE,
        )
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise UserError(f"no permission to use {DEVICE}", EXIT_NO_FUSE)
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise UserError("fusermount3 is missing: install the package fuse3", EXIT_NO_FUSE)


def prepare(path: Path) -> None:
    """Make `path` an empty folder that can be mounted at; a mount that a dead daemon left there is removed.

    Raises UserError (EXIT_BUSY) where something is mounted there, or it is not empty or not a folder.
    """
    clear_dead(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.path.ismount(path):
            raise UserError(f"something is mounted at {path} already", EXIT_BUSY)
        if any(path.iterdir()):
            raise UserError(f"the mount point {path} is not empty; choose another or empty it", EXIT_BUSY)
    except FileExistsError:
        raise UserError(f"the mount point {path} is not a folder", EXIT_BUSY) from None
    except OSError as exc:
        raise UserError(f"cannot use {path} as mount point: {exc.strerror}", EXIT_FAILURE) from exc
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"no permission to mount at {path}", EXIT_FAILURE)


def keep_apart(path: Path, root: str) -> None:
    """Refuse a mount point inside a local store, or around it: either would contain itself."""
    point, folder = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if point.is_relative_to(folder) or folder.is_relative_to(point):
        raise UserError(f"the mount point {path} and the store's folder {root} must not lie in one another", EXIT_BUSY)


def clear_dead(path: Path) -> bool:
    """Remove a mount whose daemon is dead ("Transport endpoint is not connected"); tell whether there was one."""
    try:
        os.statvfs(path)  # which always asks the daemon; of stat the kernel may remember the answer
    except OSError as exc:
        if not is_disconnected(exc):
            return False
        detach(path, lazy=True)
        return True
    return False


def detach(path: Path, *, lazy: bool = False) -> None:
    """Unmount. `lazy`: at once, also when files in it are open. Raises Busy when they are, StoreFailure."""
    end = time.monotonic() + PASSING
    while not _unmounted(path, lazy=lazy):
        found = users.named(users.users_of(path))
        if found:
            raise Busy(f"{path} is in use by {found}")
        if time.monotonic() >= end:
            raise Busy(f"{path} is in use: a program has a file open or works in it (to see which: fuser -vm {path})")
        time.sleep(PAUSE)


def _unmounted(path: Path, *, lazy: bool) -> bool:
    """Unmount, or tell that the kernel calls it busy. Raises StoreFailure.

    The helper of umount(8), which waits for pending writes, is left out: it would come here again.
    """
    if os.geteuid() == 0:
        command = ["umount", "-i", *(["-l"] if lazy else []), str(path)]
    else:
        command = ["fusermount3", "-uz" if lazy else "-u", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=UNMOUNT_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise StoreFailure(f"cannot unmount {path}: {exc}") from exc
    if done.returncode == 0:
        return True
    if "busy" in done.stderr.lower():
        return False
    raise StoreFailure(f"cannot unmount {path}: {' '.join(done.stderr.split())}")
