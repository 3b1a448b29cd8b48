"""Folders and files that are this user's alone: made so whatever the umask, and refused when they are not.

What is in such a folder can be trusted when nobody else could ever write in it. Links are followed nowhere: in a
folder like /tmp anybody could have put one there that leads to a file of ours.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from mountd.errors import EXIT_CONFIG, UserError

if TYPE_CHECKING:
    from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make `path` a folder that only this user can enter, and return it.

    Raises UserError (EXIT_CONFIG) where it cannot be made, is a link or somebody else's, or others may write in it.
    """
    try:
        make_folder(path)
        require_private(path)
        if stat.S_IMODE(path.lstat().st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}", EXIT_CONFIG) from error
    return path


def make_folder(path: Path) -> None:
    """Make a folder where there is none, for its owner alone, and so all those above it that are missing.

    Source: XDG base directory specification. Raises OSError.
    """
    for missing in reversed([path, *path.parents]):
        if not os.path.lexists(missing):
            missing.mkdir(mode=0o700, exist_ok=True)


def require_private(path: Path) -> None:
    """Raise UserError (EXIT_CONFIG) unless the folder `path` is this user's, and nobody else may write in it."""
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise UserError(f"{path} is a link or belongs to another user; remove it", EXIT_CONFIG)
    if state.st_mode & 0o022:
        raise UserError(
            f"others may have put something into {path}: remove it, or look what is in it and run: chmod 700 {path}",
            EXIT_CONFIG,
        )


def open_private(path: str | Path, flags: int) -> int:
    """Return a descriptor of a regular file that only this user can read, made with O_CREAT, and never a link.

    Raises OSError; UserError (EXIT_CONFIG) where it is a link, somebody else's, or another file under a second name.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if os.path.islink(path):
            raise UserError(f"{path} is a link; remove it", EXIT_CONFIG) from error
        raise
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_nlink > 1:
            raise UserError(f"{path} is no file, is a hard link, or belongs to another user; remove it", EXIT_CONFIG)
        if state.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
