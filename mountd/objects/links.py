"""Hard links in a folder: a file that is replaced goes on having all its names."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def kept(tree: str, target: str, beside: Callable[[str], str]) -> Iterator[None]:
    """Whatever the block puts in the place of `target` has, after it, all names below `tree` that `target` had.

    `beside` returns a name in the folder of a path that nobody sees, for a moment.

    Costs nothing for a file with one name. The names of another are found by walking the tree: the file system knows
    how many there are, and not where.
    """
    try:
        # As long as it is open, no other file can get its number when its last name goes.
        descriptor = os.open(target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        old = os.fstat(descriptor)
        yield
        others = min(old.st_nlink - 1, os.fstat(descriptor).st_nlink) if stat.S_ISREG(old.st_mode) else 0
        for path in _names(tree, old, others):
            name = beside(path)
            os.link(target, name, follow_symlinks=False)
            os.rename(name, path)
    finally:
        os.close(descriptor)


def _names(tree: str, state: os.stat_result, most: int) -> Iterator[str]:
    """Yield up to `most` paths below `tree` that lead to a file."""
    found = 0
    folders = [tree]
    while folders and found < most:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.inode() == state.st_ino and entry.stat(follow_symlinks=False).st_dev == state.st_dev:
                    found += 1
                    yield entry.path
