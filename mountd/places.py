"""What a program may give as a path - a store's URI, a path under a mount, a local path - as one that the OS takes."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, NamedTuple

from mountd import locate, mounts
from mountd.errors import NotMounted, OutOfBounds, UserError

if TYPE_CHECKING:
    from mountd.daemon.records import MountRecord

PathLike = str | bytes | os.PathLike[str]


class Place(NamedTuple):
    """Something in a store or on the local disk.

    Attributes:
        path: where the OS finds it.
        holder: the mount that a URI was found under; `None` for what was given as a path.
    """

    path: str
    holder: MountRecord | None

    def named(self, path: str) -> str:
        """Return what a path at or below this place is called by whoever named the place: a URI, or the path."""
        if self.holder is None:
            return path
        root, inside = self.holder.root, path[len(str(self.holder.mount_point)) :].strip("/")
        return f"{root.rstrip('/')}/{inside}" if inside else root

    @property
    def pattern(self) -> str:
        """The path as a pattern for `glob`, in which the mount point stands for itself."""
        if self.holder is None:
            return self.path
        point = str(self.holder.mount_point)
        return glob.escape(point) + self.path[len(point) :]


def text_of(path: PathLike) -> str:
    """Return a path or URI as text."""
    return os.fsdecode(path)


def place_of(path: PathLike) -> Place:
    """Return where something is.

    Raises NotMounted for a URI that no mounted store holds, OutOfBounds for one that is malformed or has `..` in it,
    and for a path that leads out of the mount it begins in.
    """
    text = text_of(path)
    try:
        return _mounted(text) if "://" in text else Place(_inside(text), None)
    except NotMounted:
        raise
    except UserError as error:
        raise OutOfBounds(str(error), error.exit_code) from error


def _mounted(uri: str) -> Place:
    try:
        holder = mounts.holder_of(uri, mounts.running_mounts())
        if not _is_mounted(str(holder.mount_point)):  # else files would land on the disk below
            raise NotMounted(f"{holder.root} is not at {holder.mount_point} any more; run: mountd mount {holder.store}")
        return Place(str(locate.to_path(holder.root, holder.mount_point, uri)), holder)
    except UserError:
        local = uri.removeprefix("file://")
        if local == uri or not local.startswith("/"):
            raise
        return Place(_inside(local), None)  # in no mounted store, and a local path all the same


def _is_mounted(point: str) -> bool:
    """Tell what `os.path.ismount` does of a folder, which resolves every component above it for that."""
    try:
        return os.lstat(point).st_dev != os.stat(os.path.dirname(point)).st_dev
    except OSError:
        return False


def _inside(path: str) -> str:
    if ".." not in path.split("/"):
        return path
    plain = os.path.abspath(path)
    for mount in mounts.running_mounts():
        begin = f"{mount.mount_point}/"
        if os.path.join(os.getcwd(), path).startswith(begin) and not f"{plain}/".startswith(begin):
            raise UserError(f"{path} leads out of the store at {mount.mount_point}")
    return path
