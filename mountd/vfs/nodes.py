"""Nodes and what the file system knows of them: tables without locks and without I/O.

A file node stands for one version of one object. A directory node keeps its entries: which node a name led to, when
that was last vouched for by the store, and when this mount itself last changed it.
"""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NewType

import trio

from mountd.objects.interface import Key, ObjectInfo
from mountd.vfs.names import child_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.data.content import Content

Ino = NewType("Ino", int)
ROOT = Ino(1)
NEVER = float("-inf")


@dataclass(slots=True)
class Attributes:
    """What stat(2) shows besides size and links. Times in nanoseconds since the epoch."""

    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    def modified(self) -> None:
        """The bytes, or a directory's entries, have just changed."""
        self.mtime_ns = self.ctime_ns = time.time_ns()


@dataclass(slots=True, eq=False)
class Node:
    """What files and directories have in common.

    Attributes:
        parent, name: where the node is, or was before it was unlinked or replaced; the root has no parent.
        lookups: how many times the kernel has been told of the node and has not forgotten.
        unlinked: no name leads here any more and none will.
        altered: attributes were set that the store has no room for, so the node must not be forgotten.
    """

    ino: Ino
    attributes: Attributes
    parent: Directory | None
    name: bytes
    lookups: int = 0
    opens: int = 0
    unlinked: bool = False
    altered: bool = False
    lock: trio.Lock = field(default_factory=trio.Lock)


@dataclass(slots=True, eq=False)
class File(Node):
    """A file: `info` is the version it stands for, `None` while the store has no object for it."""

    info: ObjectInfo | None = None
    content: Content | None = None

    @property
    def size(self) -> int:
        """Length in bytes as programs on this mount see it."""
        if self.content is not None:
            return self.content.size
        return self.info.size if self.info else 0

    @property
    def dirty(self) -> bool:
        """Whether there is something that the store lacks."""
        return self.info is None or (self.content is not None and self.content.dirty)

    @property
    def key(self) -> Key:
        """The key the file has, or had before it was unlinked or replaced."""
        return child_key(self.parent.key, self.name) if self.parent else Key("")


@dataclass(slots=True)
class Entry:
    """A name in a directory. `node` is `None` where the store said that there is nothing.

    Attributes:
        checked: when, on the monotonic clock, the request began that last vouched for this.
        changed: when this mount last finished a change of it; answers to earlier requests do not count.
    """

    node: Node | None = None
    checked: float = NEVER
    changed: float = NEVER


@dataclass(slots=True)
class Listing:
    """What a listing of a directory said: facts by name, `None` for a directory. `at`: when the request began."""

    facts: dict[bytes, ObjectInfo | None]
    marker: bool
    at: float
    pages: int


@dataclass(slots=True, eq=False)
class Directory(Node):
    """A directory and its entries.

    Attributes:
        listing: the last complete listing.
        probes: requests for single names since the last complete listing.
        used: how many answers the present listing has given.
        moving: set while the directory is being renamed; whoever wants to work below it waits.
    """

    entries: dict[bytes, Entry] = field(default_factory=dict)
    listing: Listing | None = None
    probes: int = 0
    used: int = 0
    moving: trio.Event | None = None
    listing_lock: trio.Lock = field(default_factory=trio.Lock)

    @property
    def key(self) -> Key:
        """The common part of the keys below: empty for the root, else with a closing slash."""
        return Key(child_key(self.parent.key, self.name) + "/") if self.parent else Key("")

    @property
    def is_moving(self) -> bool:
        """Whether this directory or one above it is being renamed."""
        at: Directory | None = self
        while at is not None:
            if at.moving is not None:
                return True
            at = at.parent
        return False

    def entry(self, name: bytes) -> Entry:
        """Return the entry for a name, made when there is none."""
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries[name] = Entry()
        return entry

    def changed(self, name: bytes, node: Node | None, now: float) -> None:
        """This mount has just made `name` lead to `node`, or to nothing."""
        entry = self.entry(name)
        entry.node = node
        entry.checked = entry.changed = now
        self.attributes.modified()

    def nodes(self) -> Iterator[Node]:
        """Yield the nodes of all entries."""
        return (entry.node for entry in list(self.entries.values()) if entry.node is not None)

    def tree(self) -> Iterator[Node]:
        """Yield the known nodes below, parents first."""
        for node in self.nodes():
            yield node
            if isinstance(node, Directory):
                yield from node.tree()


class NodeTable:
    """All nodes that the kernel or a handle knows.

    Args:
        uid, gid: owner of what the store says nothing about.
        umask: permission bits that new and unknown nodes lack.
    """

    def __init__(self, *, uid: int, gid: int, umask: int) -> None:
        self._uid, self._gid, self._umask = uid, gid, umask
        self._last = ROOT
        now = time.time_ns()
        root = Directory(ROOT, self._attributes(stat.S_IFDIR | 0o777, now), None, b"")
        self._nodes: dict[Ino, Node] = {ROOT: root}
        self.root = root

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def get(self, ino: Ino) -> Node | None:
        """Return the node of that number."""
        return self._nodes.get(ino)

    def file(self, parent: Directory, name: bytes, info: ObjectInfo | None) -> File:
        """Make a node for a version of an object, or for a new file."""
        mtime = info.mtime_ns if info else time.time_ns()
        node = File(self._next(), self._attributes(stat.S_IFREG | 0o666, mtime), parent, name, info=info)
        self._nodes[node.ino] = node
        return node

    def directory(self, parent: Directory, name: bytes) -> Directory:
        """Make a node for a directory."""
        node = Directory(self._next(), self._attributes(stat.S_IFDIR | 0o777, time.time_ns()), parent, name)
        self._nodes[node.ino] = node
        return node

    def drop(self, node: Node) -> None:
        """Forget a node."""
        self._nodes.pop(node.ino, None)
        if node.parent is not None:
            entry = node.parent.entries.get(node.name)
            if entry is not None and entry.node is node:
                del node.parent.entries[node.name]

    def _next(self) -> Ino:
        self._last = Ino(self._last + 1)
        return self._last

    def _attributes(self, mode: int, at: int) -> Attributes:
        return Attributes(mode & ~self._umask, self._uid, self._gid, at, at, at)
