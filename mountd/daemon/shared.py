"""Who uses a mount that was made for the length of a block: the last one to leave unmounts it.

Each user holds a shared lock on one file; whoever can have it alone at the end is the last. The kernel takes the locks
of killed processes away.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from mountd.private import open_private, private_folder

if TYPE_CHECKING:
    from pathlib import Path


class SharedUse:
    """One block's use of a mount, from `begin` or `join` to `leave`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._process = os.getpid()

    @classmethod
    def begin(cls, path: Path) -> SharedUse:
        """Note in the file `path` that the mount, which has just been made, is one of those."""
        private_folder(path.parent)
        return cls._locked(path, os.O_RDWR | os.O_CREAT)

    @classmethod
    def join(cls, path: Path) -> SharedUse | None:
        """Use the mount as well; `None` where it is none of those, and stays when all have left."""
        try:
            return cls._locked(path, os.O_RDWR)
        except FileNotFoundError:
            return None

    @classmethod
    def _locked(cls, path: Path, flags: int) -> SharedUse:
        descriptor = open_private(path, flags)
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for somebody who is unmounting at this moment
        return cls(path, descriptor)

    def is_last(self) -> bool:
        """Tell whether nobody else uses the mount; then nobody can begin to until `leave`.

        A process that was forked inside the block uses it with its parent, who has yet to leave.
        """
        if os.getpid() != self._process:
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def leave(self, *, unmounted: bool) -> None:
        """Stop using it."""
        if unmounted:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def forget(path: Path) -> None:
    """A mount is being made that has nothing to do with those who used an earlier one."""
    path.unlink(missing_ok=True)
