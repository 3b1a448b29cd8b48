"""Files of mounted stores, by URI, by path under a mount, or anywhere on this machine: plain calls of the OS.

The functions are those of `zenml.io.fileio`, with the same signatures and meaning, so that code written for it runs
with another import. What differs, because a mounted store is a file system: a URI is found under the mount that holds
it, and one that no mount holds is an `OutOfBounds` (a `FileNotFoundError`), never a file somewhere else; and
`overwrite=False` cannot lose a race.

Where a store's directories come into being with what is in them, they do so here: writing to a URI makes the
directories above it. With a local path that is an error, as everywhere.
"""

from __future__ import annotations

import builtins
import glob as globbing
import os
import shutil
from typing import TYPE_CHECKING, Any, TypeVar

from mountd.errors import is_cross_device
from mountd.places import PathLike, Place, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "copy",
    "exists",
    "glob",
    "isdir",
    "listdir",
    "makedirs",
    "mkdir",
    "open",
    "remove",
    "rename",
    "rmtree",
    "size",
    "stat",
    "walk",
]

T = TypeVar("T")

# Bytes at a time of a copy: large enough for requests to the store to be large.
_CHUNK = 8 * 1024 * 1024


def open(path: PathLike, mode: str = "r") -> Any:
    """Open a file, text as UTF-8. Raises OutOfBounds, and OSError as `builtins.open` does."""
    return _open(place_of(path), mode)


def _open(place: Place, mode: str) -> Any:
    encoding = None if "b" in mode else "utf-8"

    def act() -> Any:
        return builtins.open(place.path, mode, encoding=encoding)

    return act() if mode[:1] == "r" else _with_parents(place, act)


def copy(src: PathLike, dst: PathLike, overwrite: bool = False) -> None:
    """Copy a file's bytes, also between stores.

    Raises FileExistsError where `dst` is there and `overwrite` is not given.
    """
    source, target = place_of(src), place_of(dst)
    if not overwrite and os.path.exists(target.path):
        raise _there_already(dst)
    with builtins.open(source.path, "rb") as reading:  # before anything is made or emptied
        try:
            writing = _open(target, "wb" if overwrite else "xb")
        except FileExistsError:
            raise _there_already(dst) from None
        with writing:
            shutil.copyfileobj(reading, writing, _CHUNK)


def exists(path: PathLike) -> bool:
    """Tell whether there is something at a path."""
    return os.path.exists(place_of(path).path)


def glob(pattern: PathLike) -> list[str]:
    """Return what matches a pattern, as `glob.glob` understands it; URIs where the pattern is one."""
    place = place_of(pattern)
    return [place.named(found) for found in globbing.glob(place.pattern)]


def isdir(path: PathLike) -> bool:
    """Tell whether there is a directory at a path."""
    return os.path.isdir(place_of(path).path)


def listdir(path: PathLike, only_file_names: bool = True) -> list[str]:
    """Return the names in a directory, or its path joined with each; nothing where it is none, or cannot be read."""
    place = place_of(path)
    try:
        names = os.listdir(place.path)
    except OSError:
        return []
    return names if only_file_names else [os.path.join(text_of(path), name) for name in names]


def makedirs(path: PathLike) -> None:
    """Make a directory and those above it, unless they are there."""
    os.makedirs(place_of(path).path, exist_ok=True)


def mkdir(path: PathLike) -> None:
    """Make a directory, in one that is there. Raises FileExistsError, FileNotFoundError."""
    os.mkdir(place_of(path).path)


def remove(path: PathLike) -> None:
    """Remove a file. Raises FileNotFoundError."""
    os.remove(place_of(path).path)


def rename(src: PathLike, dst: PathLike, overwrite: bool = False) -> None:
    """Rename a file or directory within one store, or on the local disk.

    Raises FileExistsError where `dst` is there and `overwrite` is not given; NotImplementedError from one to the other.
    """
    source, target = place_of(src), place_of(dst)
    if not overwrite and os.path.lexists(target.path):
        raise _there_already(dst)
    try:
        _with_parents(target, lambda: os.rename(source.path, target.path))
    except OSError as exc:
        if not is_cross_device(exc):
            raise
        raise NotImplementedError(
            f"{text_of(src)} and {text_of(dst)} are not in the same store: copy, then remove"
        ) from exc


def rmtree(dir_path: PathLike) -> None:
    """Remove a directory with everything in it. Raises TypeError where it is none."""
    path = place_of(dir_path).path
    if not os.path.isdir(path):
        raise TypeError(f"Path '{text_of(dir_path)}' is not a directory.")
    shutil.rmtree(path)


def stat(path: PathLike) -> os.stat_result:
    """Return what `os.stat` does."""
    return os.stat(place_of(path).path)


def size(path: PathLike) -> int:
    """Return the bytes of a file, or of all files in a directory; 0 where there is nothing."""
    found = place_of(path).path
    if not os.path.isdir(found):
        return os.path.getsize(found) if os.path.exists(found) else 0
    return sum(entry.stat().st_size for entry in _files_below(found))


def _files_below(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files_below(entry.path)
            elif entry.is_file():  # no link that leads nowhere
                yield entry


def walk(
    top: PathLike, topdown: bool = True, onerror: Callable[[OSError], Any] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each directory at and below `top`, URIs where that is one, and the names of directories and files in it."""
    place = place_of(top)
    for folder, directories, files in os.walk(place.path, topdown=topdown, onerror=onerror):
        yield place.named(folder), directories, files


def _with_parents(place: Place, act: Callable[[], T]) -> T:
    """Act, in a directory that is made where a URI needs it."""
    try:
        return act()
    except FileNotFoundError:
        parent = os.path.dirname(place.path)
        if place.holder is None or os.path.isdir(parent) or not os.path.ismount(place.holder.mount_point):
            raise
        os.makedirs(parent, exist_ok=True)
        return act()


def _there_already(path: PathLike) -> FileExistsError:
    return FileExistsError(f"{text_of(path)} is there already, and `overwrite` is false")
