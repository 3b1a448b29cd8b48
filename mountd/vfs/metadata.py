"""What is said of a node besides its bytes, read and changed: permission bits, owner, times, extended attributes."""

from __future__ import annotations

import stat as stat_bits
from typing import TYPE_CHECKING

from mountd.errors import NeverOffered, NoAttribute, NotPermitted, Unsupported
from mountd.vfs import virtual
from mountd.vfs.links import find_names
from mountd.vfs.nodes import File, Node

if TYPE_CHECKING:
    from mountd.vfs.namespace import Namespace
    from mountd.writeback.deferral import Deferral


class Metadata:
    """The attributes of the nodes of one mount, as programs see them.

    Args:
        xattrs: whether extended attributes are offered.
        root: names the store in `user.mountd.uri`.
        in_place: what the store has is here, because the store is a folder of this machine.
    """

    def __init__(
        self, namespace: Namespace, deferral: Deferral | None, *, xattrs: bool, root: str, in_place: bool
    ) -> None:
        self._namespace = namespace
        self._keeper = namespace.keeper
        self._attributes = namespace.keeper.attributes
        self._deferral = deferral
        self._xattrs = xattrs and self._attributes.enabled
        self._root = root
        self._in_place = in_place

    async def set(
        self,
        node: Node,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        """Set permission bits, owner and times (nanoseconds since the epoch); `None` leaves one as it is.

        A new mtime without an atime, of a file that is being written, is the kernel telling when it was written. Raises
        Unsupported where attributes are switched off.
        """
        await find_names(node, self._namespace)
        known = node.attributes
        written = mtime_ns is not None and atime_ns is None and isinstance(node, File) and node.dirty
        if mode is not None and stat_bits.S_IMODE(mode) != stat_bits.S_IMODE(known.mode):
            self._attributes.require()
            known.mode = stat_bits.S_IFMT(known.mode) | stat_bits.S_IMODE(mode)
        for name, value in (("uid", uid), ("gid", gid)):
            if value is not None and value != getattr(known, name):
                self._attributes.require()
                setattr(known, name, value)
        if atime_ns is not None or mtime_ns is not None:
            known.atime_ns = known.atime_ns if atime_ns is None else atime_ns
            known.mtime_ns = known.mtime_ns if mtime_ns is None else mtime_ns
            known.times_set = known.times_set if written else self._attributes.enabled
        known.changed()
        if written or node.unlinked:
            return
        await self._keep(node)

    async def _keep(self, node: Node) -> None:
        if not (isinstance(node, File) and node.info is None):  # of a new file, the sidecar tells once the store has it
            self._keeper.note(node)
        await self._attributes.journaled()

    def require_kept(self, name: bytes) -> None:
        """Raise NoAttribute for what no file has: `ls -l` and the kernel ask for such names all the time.

        With extended attributes switched off, the kernel is told not to ask again (NeverOffered).
        """
        self._require_offered()
        if not name.startswith(b"user."):
            raise NoAttribute(f"no file has an attribute {name!r}")

    def _require_offered(self) -> None:
        if not self._xattrs:
            raise NeverOffered("extended attributes are switched off for this mount (--xattrs on)")

    def list_xattrs(self, node: Node) -> list[bytes]:
        """Return the names of a node's extended attributes. Raises NeverOffered."""
        self._require_offered()
        return list(node.attributes.xattrs)

    async def get_xattr(self, node: Node, name: bytes) -> bytes:
        """Return an extended attribute, or one that tells about the mount. Raises NoAttribute, NeverOffered.

        The kernel asks for `security.capability` at every write(2), which costs a round trip each.
        """
        self.require_kept(name)
        if name.startswith(virtual.PREFIX):
            return self._virtual(node, name)
        try:
            return node.attributes.xattrs[name]
        except KeyError:
            raise NoAttribute(f"{node.name!r} has no attribute {name!r}") from None

    def virtual(self, node: Node, name: bytes) -> str:
        """Return an attribute that tells about the mount, whether programs can ask for it or not."""
        return self._virtual(node, name).decode()

    def _virtual(self, node: Node, name: bytes) -> bytes:
        return virtual.value(node, name, root=self._root, in_place=self._in_place, deferral=self._deferral)

    async def set_xattr(self, node: Node, name: bytes, value: bytes | None) -> None:
        """Set an extended attribute, or remove it with `None`.

        Raises NoAttribute, NotPermitted, Unsupported, NeverOffered.
        """
        self._attributes.require()
        self._require_offered()
        if not name.startswith(b"user."):
            raise Unsupported("only attributes of the namespace user are kept")
        if name.startswith(virtual.PREFIX):
            raise NotPermitted(f"{name!r} tells about the mount and cannot be changed")
        if value is None and name not in node.attributes.xattrs:
            raise NoAttribute(f"{node.name!r} has no attribute {name!r}")
        await find_names(node, self._namespace)
        kept = {n: v for n, v in node.attributes.xattrs.items() if n != name}
        node.attributes.xattrs = kept if value is None else kept | {name: value}
        node.attributes.changed()
        await self._keep(node)
