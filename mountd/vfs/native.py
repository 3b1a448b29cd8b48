"""Attributes of nodes where the folder that is mounted keeps them by itself: nothing is said beside the files.

A node's attributes are read from its file when the node is made and when its directory is listed again; a change is
carried out on the file before the call that asked for it returns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import trio

from mountd.errors import MountdError
from mountd.vfs.attributes import AttributeStore
from mountd.vfs.keeper import Keeper
from mountd.vfs.names import child_key
from mountd.vfs.nodes import Directory, File, Ino, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mountd.failures import FailureLog
    from mountd.objects.interface import Key, ObjectInfo, ObjectStore
    from mountd.objects.native import NativeFolder, Record
    from mountd.vfs.table import NodeTable
    from mountd.writeback.journal import Journal


class NativeAttributes(AttributeStore):
    """Stands where sidecars would be. Changes wait here for the task that made them to carry them out."""

    def __init__(self, store: ObjectStore, journal: Journal, failures: FailureLog) -> None:
        super().__init__(store, journal, failures)
        self.keeper: NativeKeeper | None = None

    async def journaled(self) -> None:
        """Return when the files have all changes that this task has noted. Raises the error that prevents one."""
        if self.keeper is not None:
            await self.keeper.carry_out()

    async def run(self) -> None:
        """There is nothing to do in the background."""
        await trio.sleep_forever()

    async def flush(self, below: Key) -> None:
        await self.journaled()

    async def flush_in(self, directories: Iterable[Key]) -> None:
        await self.journaled()

    async def forget(self, directories: Iterable[Key]) -> list[Key]:
        """There is nothing pending."""
        return []


class NativeKeeper(Keeper):
    """Keeps the attributes of the nodes of one mount in the folder itself."""

    def __init__(
        self,
        native: NativeFolder,
        attributes: NativeAttributes,
        nodes: NodeTable,
        *,
        journal: Journal,
        failures: FailureLog,
    ) -> None:
        super().__init__(attributes, nodes, journal, failures)
        attributes.keeper = self
        self._native = native
        self._ahead: dict[Key, Record] = {}
        self._changes = 0
        self._noted: WeakKeyDictionary[trio.lowlevel.Task, list[Node]] = WeakKeyDictionary()

    def record(self, node: Node) -> Record:
        """Return what the folder says of a node, nothing for a file that it does not have yet."""
        key = _key(node)
        return {} if key is None else self._native.record(key)

    async def refresh(self, directory: Directory, found: ObjectInfo | None, *, at: float) -> None:
        """The directory has just been listed: look again at what is known in it."""
        await self._look(directory, [directory, *directory.nodes()])

    def made(self, directory: Directory) -> None:
        """There are no sidecars."""

    async def load(self, directory: Directory) -> None:
        """Look again at a directory."""
        await self._look(directory, [directory])

    async def load_name(self, directory: Directory, name: bytes, *, newer_than: float) -> None:
        """Look again at what a name leads to."""
        entry = directory.entries.get(name)
        if entry is not None and entry.node is not None:
            await self._look(directory, [entry.node])

    async def _look(self, directory: Directory, nodes: Sequence[Node]) -> None:
        asked = [(node, key) for node in nodes if (key := _key(node)) is not None]
        found = await self._native.records([key for _, key in asked])
        for (node, key), record in zip(asked, found, strict=True):
            # What has moved or changed meanwhile is known better.
            if record and _key(node) == key and record != node.attributes.record and not self._is_noted(node):
                self.dress(node, record)

    async def ahead(self, directory: Directory, names: Iterable[bytes]) -> None:
        """Read what the folder says of names in a thread, before `shown` needs it at once."""
        prefix, before = directory.key, self._changes
        keys = [child_key(prefix, name) for name in names]
        found = await self._native.records(keys) if keys else ()
        if self._changes == before:  # else they are read one by one
            self._ahead = dict(zip(keys, found, strict=True))

    def shown_all(self) -> None:
        self._ahead = {}

    def _changing(self) -> None:
        """A file is no longer what was read ahead."""
        self._changes += 1
        self._ahead = {}

    def _is_noted(self, node: Node) -> bool:
        return any(node in nodes for nodes in self._noted.values())

    def dress(self, node: Node, record: Record | None = None) -> None:
        super().dress(node, record)
        node.attributes.nlink = node.attributes.record.get("nlink", 1)

    def note(self, node: Node) -> None:
        """Have the file get the node's attributes, when this task calls `carry_out`."""
        self._changing()
        if not node.unlinked:
            self._noted.setdefault(trio.lowlevel.current_task(), []).append(node)

    async def stored(self, node: File) -> None:
        """The folder has just got the file: give it its attributes."""
        await self.carry_out()
        for directory, _ in node.places():
            self.entries_changed(directory)

    async def carry_out(self) -> None:
        """Give the files what this task has noted. Raises the first error; the node shows what the file has then."""
        failure: MountdError | None = None
        for node in dict.fromkeys(self._noted.pop(trio.lowlevel.current_task(), ())):
            try:
                await self._holding(node)
            except MountdError as exc:
                failure = failure or exc
        if failure is not None:
            raise failure

    async def _holding(self, node: Node) -> None:
        """Carry out what was noted of a node while nobody else, such as an upload, works on it."""
        if node.lock.statistics().owner is trio.lowlevel.current_task():
            return await self._carry_out(node)
        async with node.lock:
            return await self._carry_out(node)

    async def _carry_out(self, node: Node) -> None:
        key = _key(node)
        if key is None:
            return
        self._changing()
        info = node.info if isinstance(node, File) else None
        wanted = self._record(node, info) | {
            "mode": node.attributes.mode & 0o7777,
            "uid": node.attributes.uid,
            "gid": node.attributes.gid,
            "atime": node.attributes.atime_ns,
            "mtime": node.attributes.mtime_ns,
        }
        try:
            became = await self._native.apply(key, wanted, info.version if info is not None else None)
        except MountdError:
            self.dress(node)
            raise
        self._changing()
        if became is None:
            return
        if isinstance(node, File) and info is not None and node.info is info:
            _advance(node, became)
        record = await trio.to_thread.run_sync(self._native.record, key)
        if record and _key(node) == key and not self._is_noted(node):
            self.dress(node, record)

    def shown(self, directory: Directory, name: bytes, info: ObjectInfo | None, ino: int) -> Node | None:
        """Return a node only to be looked at, with what the folder says of it. `None` for a linked file."""
        if info is None:
            return super().shown(directory, name, info, ino)
        record = self._ahead.pop(info.key, None) or self._file_record(directory, name)
        if record.get("nlink", 1) > 1:
            return None
        node = self._nodes.make_file(Ino(ino), directory, name, info)
        self.dress(node, record)
        return node

    def _file_record(self, directory: Directory, name: bytes) -> Record:
        return self._native.record(child_key(directory.key, name))

    def same(self, node: File, directory: Directory, name: bytes, info: ObjectInfo) -> bool:
        """Tell whether the node still stands for what is under one of its names: a version has one kind here."""
        known = node.info_at(directory, name)
        return not node.unlinked and known is not None and known.version == info.version

    def removed(self, directory: Directory, name: bytes, *, folder: bool = False) -> None:
        """What was said of the name went with it."""
        self._changing()

    def entries_changed(self, directory: Directory) -> None:
        """The folder has given the directory new times: show those, or they would jump when it is looked at again."""
        key = _key(directory)
        record = self._native.record(key) if key is not None else {}
        if record:
            self.dress(directory, record)

    def remember(self, node: Node) -> None:
        """The folder remembers times itself."""

    def remembered(self, info: ObjectInfo) -> int:
        return info.mtime_ns


def _key(node: Node) -> Key | None:
    """Return the key under which the folder has a node, `None` where it has none."""
    if isinstance(node, File):
        return node.key if node.info is not None and not node.unlinked else None
    return node.key if isinstance(node, Directory) and not node.unlinked else None


def _advance(node: File, became: ObjectInfo) -> None:
    """The file's version is another one, by a change that was our own."""
    now = trio.current_time()
    node.info = became
    if node.content is not None and node.content.base is not None:
        node.content.base = became
    for other in node.others:
        if other.info is not None:
            other.info = replace(became, key=other.key)
    for directory, name in node.places():
        entry = directory.entries.get(name)
        if entry is not None and entry.node is node:
            entry.checked = entry.changed = now
