"""What one needs around files, by URI, by path under a mount, or anywhere on this machine.

The functions are those of `zenml.utils.io_utils`, with the same signatures and meaning; see `mountd.fileio`.
"""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mountd import fileio, locate
from mountd.places import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.places import PathLike

__all__ = [
    "copy_dir",
    "create_dir_if_not_exists",
    "create_dir_recursive_if_not_exists",
    "create_file_if_not_exists",
    "find_files",
    "get_grandparent",
    "get_parent",
    "is_path_within_directory",
    "is_remote",
    "is_root",
    "move",
    "read_file_contents_as_string",
    "resolve_relative_path",
    "write_file_contents_as_string",
]

_REMOTE = re.compile(r"(?!file://)[A-Za-z][A-Za-z0-9+.-]*://")


def is_remote(path: str) -> bool:
    """Tell whether a path is a URI of a store that is not a folder of this machine."""
    return _REMOTE.match(path) is not None


def is_root(path: str) -> bool:
    """Tell whether nothing is above a path: `/`, or a bucket."""
    if "://" in path:
        return len(locate.Root.parse(path).components) <= (1 if is_remote(path) else 0)
    return PurePosixPath(path).parent == PurePosixPath(path)


def write_file_contents_as_string(file_path: str, content: str) -> None:
    """Write a text file. Raises ValueError where `content` is no text."""
    if not isinstance(content, str):
        raise ValueError(f"Content must be of type str, got {type(content)}")
    with fileio.open(file_path, "w") as file:
        file.write(content)


def read_file_contents_as_string(file_path: str) -> str:
    """Return the contents of a text file. Raises FileNotFoundError."""
    with fileio.open(file_path) as file:
        return str(file.read())


def find_files(dir_path: PathLike, pattern: str) -> Iterator[str]:
    """Yield the paths of all files at and below a directory whose name matches a pattern such as `*.png`."""
    for folder, _, files in fileio.walk(text_of(dir_path)):
        for name in files:
            if fnmatch.fnmatch(name, pattern):
                yield os.path.join(folder, name)


def copy_dir(source_dir: str, destination_dir: str, overwrite: bool = False) -> None:
    """Copy a directory with everything in it, also between stores; a copy inside itself has no copy of itself.

    Raises FileExistsError at the first file that is there already, unless `overwrite` is given.
    """
    for name in fileio.listdir(source_dir):
        source, target = os.path.join(source_dir, name), os.path.join(destination_dir, name)
        if not fileio.isdir(source):
            create_dir_recursive_if_not_exists(destination_dir)
            fileio.copy(source, target, overwrite)
        elif not is_path_within_directory(destination_dir, source):
            copy_dir(source, target, overwrite)


def move(source: str, destination: str, overwrite: bool = False) -> None:
    """Rename a file or directory; see `fileio.rename`."""
    fileio.rename(source, destination, overwrite)


def create_file_if_not_exists(file_path: str, file_contents: str = "{}") -> None:
    """Write a text file, and the directories above it, unless it is there."""
    if fileio.exists(file_path):
        return
    create_dir_recursive_if_not_exists(os.path.dirname(file_path) or ".")
    try:
        file = fileio.open(file_path, "x")
    except FileExistsError:  # somebody was faster
        return
    with file:
        file.write(file_contents)


def create_dir_if_not_exists(dir_path: str) -> None:
    """Make a directory, in one that is there, unless it is there."""
    if not fileio.isdir(dir_path):
        fileio.mkdir(dir_path)


def create_dir_recursive_if_not_exists(dir_path: str) -> None:
    """Make a directory and those above it, unless it is there."""
    if not fileio.isdir(dir_path):
        fileio.makedirs(dir_path)


def get_parent(dir_path: str) -> str:
    """Return the name of the directory above, without a suffix. Raises ValueError where `dir_path` does not exist."""
    return _existing(dir_path).parent.stem


def get_grandparent(dir_path: str) -> str:
    """Return the name of the directory two above, without a suffix. Raises ValueError as `get_parent` does."""
    return _existing(dir_path).parent.parent.stem


def _existing(dir_path: str) -> PurePosixPath:
    if not fileio.exists(dir_path):
        raise ValueError(f"Path '{dir_path}' does not exist.")
    return PurePosixPath(dir_path)


def resolve_relative_path(path: str) -> str:
    """Return a local path without links and relative parts; a URI as it is."""
    return path if is_remote(path) else os.path.realpath(path)


def is_path_within_directory(path: str, directory: str) -> bool:
    """Tell whether a path, relative to the directory where it is relative, is that directory or in it, by component."""
    if "://" not in directory and "://" not in path:
        inside, outer = os.path.abspath(os.path.join(directory, path)), os.path.abspath(directory)
        return os.path.commonpath([inside, outer]) == outer
    joined = path if "://" in path or path.startswith("/") else f"{directory.rstrip('/')}/{path}"
    here, there = _components(joined), _components(directory)
    return here is not None and there is not None and here[: len(there)] == there


def _components(uri: str) -> tuple[str, ...] | None:
    """Return scheme, bucket and further components with `..` carried out; `None` where those lead out of the bucket."""
    scheme, _, rest = uri.rpartition("://")
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    fixed = parts[:1] if is_remote(uri) else []  # the bucket: nothing is above it
    found: list[str] = []
    for part in parts[len(fixed) :]:
        if part != "..":
            found.append(part)
        elif found:
            found.pop()
        else:
            return None
    place = locate.Root.parse(f"{scheme or 'file'}://{'' if fixed else '/'}{''.join(fixed)}")
    return (place.scheme, *place.components, *found)
