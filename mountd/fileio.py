"""Files of mounted stores, by URI, by path under a mount, or anywhere on this machine: plain calls of the OS.

The functions are those of `zenml.io.fileio`, with the same signatures and meaning, so that code written for it runs
with another import. What differs, because a mounted store is a file system: a URI is found under the mount that holds
it, and one that no mount holds is a `NotMounted` (an `OSError`), never a file somewhere else; one that leads out of its
store is an `OutOfBounds` (a `FileNotFoundError`); a copy with `overwrite=False` cannot lose a race; and where a store
does not answer, nothing is said to be absent.

Where a store's directories come into being with what is in them, they do so here: writing to a URI makes the
directories above it. With a local path that is an error, as everywhere.
"""

from __future__ import annotations

import builtins
import glob as globbing
import os
import shutil
from collections.abc import Callable
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mountd.errors import is_cross_device, is_unanswered
from mountd.places import PathLike, Place, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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
OnError = Callable[[OSError], Any] | None

# Bytes at a time of a copy: large enough for requests to the store to be large.
_CHUNK = 8 * 1024 * 1024


def open(path: PathLike, mode: str = "r") -> Any:
    """Open a file, text as UTF-8. Raises OSError as `builtins.open` does, and so do all functions for NotMounted and
    OutOfBounds.
    """
    return _open(place_of(path), mode)


def _open(place: Place, mode: str) -> Any:
    encoding = None if "b" in mode else "utf-8"

    def act() -> Any:
        return builtins.open(place.path, mode, encoding=encoding)

    return act() if "r" in mode else _with_parents(place, act)


def copy(src: PathLike, dst: PathLike, overwrite: bool = False) -> None:
    """Copy a file's bytes, also between stores.

    Raises FileExistsError where `dst` is there and `overwrite` is not given; shutil.SameFileError for one file.
    """
    source, target = place_of(src), place_of(dst)
    if not overwrite and os.path.exists(target.path):
        raise _there_already(dst)
    with builtins.open(source.path, "rb") as reading:  # before anything is made or emptied
        if _is_same(os.fstat(reading.fileno()), target):
            raise shutil.SameFileError(f"{text_of(src)} and {text_of(dst)} are the same file")
        try:
            writing = _open(target, "wb" if overwrite else "xb")
        except FileExistsError:
            raise _there_already(dst) from None
        with writing:
            shutil.copyfileobj(reading, writing, _CHUNK)


def exists(path: PathLike) -> bool:
    """Tell whether there is something at a path. Raises OSError where the store does not answer."""
    return _found(place_of(path)) is not None


@overload
def glob(pattern: bytes) -> list[bytes]: ...
@overload
def glob(pattern: str | os.PathLike[str]) -> list[str]: ...
def glob(pattern: PathLike) -> list[Any]:
    """Return what matches a pattern, as `glob.glob` understands it; URIs where the pattern is one."""
    place = place_of(pattern)
    return [_like(pattern, place.named(found)) for found in globbing.glob(place.pattern)]


def isdir(path: PathLike) -> bool:
    """Tell whether there is a directory at a path. Raises OSError where the store does not answer."""
    found = _found(place_of(path))
    return found is not None and S_ISDIR(found.st_mode)


def listdir(path: PathLike, only_file_names: bool = True) -> list[str]:
    """Return the names in a directory, or its path joined with each; nothing where it is none, or may not be read.

    Raises OSError where the store does not answer.
    """
    place = place_of(path)
    try:
        names = os.listdir(place.path)
    except OSError as error:
        if is_unanswered(error):
            raise
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
    device = os.lstat(source.path).st_dev  # before any directory is made
    if target.holder is None or os.stat(target.holder.mount_point).st_dev == device:
        try:
            return _with_parents(target, lambda: os.rename(source.path, target.path))
        except OSError as exc:
            if not is_cross_device(exc):
                raise
    raise NotImplementedError(f"{text_of(src)} and {text_of(dst)} are not in the same store: copy, then remove")


def rmtree(dir_path: PathLike) -> None:
    """Remove a directory with everything in it; of a store's root, what is in it. Raises TypeError where it is none."""
    path = place_of(dir_path).path
    if not isdir(dir_path):
        raise TypeError(f"Path '{text_of(dir_path)}' is not a directory.")
    if os.path.ismount(path):
        _empty(path)
    else:
        shutil.rmtree(path)


def _empty(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in list(entries):
            (shutil.rmtree if entry.is_dir(follow_symlinks=False) else os.remove)(entry.path)


def stat(path: PathLike) -> os.stat_result:
    """Return what `os.stat` does."""
    return os.stat(place_of(path).path)


def size(path: PathLike) -> int:
    """Return the bytes of a file, or of all files that `walk` finds in a directory; 0 where there is nothing.

    Raises OSError where the store does not answer.
    """
    place = place_of(path)
    found = _found(place)
    if found is None or not S_ISDIR(found.st_mode):
        return found.st_size if found else 0
    return sum(entry.stat().st_size for entry in _files_below(place.path))


def _files_below(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):  # nor into a loop
                yield from _files_below(entry.path)
            elif entry.is_file():  # no link that leads nowhere
                yield entry


@overload
def walk(
    top: bytes, topdown: bool = ..., onerror: OnError = ...
) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]: ...
@overload
def walk(
    top: str | os.PathLike[str], topdown: bool = ..., onerror: OnError = ...
) -> Iterator[tuple[str, list[str], list[str]]]: ...
def walk(top: PathLike, topdown: bool = True, onerror: OnError = None) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Yield each directory at and below `top`, URIs where that is one, and the names of directories and files in it.

    What is taken out of the list of directories is left out, as with `os.walk`.
    """
    place = place_of(top)
    # Of bytes for bytes: the lists have to be those of `os.walk` itself, for whoever changes them.
    for folder, directories, files in os.walk(_like(top, place.path), topdown=topdown, onerror=onerror):
        yield _like(top, place.named(text_of(folder))), directories, files


def _found(place: Place) -> os.stat_result | None:
    """Return what is at a place, `None` where there is nothing. Raises OSError where the store does not answer."""
    try:
        return os.stat(place.path)
    except ValueError:  # what no path can hold
        return None
    except OSError as error:
        # On the local disk, what one may not see is not there; a store that refuses its key has not said so.
        if is_unanswered(error) or (place.holder is not None and isinstance(error, PermissionError)):
            raise
        return None


def _is_same(found: os.stat_result, place: Place) -> bool:
    try:
        return os.path.samestat(found, os.stat(place.path))
    except FileNotFoundError:
        return False


def _like(path: PathLike, text: str) -> Any:
    """Return `text` as bytes where a path was given as bytes."""
    return os.fsencode(text) if isinstance(path, bytes) else text


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
