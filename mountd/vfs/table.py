"""The nodes of one mount by number, and the numbers of the names that the kernel knows without a node."""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mountd.vfs.nodes import ROOT, Attributes, Directory, File, Ino, Node
from mountd.vfs.numbers import Numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.objects.interface import ObjectInfo


@dataclass(frozen=True, slots=True)
class Defaults:
    """Attributes of what nobody has said anything about: owner, and the permission bits to take away."""

    uid: int
    gid: int
    umask: int

    def permissions(self, mode: int) -> int:
        """Return the permission bits of a node of this type."""
        if stat.S_ISLNK(mode):
            return 0o777
        return (0o777 if stat.S_ISDIR(mode) else 0o666) & ~self.umask


class NodeTable:
    """All nodes that the kernel or a handle knows, and the numbers of the names that it knows without a node."""

    def __init__(self, defaults: Defaults) -> None:
        self.defaults = defaults
        self._modes = {kind: kind | defaults.permissions(kind) for kind in (stat.S_IFREG, stat.S_IFDIR)}
        self.numbers = Numbers()
        self._started = time.time_ns()
        root = Directory(ROOT, self._attributes(stat.S_IFDIR, self._started), None, b"")
        self._nodes: dict[Ino, Node] = {ROOT: root}
        self.root = root

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def get(self, ino: Ino) -> Node | None:
        """Return the node of that number."""
        return self._nodes.get(ino)

    def make_file(self, ino: Ino, parent: Directory, name: bytes, info: ObjectInfo | None) -> File:
        """Return a file that is not in the table."""
        mtime = info.mtime_ns if info else time.time_ns()
        return File(ino, self._attributes(stat.S_IFREG, mtime), parent, name, info=info)

    def make_directory(self, ino: Ino, parent: Directory, name: bytes) -> Directory:
        """Return a directory that is not in the table.

        The store tells no times of directories: they are as old as the mount.
        """
        return Directory(ino, self._attributes(stat.S_IFDIR, self._started), parent, name)

    def file(self, parent: Directory, name: bytes, info: ObjectInfo | None, ino: int = 0) -> File:
        """Make a node for a version of an object, or for a new file; `ino`: the number by which it is known already."""
        node = self.make_file(Ino(ino or self.numbers.single()), parent, name, info)
        self._nodes[node.ino] = node
        return node

    def directory(self, parent: Directory, name: bytes, ino: int = 0) -> Directory:
        """Make a node for a directory."""
        node = self.make_directory(Ino(ino or self.numbers.single()), parent, name)
        self._nodes[node.ino] = node
        return node

    def renumber(self, node: File) -> None:
        """Have the kernel meet a file that nobody has open as another one, at the next use of its name.

        It goes by what it believes of a file's length, whatever it is told later.
        """
        if node.unlinked or node.parent is None:
            return
        before = self.file(node.parent, node.name, node.info, node.ino)
        before.lookups, before.unlinked, before.displaced = node.lookups, True, True
        node.ino, node.lookups = Ino(self.numbers.single()), 0
        self._nodes[node.ino] = node

    def told(self, node: Node) -> None:
        """The kernel has just been told of a node, or of a name that was made one only to be looked at."""
        if node.listed_at is None:
            node.lookups += 1
        else:
            self.numbers.told(node.ino)

    def drop(self, node: Node) -> None:
        """Forget a node."""
        self._nodes.pop(node.ino, None)
        if isinstance(node, Directory):
            self.numbers.leave(node)
        places = node.places() if isinstance(node, File) else [(node.parent, node.name)]
        for directory, name in places:
            entry = directory.entries.get(name) if directory is not None else None
            if directory is not None and entry is not None and entry.node is node:
                directory.keep_fact(name, entry)
                del directory.entries[name]

    def _attributes(self, kind: int, at: int) -> Attributes:
        return Attributes(self._modes[kind], self.defaults.uid, self.defaults.gid, at, at, at)
