"""System calls of the local store: what is in a folder, as objects.

With `follow`, links are taken for what they lead to, and special files are no objects. Without, every name is an
object: a link's bytes are its target, a special file has none. Versions are made from inode number, size and
modification time: every way to replace a file changes one of them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat as stat_bits
from typing import TYPE_CHECKING

from mountd.errors import NotADirectory, NotFound, Unsupported, VersionChanged, from_os_error
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version
from mountd.objects.octets import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator


# Names of files that are being made; listings leave them out.
PARTIAL = ".mountd-partial-"

MAX_PATH = 4000  # bytes, with room for names that are put beside the target
CUT = 1000  # characters, of at most four bytes each


@contextlib.contextmanager
def domain_errors() -> Iterator[None]:
    """Turn OSErrors of the block into the classes of `mountd.errors`."""
    try:
        yield
    except NotADirectoryError as exc:  # `a/b` is asked for where `a` is a file: to an object store, that is not there
        raise NotFound(str(exc)) from exc
    except OSError as exc:
        raise from_os_error(exc) from exc


@contextlib.contextmanager
def reached(root: str, relative: str) -> Iterator[str]:
    """Yield a path for a name below `root` that system calls take, however long the name is.

    They take paths of up to 4095 bytes; what is longer is walked down in pieces.
    """
    path = f"{root}/{relative}"
    folders: list[int] = []
    try:
        while len(os.fsencode(path)) > MAX_PATH:
            cut = path.rindex("/", 0, CUT)
            descriptor = os.open(path[:cut], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            folders.append(descriptor)
            path = f"/proc/self/fd/{descriptor}{path[cut:]}"
        yield path
    finally:
        for descriptor in folders:
            os.close(descriptor)


def version_of(state: os.stat_result) -> Version:
    """Return the version that a file's state stands for."""
    return Version(f"{state.st_ino:x}-{state.st_size:x}-{state.st_mtime_ns:x}")


def info_at(path: str, key: Key, *, follow: bool) -> ObjectInfo:
    """Return what is at `path` as an object. Raises FileNotFoundError, NotADirectoryError, NotFound."""
    return info_of(key, os.stat(path, follow_symlinks=follow), special=not follow)


def info_of(key: Key, state: os.stat_result, *, special: bool = False) -> ObjectInfo:
    """Return a file, or a directory for a key with a slash at its end, as an object. Raises NotFound for others.

    `special`: links, pipes, sockets and devices are objects, too.
    """
    if key.endswith("/"):
        if not stat_bits.S_ISDIR(state.st_mode):
            raise NotFound(f"{key} is not a directory")
        # A directory's times change with its entries; as a marker it has one state.
        return ObjectInfo(key, 0, state.st_mtime_ns, Version(f"{state.st_ino:x}"))
    if not stat_bits.S_ISREG(state.st_mode) and (stat_bits.S_ISDIR(state.st_mode) or not special):
        raise NotFound(f"{key} is not a regular file")
    return ObjectInfo(key, state.st_size, state.st_mtime_ns, version_of(state))


def current(path: str, key: Key, *, follow: bool) -> ObjectInfo | None:
    """Return the object at `path`, `None` where there is none."""
    try:
        return info_at(path, key, follow=follow)
    except (FileNotFoundError, NotADirectoryError, NotFound):
        return None


def require(path: str, key: Key, expect: Version, *, follow: bool) -> None:
    """Raise VersionChanged where `path` does not hold `expect`."""
    found = current(path, key, follow=follow)
    if (found.version if found else ABSENT) != expect:
        raise VersionChanged(f"{key} is not in the version expected")


def is_folder(path: str, *, follow: bool) -> bool:
    """Tell whether there is a directory, or with `follow` a link to one."""
    return os.path.isdir(path) and (follow or not os.path.islink(path))


@contextlib.contextmanager
def only_us(folder: str) -> Iterator[None]:
    """Keep other daemons on this folder out for the block; programs that know nothing of mountd are not kept out."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def copy_range(source: str, target: int, *, start: int, length: int, offset: int, match: Version | None) -> None:
    """Copy bytes between files inside the kernel, by reference where the file system can.

    Raises NotFound; VersionChanged where the source is not in `match` before and after.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _require_open(descriptor, match)
        while length > 0:
            done = _copy_some(descriptor, target, length, start, offset)
            if done == 0:
                raise VersionChanged(f"{source} became shorter")
            start, offset, length = start + done, offset + done, length - done
        _require_open(descriptor, match)
    finally:
        os.close(descriptor)


def _copy_some(source: int, target: int, length: int, start: int, offset: int) -> int:
    try:
        return os.copy_file_range(source, target, length, start, offset)
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return os.pwrite(target, os.pread(source, min(length, 1 << 20), start), offset)


def _require_open(descriptor: int, match: Version | None) -> None:
    if match is not None and version_of(os.fstat(descriptor)) != match:
        raise VersionChanged("the file was changed by somebody else")


def read_range(
    path: str, key: Key, start: int, length: int, match: Version | None, *, follow: bool
) -> tuple[bytes, ObjectInfo]:
    """Return bytes and the version they belong to, the same before and after. Raises NotFound, VersionChanged."""
    if not follow and not stat_bits.S_ISREG((state := os.lstat(path)).st_mode):
        info = info_of(key, state, special=True)
        if match not in (None, info.version):
            raise VersionChanged(f"{key} was changed by somebody else")
        data = os.fsencode(os.readlink(path)) if stat_bits.S_ISLNK(state.st_mode) else b""
        return data[start : start + length], info
    # Without O_NONBLOCK, opening a fifo that somebody left in the folder would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        info = info_of(key, os.fstat(descriptor))
        _require_open(descriptor, match)
        pieces = []
        while length > 0 and (piece := os.pread(descriptor, length, start)):
            pieces.append(piece)
            start, length = start + len(piece), length - len(piece)
        _require_open(descriptor, info.version)
        return b"".join(pieces) if len(pieces) != 1 else pieces[0], info
    finally:
        os.close(descriptor)


def make_folder(path: str, key: Key, expect: Version | None) -> ObjectInfo:
    """Make a directory, and those above it. Raises VersionChanged where it is there and must not, or is a file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.mkdir(path)
        sync_folder(os.path.dirname(path))
    except FileExistsError as exc:
        if expect == ABSENT:
            raise VersionChanged(f"{key} exists") from exc
        if not os.path.isdir(path):
            raise NotADirectory(f"{key} is a file") from exc
    return info_of(key, os.stat(path))


def remove(path: str, key: Key, expect: Version | None, *, follow: bool) -> None:
    """Delete a file, or a directory that is empty: one with entries goes on existing without its marker."""
    if key.endswith("/"):
        try:
            os.rmdir(path)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                raise
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if is_folder(path, follow=follow):
            return  # a directory is no object of that key
        with only_us(os.path.dirname(path)):
            if expect is not None:
                require(path, key, expect, follow=follow)
            os.unlink(path)
            sync_folder(os.path.dirname(path))
        return
    if expect not in (None, ABSENT):
        raise VersionChanged(f"{key} is gone")


def sync_folder(path: str) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems (FUSE, NFS) refuse; they have no more to give
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def name_in(key: Key | str) -> str:
    """Return a key as a relative path, without a slash at its end."""
    return os.fsdecode(name_of(key.removesuffix("/")))


def unsupported_name(key: Key) -> bool:
    """Tell whether a key has no place in a folder: empty, `.` or `..` components, or a name that is ours."""
    parts = key.removesuffix("/").split("/") if key else []
    return any(part in ("", ".", "..") or part.startswith(PARTIAL) for part in parts)


def refuse(key: Key) -> Unsupported:
    """Return the error for such a key."""
    return Unsupported(f"a folder cannot hold the name {key!r}")
