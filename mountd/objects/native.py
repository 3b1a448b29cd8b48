"""What a folder of this machine keeps by itself, where an object store would need objects beside the objects.

Modes, owners, times, links, special files and extended attributes are those of the folder's own files; and bytes can be
read where they are, and files that were made on the same disk become the store's own, so that nothing lies here twice.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import secrets
import stat
import tempfile
from typing import TYPE_CHECKING, Any

import trio

from mountd.errors import MountdError, VersionChanged
from mountd.objects import folder
from mountd.objects.folder import domain_errors
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version
from mountd.objects.octets import name_of, text_of
from mountd.objects.partial import Partial, beside, make_special, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.objects.local import LocalStore

# What is known of one file: the fields of a sidecar's records (docs/attributes.md), all of them, and `nlink`.
Record = dict[str, Any]

_KINDS = {
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}
_NUMBERS = {name: number for number, name in _KINDS.items()}
_NO_XATTRS = (errno.ENOTSUP, errno.EPERM, errno.ENOENT, errno.ELOOP)


class NativeFolder:
    """The files of a local store, as their file system knows them."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.owners = os.geteuid() == 0
        """Whether files can be given to others."""

    def record(self, key: Key) -> Record:
        """Return what the file system knows of a name, nothing where there is no such name. A few system calls."""
        try:
            with domain_errors(), self._store.reached(key) as path:
                return _record(path)
        except MountdError:
            return {}

    async def records(self, keys: Sequence[Key]) -> list[Record]:
        """Like `record`, for many names, in a thread."""
        return await trio.to_thread.run_sync(lambda: [self.record(key) for key in keys])

    async def apply(self, key: Key, record: Record, version: Version | None) -> ObjectInfo | None:
        """Give a file or directory the attributes of a record, and return what it is then.

        `version`: of a file, the only one that they are meant for; where another one is there, nothing happens. Raises
        Denied, NoSpace and others of the local disk.
        """

        def apply(path: str) -> ObjectInfo | None:
            with folder.only_us(os.path.dirname(path)):
                found = folder.current(path, key, follow=False)
                if found is None or (version is not None and found.version != version):
                    return None
                _apply(path, record)
                return folder.info_at(path, key, follow=False)

        return await self._store.at(key, apply)

    async def make(self, key: Key, *, mode: int, rdev: int, target: bytes | None) -> ObjectInfo:
        """Make a symbolic link, a pipe, a socket, a device or an empty file. Raises VersionChanged where it exists."""

        mode = stat.S_IFMT(mode) | 0o600
        return await self._store.at(
            key,
            lambda path: make_special(
                path, key, mode=mode, rdev=rdev, target=target, expect=ABSENT, tree=self._store.root
            ),
        )

    async def link(self, source: ObjectInfo, key: Key) -> ObjectInfo:
        """Give a file one more name. Raises VersionChanged where it exists, or the source is in another version."""

        def link(path: str) -> ObjectInfo:
            with self._store.reached(source.key) as origin:
                folder.require(origin, source.key, source.version, follow=False)
                made = beside(path)
                os.link(origin, made, follow_symlinks=False)
                return settle(made, path, key, ABSENT, tree=self._store.root)

        return await self._store.at(key, link)

    async def open(self, info: ObjectInfo) -> int:
        """Return a descriptor to read a version from. Raises NotFound; VersionChanged where it is in another."""

        def open_(path: str) -> int:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            if self.holds(descriptor, info.version):
                return descriptor
            os.close(descriptor)
            raise VersionChanged(f"{info.key} was changed by somebody else")

        return await self._store.at(info.key, open_)

    def holds(self, descriptor: int, version: Version) -> bool:
        """Tell whether an open file is in a version: programs that know nothing of mountd may write in place."""
        return folder.version_of(os.fstat(descriptor)) == version

    async def adopt(self, descriptor: int, key: Key, *, expect: Version | None) -> ObjectInfo | None:
        """Let an open file of this machine be the object, `None` where it is on another disk.

        Nobody may write into it any more. Raises VersionChanged where the key does not hold `expect`.
        """

        def adopt(path: str) -> ObjectInfo | None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.stat(os.path.dirname(path)).st_dev != os.fstat(descriptor).st_dev:
                return None
            with contextlib.closing(Partial(path, key, tree=self._store.root, descriptor=descriptor)) as partial:
                return partial.publish(path, expect)

        return await self._store.at(key, adopt)


def _record(path: str) -> Record:
    state = os.lstat(path)
    record: Record = {
        "mode": stat.S_IMODE(state.st_mode),
        "uid": state.st_uid,
        "gid": state.st_gid,
        "atime": state.st_atime_ns,
        "mtime": state.st_mtime_ns,
        "ctime": state.st_ctime_ns,
    }
    if stat.S_ISDIR(state.st_mode):
        return record | _xattrs(path)
    record |= {"version": folder.version_of(state), "nlink": state.st_nlink}
    if state.st_nlink > 1:
        record["links"] = {"id": f"{state.st_dev:x}-{state.st_ino:x}", "names": []}
    if stat.S_ISREG(state.st_mode):
        return record | _xattrs(path)
    record["kind"] = _KINDS[stat.S_IFMT(state.st_mode)]
    if stat.S_ISLNK(state.st_mode):
        record["target"] = text_of(os.fsencode(os.readlink(path)))
    elif state.st_rdev:
        record["rdev"] = state.st_rdev
    return record


def _xattrs(path: str) -> Record:
    """Return the extended attributes of a file or directory that belong to users."""
    try:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]
        found = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError as exc:
        if exc.errno not in (*_NO_XATTRS, errno.ENODATA):
            raise
        return {}
    encoded = {text_of(os.fsencode(name)): base64.b64encode(value).decode() for name, value in found.items()}
    return {"xattrs": encoded} if encoded else {}


def _apply(path: str, record: Record) -> None:
    """Change what differs. Owner before mode, which a change of owner takes bits from; times last."""
    state = os.lstat(path)
    uid, gid = record.get("uid", state.st_uid), record.get("gid", state.st_gid)
    if (uid, gid) != (state.st_uid, state.st_gid):
        os.chown(path, uid, gid, follow_symlinks=False)
    if not stat.S_ISLNK(state.st_mode):
        mode = record.get("mode", stat.S_IMODE(state.st_mode))
        if mode != stat.S_IMODE(os.lstat(path).st_mode):
            os.chmod(path, mode)
    if stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode):
        _apply_xattrs(path, record.get("xattrs", {}))
    mtime: int = record.get("mtime", state.st_mtime_ns)
    atime: int = record.get("atime", mtime)
    if (atime, mtime) != (state.st_atime_ns, state.st_mtime_ns):
        os.utime(path, ns=(atime, mtime), follow_symlinks=False)


def _apply_xattrs(path: str, wanted: dict[str, str]) -> None:
    present = _xattrs(path).get("xattrs", {})
    for name in present.keys() - wanted.keys():
        os.removexattr(path, name_of(name))
    for name, value in wanted.items():
        if present.get(name) != value:
            os.setxattr(path, name_of(name), base64.b64decode(value))


def keeps_attributes(root: str) -> bool:
    """Find out whether the file system of a folder keeps modes, links and extended attributes, by a file of ours.

    Raises OSError where nothing can be made there.
    """
    with tempfile.TemporaryDirectory(prefix=folder.PARTIAL, dir=root) as place:
        path, link = os.path.join(place, "file"), os.path.join(place, "link")
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600))
        mark = secrets.token_bytes(8)
        try:
            os.chmod(path, 0o751)
            os.setxattr(path, "user.mountd.probe", mark)
            os.symlink("file", link)
            os.link(path, path + "2")
        except OSError:
            return False
        return stat.S_IMODE(os.lstat(path).st_mode) == 0o751 and os.getxattr(path, "user.mountd.probe") == mark
