"""Files of a folder that appear whole under their name, or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat as stat_bits
from typing import TYPE_CHECKING

from mountd.errors import IsADirectory, VersionChanged
from mountd.objects import links
from mountd.objects.folder import PARTIAL, info_at, info_of, is_folder, only_us, require, sync_folder
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version

if TYPE_CHECKING:
    from mountd.objects.interface import Buffer

# Of <fcntl.h> and <linux/fs.h>.
_AT_FDCWD, _NOREPLACE = -100, 1

_libc = ctypes.CDLL(None, use_errno=True)


class Partial:
    """A file in the making, in the folder where it will be; it has no name until `publish`.

    Args:
        target: its path to be.
        tree: the folder whose files keep all their names when one that has several is replaced; `None` where links are
            not kept.
        descriptor: a file that is there already, with or without a name elsewhere; it stays open.
    """

    def __init__(self, target: str, key: Key, *, tree: str | None = None, descriptor: int | None = None) -> None:
        self.key = key
        self._tree = tree
        self._name: str | None = None
        self._ours = descriptor is None
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        if descriptor is not None:
            self.descriptor = descriptor
            return
        # Where modes are kept, they are set on the finished file; nobody may read more of it before.
        mode = 0o666 if tree is None else 0o600
        try:
            self.descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
        except OSError as exc:
            if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
                raise
            self._name = beside(target)
            self.descriptor = os.open(self._name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)

    def write(self, offset: int, data: Buffer) -> None:
        """Put bytes at `offset`, all of them."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self.descriptor, view, offset)
            view, offset = view[done:], offset + done

    def publish(self, target: str, expect: Version | None) -> ObjectInfo:
        """Let the file appear under its name, durably. Raises VersionChanged, and then nothing has changed."""
        os.fsync(self.descriptor)
        if self._name is None and expect == ABSENT:
            self._create(target)
        else:
            if self._name is None:
                name = beside(target)
                self._link(name)
                self._name = name  # until it is renamed, it has to be removed
            put_in_place(self._name, target, self.key, expect, tree=self._tree)
            self._name = None
        return info_of(self.key, os.fstat(self.descriptor))

    def close(self) -> None:
        """Close the file; unpublished, it is gone."""
        if self._ours:
            os.close(self.descriptor)
        if self._name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name)

    def _create(self, target: str) -> None:
        try:
            self._link(target)
        except FileExistsError as exc:
            if is_folder(target, follow=self._tree is None):
                raise IsADirectory(f"{self.key} is a directory") from exc
            raise VersionChanged(f"{self.key} exists") from exc
        sync_folder(os.path.dirname(target))

    def _link(self, path: str) -> None:
        # Naming a folder, though the path is absolute, makes Python call linkat(), which alone follows the link in
        # /proc.
        os.link(f"/proc/self/fd/{self.descriptor}", path, src_dir_fd=self.descriptor, follow_symlinks=True)


def beside(target: str) -> str:
    """Return a name in the same folder that listings leave out."""
    return os.path.join(os.path.dirname(target), PARTIAL + secrets.token_hex(8))


def make_special(
    path: str, key: Key, *, mode: int, rdev: int, target: bytes | None, expect: Version | None, tree: str
) -> ObjectInfo:
    """Make a symbolic link to `target`, or what `mode` says: a pipe, a socket, a device or an empty file.

    Raises VersionChanged where the key does not hold `expect`.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    made = beside(path)
    if target is not None:
        os.symlink(target, os.fsencode(made))
    else:
        os.mknod(made, mode, rdev)
    return settle(made, path, key, expect, tree=tree)


def settle(made: str, path: str, key: Key, expect: Version | None, *, tree: str) -> ObjectInfo:
    """Put in place what was made, and return it as an object; what cannot be put there is removed again."""
    try:
        put_in_place(made, path, key, expect, tree=tree)
    except BaseException:
        os.unlink(made)
        raise
    return info_at(path, key, follow=False)


def put_in_place(made: str, target: str, key: Key, expect: Version | None, *, tree: str | None) -> None:
    """Give what is at `made`, in the same folder, its name `target`, durably.

    Raises VersionChanged where the name does not hold `expect`, IsADirectory; then nothing has changed.
    """
    follow = tree is None
    if is_folder(target, follow=follow):
        raise IsADirectory(f"{key} is a directory")
    folder = os.path.dirname(target)
    if expect == ABSENT:
        try:
            move(made, target, exclusive=True)
        except FileExistsError as exc:
            raise VersionChanged(f"{key} exists") from exc
    else:
        with only_us(folder):
            if expect is not None:
                require(target, key, expect, follow=follow)
            if tree is None:
                _keep_mode(target, made)
                move(made, target)
            else:
                with links.kept(tree, target, beside):
                    move(made, target)
    sync_folder(folder)


def _keep_mode(target: str, made: str) -> None:
    """Give the new file the permissions of the one that it replaces."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(made, stat_bits.S_IMODE(os.stat(target).st_mode))


def move(source: str, target: str, *, exclusive: bool = False) -> None:
    """Rename, `exclusive` without replacing anything. Raises OSError; FileExistsError where `exclusive` meets a name.

    Source: renameat2(2), which file systems without such a flag (NFS) refuse; link and unlink do the same there.
    """
    if not exclusive:
        return os.rename(source, target)
    if _libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _NOREPLACE) == 0:
        return None
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP) or os.path.isdir(source):
        raise OSError(number, os.strerror(number), target)
    os.link(source, target, follow_symlinks=False)
    return os.unlink(source)
