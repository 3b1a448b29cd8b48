"""Attributes of nodes: taken from sidecars when a node is made, put there when a program changes them.

Three places know something: the sidecar (what differs from the defaults), this machine's memory of what it wrote (the
store rounds times to seconds and counts from the end of the upload), and the object itself.
"""

from __future__ import annotations

import base64
import secrets
import stat
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import trio

from mountd.errors import MountdError
from mountd.objects import octets
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version
from mountd.vfs.names import component, name_of
from mountd.vfs.nodes import Directory, File, Ino, Node, OtherName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mountd.failures import FailureLog
    from mountd.vfs.attributes import AttributeStore, Sidecar
    from mountd.vfs.sidecar import Record
    from mountd.vfs.table import NodeTable
    from mountd.writeback.journal import Journal

_KINDS = {
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}
_KIND_NAMES = {number: name for name, number in _KINDS.items()}

# How many files' times are remembered, and how long they are gathered before they are saved, in seconds.
REMEMBERED, GATHER = 50_000, 2.0
# Integers of the journal have 64 bits, which is the year 2262 in nanoseconds.
_DATABASE_MAX = (1 << 63) - 1


class Keeper:
    """Keeps the attributes of the nodes of one mount."""

    def __init__(self, attributes: AttributeStore, nodes: NodeTable, journal: Journal, failures: FailureLog) -> None:
        self._failures = failures
        self.attributes = attributes
        self._nodes = nodes
        self._journal = journal
        self._times = journal.times()
        self._unsaved: dict[Key, tuple[Version, int]] = {}
        self._groups: WeakValueDictionary[str, File] = WeakValueDictionary()
        self._wake = trio.Event()

    def sidecar(self, directory: Directory) -> Sidecar:
        """Return what is known of a directory's sidecar."""
        if directory.sidecar is None:
            directory.sidecar = self.attributes.sidecar(directory.key)
        return directory.sidecar

    def record(self, node: Node) -> Record:
        """Return what the sidecar says of a node."""
        state, name = self._place(node)
        return state.record(name)

    def _place(self, node: Node) -> tuple[Sidecar, str]:
        """Return where the attributes of a node are kept: those of a directory with its siblings."""
        if node.parent is None:
            return self.sidecar(self._nodes.root), "./"
        name = component(node.name)
        return self.sidecar(node.parent), name + "/" if isinstance(node, Directory) else name

    async def refresh(self, directory: Directory, found: ObjectInfo | None, *, at: float) -> None:
        """Take over what a listing has shown of the directory's sidecar."""
        await self.attributes.refresh(self.sidecar(directory), found, at=at)
        self._redress(directory)

    def made(self, directory: Directory) -> None:
        """This mount has just made the directory: nothing is said of anything in it."""
        directory.sidecar = self.attributes.renewed(directory.key)

    async def load(self, directory: Directory) -> None:
        """Read the directory's sidecar anew."""
        await self.attributes.load(self.sidecar(directory))
        self._redress(directory)

    async def load_name(self, directory: Directory, name: bytes, *, newer_than: float) -> None:
        """Make sure that what is known of a name in a directory is newer than that."""
        if self.sidecar(directory).checked <= newer_than:
            await self.load(directory)

    def _redress(self, directory: Directory) -> None:
        """Give nodes what the sidecar says of them by now, whoever has read or stored it."""
        state = self.sidecar(directory)
        before, now = state.shown, state.names
        if before is now:
            return
        state.shown = now
        for name in before.keys() | now.keys():
            if before.get(name, {}).get("kind") != now.get(name, {}).get("kind"):
                changed = name_of(name)
                if changed is not None:
                    directory.catalog.renumber(changed)  # of another kind is another file
        for node in list(directory.nodes()):
            if self.record(node) != node.attributes.record:
                self.dress(node)
        if directory.parent is None and self.record(directory) != directory.attributes.record:
            self.dress(directory)

    def dress(self, node: Node, record: Record | None = None) -> None:
        """Set a node's attributes to what is known of it; `record`: where that has just been read."""
        record = self.record(node) if record is None else record
        known = node.attributes
        known.record = record
        own_kind = stat.S_IFMT(known.mode)
        kind = _KINDS.get(record.get("kind", ""), own_kind) if isinstance(node, File) else own_kind
        defaults = self._nodes.defaults
        known.mode = kind | record.get("mode", defaults.permissions(kind))
        known.uid = record.get("uid", defaults.uid)
        known.gid = record.get("gid", defaults.gid)
        known.rdev = record.get("rdev", 0)
        known.target = octets.name_of(record["target"]) if "target" in record and stat.S_ISLNK(kind) else None
        known.xattrs = {octets.name_of(k): base64.b64decode(v) for k, v in record.get("xattrs", {}).items()}
        if not (isinstance(node, File) and (node.opens or node.dirty)):
            self._set_times(node, record)
        if isinstance(node, File) and node.info is not None:
            self._take_names(node, node.info, record)

    def _take_names(self, node: File, info: ObjectInfo, record: Record) -> None:
        """Note which names a file is said to have besides those that are known to lead to it."""
        if not (node.others or "links" in record) or record.get("version", info.version) != info.version:
            return
        links = record.get("links", {"id": node.link_id, "names": []})
        if not node.link_id and links["id"] and self._group(links["id"]) is None:
            node.link_id = links["id"]
            self._groups[node.link_id] = node
        if node.link_id == links["id"]:
            known = [o for o in node.others if o.directory is not None]
            unknown = set(links["names"]) - {node.key, *(o.key for o in known)}
            node.others = known + [OtherName(None, b"", Key(key), None) for key in sorted(unknown)]

    def _group(self, link_id: str) -> File | None:
        """Return the file that some names are known to lead to."""
        group = self._groups.get(link_id)
        if group is None or group.unlinked or self._nodes.get(group.ino) is not group:  # forgotten, and still in memory
            return None
        return group

    def _set_times(self, node: Node, record: Record) -> None:
        known = node.attributes
        key, version = _identity(node)
        remembered = self._times.get(key)
        if remembered is not None and remembered[0] == version:
            known.atime_ns = known.mtime_ns = known.ctime_ns = remembered[1]
        if not isinstance(node, File) or record.get("version") == version:
            known.times_set = "mtime" in record
            known.mtime_ns = record.get("mtime", known.mtime_ns)
            known.atime_ns = record.get("atime", known.mtime_ns)
            known.ctime_ns = record.get("ctime", known.mtime_ns)

    def file(self, directory: Directory, name: bytes, info: ObjectInfo, ino: int = 0) -> File:
        """Return the node for an object: a new one, or that of another name of the same file."""
        record = self._file_record(directory, name)
        links = _links(record, info)
        if links:
            group = self._group(links["id"])
            if group is not None:
                group.add_name(directory, name, info)
                return group
        node = self._nodes.file(directory, name, info, ino)
        self.dress(node, record)
        return node

    def _file_record(self, directory: Directory, name: bytes) -> Record:
        return self.sidecar(directory).record(component(name))

    def directory(self, parent: Directory, name: bytes, ino: int = 0) -> Directory:
        """Return a new node for a directory."""
        node = self._nodes.directory(parent, name, ino)
        self.dress(node)
        return node

    def shown(self, directory: Directory, name: bytes, info: ObjectInfo | None, ino: int) -> Node | None:
        """Return a node only to be looked at: nobody keeps it. `None` for a linked file, which is kept."""
        if info is None:
            folder = self._nodes.make_directory(Ino(ino), directory, name)
            self.dress(folder)
            return folder
        node = self._nodes.make_file(Ino(ino), directory, name, info)
        if not self.sidecar(directory).is_empty:
            record = self._file_record(directory, name)
            if _links(record, info):
                return None
            self.dress(node, record)
        elif info.key in self._times:  # the rest are defaults
            known = node.attributes
            known.atime_ns = known.mtime_ns = known.ctime_ns = self.remembered(info)
        return node

    async def ahead(self, directory: Directory, names: Iterable[bytes]) -> None:
        """These are about to be shown: there is time to find out what is said of them."""

    def shown_all(self) -> None:
        """Nothing that was found out by `ahead` is needed any more."""

    def same(self, node: File, directory: Directory, name: bytes, info: ObjectInfo) -> bool:
        """Tell whether the node still stands for what is under one of its names."""
        known = node.info_at(directory, name)
        if node.unlinked or known is None or known.version != info.version:
            return False
        record = self._file_record(directory, name)
        links = _links(record, info)
        if links is not None and links["id"] != node.link_id:  # somebody else has made it a name of another file
            return False
        return _KINDS.get(record.get("kind", ""), stat.S_IFREG) == stat.S_IFMT(node.attributes.mode)

    def join(self, node: File) -> None:
        """Prepare a file for a second name."""
        if not node.link_id:
            node.link_id = secrets.token_hex(16)
        self._groups[node.link_id] = node

    async def stored(self, node: File) -> None:
        """The store has just got the file; what was noted of it may take its time."""

    def note(self, node: Node) -> None:
        """Have the sidecar say what a node's attributes are now; `journaled` makes it durable."""
        if node.unlinked:
            return
        if not isinstance(node, File):
            state, name = self._place(node)
            node.attributes.record = self._record(node, None)
            self.attributes.change(state, name, node.attributes.record)
            return
        for directory, name_ in node.places():
            record = self._record(node, node.info_at(directory, name_))
            if directory is node.parent and name_ == node.name:
                node.attributes.record = record
            self.attributes.change(self.sidecar(directory), component(name_), record)
        self.remember(node)

    def _record(self, node: Node, info: ObjectInfo | None) -> Record:
        known, defaults = node.attributes, self._nodes.defaults
        kind = stat.S_IFMT(known.mode)
        fields: dict[str, Any] = {
            "mode": stat.S_IMODE(known.mode) if stat.S_IMODE(known.mode) != defaults.permissions(kind) else None,
            "uid": known.uid if known.uid != defaults.uid else None,
            "gid": known.gid if known.gid != defaults.gid else None,
            "kind": _KIND_NAMES.get(kind),
            "rdev": known.rdev or None,
            "target": octets.text_of(known.target) if known.target is not None else None,
            "xattrs": {octets.text_of(k): base64.b64encode(v).decode() for k, v in known.xattrs.items()} or None,
        }
        if isinstance(node, File) and node.others:
            fields["links"] = {"id": node.link_id, "names": sorted([node.key, *(o.key for o in node.others)])}
        record = {name: value for name, value in fields.items() if value is not None}
        if record or known.times_set:  # where there has to be a record, it tells the times as well
            record["mtime"] = known.mtime_ns
            record |= {
                n: at for n, at in (("atime", known.atime_ns), ("ctime", known.ctime_ns)) if at != known.mtime_ns
            }
            if info is not None:
                record["version"] = info.version
        return record

    def removed(self, directory: Directory, name: bytes, *, folder: bool = False) -> None:
        """A name is gone, and what was said of it."""
        self.attributes.change(self.sidecar(directory), component(name) + ("/" if folder else ""), None)

    def entries_changed(self, directory: Directory) -> None:
        """A directory has new times, which override what a program may have set."""
        if "mtime" in directory.attributes.record:
            self.note(directory)

    def remember(self, node: Node) -> None:
        """Keep a node's time on this machine."""
        key, version = _identity(node)
        if abs(node.attributes.mtime_ns) > _DATABASE_MAX:
            return  # a year that a program has chosen, far from ours: the sidecar has it
        if (version or isinstance(node, Directory)) and not node.unlinked:
            self._times.pop(key, None)
            self._times[key] = self._unsaved[key] = (version, node.attributes.mtime_ns)
            if len(self._times) > REMEMBERED:
                del self._times[next(iter(self._times))]
            self._wake.set()

    def remembered(self, info: ObjectInfo) -> int:
        """Return the modification time of an object, in nanoseconds since the epoch."""
        version, mtime_ns = self._times.get(info.key, (ABSENT, 0))
        return mtime_ns if version == info.version else info.mtime_ns

    async def run(self) -> None:
        """Save times as they come, until cancelled."""
        while True:
            await self._wake.wait()
            await trio.sleep(GATHER)
            self._wake = trio.Event()
            try:
                await trio.to_thread.run_sync(self.save)
            except MountdError as exc:
                self._failures.add(f"times could not be remembered: {exc}")

    def save(self) -> None:
        """Save the times that are not saved yet."""
        unsaved, self._unsaved = self._unsaved, {}
        rows = [(key, version, mtime) for key, (version, mtime) in unsaved.items()]
        if rows:
            self._journal.save_times(rows, REMEMBERED)


def _links(record: Record, info: ObjectInfo) -> Record | None:
    """Return what is said of the other names of an object, `None` for one that has only this."""
    return record.get("links") if record.get("version") == info.version else None


def _identity(node: Node) -> tuple[Key, Version]:
    if isinstance(node, File):
        return node.key, node.info.version if node.info is not None else ABSENT
    return (node.key if isinstance(node, Directory) else Key("")), ABSENT
