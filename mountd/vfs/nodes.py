"""Nodes and what the file system knows of them: tables without locks and without I/O.

A file node stands for one version of one object, or of several with equal bytes where it has several names. A directory
node keeps its entries: which node a name led to, when that was last vouched for by the store, and when this mount
itself last changed it.
"""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NewType

import trio

from mountd.objects.interface import Key, ObjectInfo
from mountd.vfs.catalog import NEVER, Catalog, raw_of
from mountd.vfs.names import child_key, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.data.content import Content
    from mountd.vfs.attributes import Sidecar
    from mountd.vfs.listing import Listing
    from mountd.vfs.numbers import Block

Ino = NewType("Ino", int)
ROOT = Ino(1)


@dataclass(slots=True)
class Attributes:
    """What stat(2) shows besides size and links. Times in nanoseconds since the epoch.

    Attributes:
        target: of a symbolic link. rdev: of a device.
        xattrs: extended attributes by name.
        nlink: how many names a file has where that is known though the names are not.
        times_set: whether a program has chosen atime and mtime, so that they must be kept.
        record: what the sidecar says of the node, as far as it is known here.
    """

    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    rdev: int = 0
    target: bytes | None = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    nlink: int = 1
    times_set: bool = False
    record: dict[str, Any] = field(default_factory=dict)

    def modified(self) -> None:
        """The bytes, or a directory's entries, have just changed."""
        self.mtime_ns = self.ctime_ns = time.time_ns()
        self.times_set = False

    def changed(self) -> None:
        """The attributes, or the names, have just changed."""
        self.ctime_ns = time.time_ns()


@dataclass(slots=True, eq=False)
class Node:
    """What files and directories have in common.

    Attributes:
        parent, name: where the node is, or was before it was unlinked or replaced; the root has no parent.
        lookups: how many times the kernel has been told of the node and has not forgotten.
        unlinked: no name leads here any more and none will.
        displaced: so it is, though no call of a program has made it so: the kernel may know a name that led here.
        listed_at: when the listing began that the node was made from only to be looked at; `None` for one that is kept.
    """

    ino: Ino
    attributes: Attributes
    parent: Directory | None
    name: bytes
    lookups: int = 0
    opens: int = 0
    unlinked: bool = False
    displaced: bool = False
    listed_at: float | None = None
    _lock: trio.Lock | None = None

    @property
    def lock(self) -> trio.Lock:
        """Held by what changes the node in several steps; made at need, as most nodes are only looked at."""
        if self._lock is None:
            self._lock = trio.Lock()
        return self._lock


@dataclass(slots=True, eq=False)
class OtherName:
    """A further name of a file. `directory` is `None` while only its `hint`, the key, is known."""

    directory: Directory | None
    name: bytes
    hint: Key
    info: ObjectInfo | None

    @property
    def key(self) -> Key:
        """The key under that name."""
        return child_key(self.directory.key, self.name) if self.directory is not None else self.hint


@dataclass(slots=True, eq=False, weakref_slot=True)
class File(Node):
    """A file: `info` is the version it stands for, `None` while the store has no object for it.

    Attributes:
        link_id: what joins the names of a file that has, or had, several.
        others: its names besides `parent` and `name`.
    """

    info: ObjectInfo | None = None
    content: Content | None = None
    link_id: str = ""
    others: list[OtherName] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Length in bytes as programs on this mount see it."""
        if self.attributes.target is not None:
            return len(self.attributes.target)
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

    @property
    def regular(self) -> bool:
        """Whether it is a plain file: no symbolic link, device, pipe or socket."""
        return stat.S_ISREG(self.attributes.mode)

    def info_at(self, directory: Directory, name: bytes) -> ObjectInfo | None:
        """Return the object under one of the names."""
        if directory is self.parent and name == self.name:
            return self.info
        return next((o.info for o in self.others if o.directory is directory and o.name == name), None)

    def is_named(self, directory: Directory, name: bytes) -> bool:
        """Tell whether this is one of the names."""
        if directory is self.parent and name == self.name:
            return True
        return any(o.directory is directory and o.name == name for o in self.others)

    def add_name(self, directory: Directory, name: bytes, info: ObjectInfo | None) -> None:
        """Note that a name leads here, and which object is under it."""
        if directory is self.parent and name == self.name:
            self.info = info
            return
        key = child_key(directory.key, name)
        self.others = [o for o in self.others if o.key != key]
        self.others.append(OtherName(directory, name, key, info))

    def remove_name(self, directory: Directory, name: bytes) -> None:
        """Note that a name leads here no longer; another one takes its place as the first, if there is any."""
        if directory is not self.parent or name != self.name:
            self.others = [o for o in self.others if o.directory is not directory or o.name != name]
            return
        for other in self.others:
            if other.directory is not None and other.info is not None:
                self.others.remove(other)
                self.parent, self.name, self.info = other.directory, other.name, other.info
                if self.content is not None and self.content.base is not None:
                    self.content.base = other.info
                return
        self.others.clear()
        self.unlinked = True

    def places(self) -> list[tuple[Directory, bytes]]:
        """Return the names, as far as their directories are known."""
        found = [(o.directory, o.name) for o in self.others if o.directory is not None]
        return [(self.parent, self.name), *found] if self.parent is not None else found


@dataclass(slots=True)
class Entry:
    """A name in a directory. `node` is `None` where the store said that there is nothing.

    Attributes:
        checked: when, on the monotonic clock, the listing or single request began that last vouched for this.
        heard: when the request for the very page of that listing began.
        changed: when this mount last finished a change of it; answers to earlier requests do not count.
    """

    node: Node | None = None
    checked: float = NEVER
    changed: float = NEVER
    heard: float = NEVER

    @property
    def vouched(self) -> float:
        """When the request began, or the change of ours was done, since which this is known."""
        return max(self.checked, self.heard)

    def doubt(self) -> None:
        """Nothing vouches for this any more."""
        self.checked = self.heard = NEVER


@dataclass(slots=True, eq=False, weakref_slot=True)
class Directory(Node):
    """A directory and its entries.

    Attributes:
        entries: names that have, or had, a node; they go before the catalog.
        catalog: what the store has said of names.
        listing: the last complete listing; `coming`: the one that is under way, or was given up.
        block: where the next inode number of a name without a node is from.
        probes: requests for single names since the last complete listing.
        used: how many answers the present listing has given.
        moving: set while the directory is being renamed; whoever wants to work below it waits.
        sidecar: attributes of what is in it.
        unlisted: directories in it that this mount has made, and no listing has shown yet.
    """

    entries: dict[bytes, Entry] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=Catalog)
    listing: Listing | None = None
    coming: Listing | None = None
    block: Block | None = None
    probes: int = 0
    used: int = 0
    moving: trio.Event | None = None
    sidecar: Sidecar | None = None
    unlisted: set[Node | None] = field(default_factory=set)

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

    def path_of(self, name: bytes) -> bytes:
        """Return where a name in it is, relative to the mount point."""
        names, at = [name], self
        while at.parent is not None:
            names.append(at.name)
            at = at.parent
        return b"/".join(reversed(names))

    def entry(self, name: bytes) -> Entry:
        """Return the entry for a name, made when there is none."""
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries[name] = Entry()
        return entry

    def heard(self, name: bytes) -> float:
        """Return when the last request began that told of a name; NEVER where nothing vouches for it."""
        entry, slot = self.entries.get(name), self.catalog.find(name)
        heard = self.catalog.heard[slot] if slot is not None else NEVER
        return heard if entry is None else max(entry.vouched, heard)

    def changed(self, name: bytes, node: Node | None, now: float) -> None:
        """This mount has just made `name` lead to `node`, or to nothing."""
        entry = self.entry(name)
        self.unlisted.discard(entry.node)
        entry.node = node
        entry.checked = entry.changed = now
        slot = self.catalog.find(name)
        if slot is not None:
            self.catalog.drop(slot)
        if isinstance(node, Directory):
            self.unlisted.add(node)
        self.attributes.modified()

    def keep_fact(self, name: bytes, entry: Entry) -> None:
        """The node of a name is forgotten, but not what this mount knows the store to have there."""
        node = entry.node
        raw = raw_of(plain(name))
        self.unlisted.discard(node)
        if entry.checked == NEVER:
            slot = self.catalog.find(name)
            if slot is not None:
                self.catalog.drop(slot)
        elif isinstance(node, Directory):
            self.catalog.put(raw + b"/", None, entry.checked, heard=entry.heard)
        elif isinstance(node, File) and (info := node.info_at(self, name)) is not None:
            self.catalog.put(raw, info, entry.checked, heard=entry.heard)

    def nodes(self) -> Iterator[Node]:
        """Yield the nodes of all entries."""
        return (entry.node for entry in list(self.entries.values()) if entry.node is not None)

    def subdirectories(self) -> int:
        """Return how many directories are known to be in it."""
        return self.catalog.folders + len(self.unlisted)

    def tree(self) -> Iterator[Node]:
        """Yield the known nodes below, parents first."""
        for node in self.nodes():
            yield node
            if isinstance(node, Directory):
                yield from node.tree()
