"""Renames: copies inside the store, then deletions, under an intent that the next mount can finish.

What could not be carried out is undone: either every object is at its new key and none at its old one, or the other way
round. Only a crash, or a store that cannot be reached, can leave a directory's rename half done; its intent is in the
journal then. A file can be left under both names by a store that cannot be reached.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mountd import crash
from mountd.errors import (
    AlreadyExists,
    InvalidArgument,
    IsADirectory,
    MountdError,
    NotADirectory,
    NotFound,
    Stale,
    VersionChanged,
)
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore, Version
from mountd.vfs.links import find_names
from mountd.vfs.names import child_key
from mountd.vfs.nodes import Directory, File, Node
from mountd.vfs.rebase import moved, rebase
from mountd.vfs.sidecar import HIDDEN
from mountd.vfs.tree import TOLERANCE, TreeCopy
from mountd.writeback.listing import removal_order
from mountd.writeback.parallel import each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mountd.vfs.changes import Changes
    from mountd.vfs.files import Files
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.storing import Storing
    from mountd.writeback.journal import Journal

Place = tuple[Directory, bytes]
Copies = dict[tuple[Key, Version], ObjectInfo]

log = logging.getLogger(__name__)

NOREPLACE, EXCHANGE = 1, 2
# Objects that one request deletes.
BATCH = 1000


@dataclass(slots=True)
class _Move:
    """A rename under way.

    Attributes:
        source, target: directories, and the names there.
        intents: of what has been carried out; they end once the journal has the attributes under the new name. The next
            mount finishes that, too, where this daemon does not come so far.
    """

    source: Place
    target: Place
    intents: list[int] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """The new key of a file."""
        return child_key(self.target[0].key, self.target[1])

    @property
    def folder(self) -> Key:
        """The new key of a directory."""
        return Key(self.key + "/")


class Renames:
    """Moves files and directories."""

    def __init__(
        self,
        store: ObjectStore,
        namespace: Namespace,
        files: Files,
        storing: Storing,
        *,
        changes: Changes,
        journal: Journal,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._files = files
        self._storing = storing
        self._changes = changes
        self._journal = journal
        self._keeper = namespace.keeper

    async def rename(self, source: Place, target: Place, *, flags: int = 0) -> None:
        """Make `target` lead to what `source` led to, replacing a file or an empty directory.

        Raises NotFound, AlreadyExists (with NOREPLACE), IsADirectory, NotADirectory, NotEmpty, InvalidArgument.
        """
        if flags not in (0, NOREPLACE, EXCHANGE):
            raise InvalidArgument(f"rename flags {flags:#x} are not known")
        self._changes.require_possible(*target)
        await self._find_names(source, target)
        async with self._changes.working_in(source[0], target[0]):
            if flags == EXCHANGE:
                await self._exchange(source, target)
            else:
                await self._changes.retrying(lambda: self._rename(source, target, flags), source, target)

    async def _find_names(self, *places: Place) -> None:
        """Find all names of the files concerned, before anything is locked."""
        for directory, name in places:
            entry = directory.entries.get(name)
            if entry is not None and entry.node is not None:
                await find_names(entry.node, self._namespace)

    async def _exchange(self, one: Place, two: Place) -> None:
        """Swap two names by way of a third, which nobody else sees."""
        first, second = [await self._namespace.existing(*place) for place in (one, two)]
        if first is second:
            return
        self._changes.require_deleting(one[1])
        for node, into in ((first, two[0]), (second, one[0])):
            if isinstance(node, Directory):
                self._check_not_into_itself(node, into)
        aside = one[0], f"{HIDDEN}exchange-{secrets.token_hex(8)}".encode()
        keys = [child_key(directory.key, name) for directory, name in (one, two, aside)]
        intent = await trio.to_thread.run_sync(lambda: self._journal.begin_exchange(keys[0], keys[1], aside=keys[2]))
        crash.point("exchange-begun")
        await self._rename(one, aside, 0, known=first)
        crash.point("exchange-aside")
        await self._rename(two, one, 0)
        crash.point("exchange-half")
        await self._rename(aside, two, 0, known=first)
        aside[0].entries.pop(aside[1], None)
        self._journal.end(intent)

    async def _rename(self, source: Place, target: Place, flags: int, *, known: Node | None = None) -> None:
        node = known or await self._namespace.existing(*source)
        replaced = await self._namespace.lookup(*target)
        if replaced is not None and flags & NOREPLACE:
            raise AlreadyExists(f"{target[1]!r} exists")
        if replaced is node:
            return
        move = _Move(source, target)
        try:
            await self._move(node, replaced, move)
            await self._keeper.attributes.journaled()
        finally:
            for intent in move.intents:
                self._journal.end(intent)

    async def _move(self, node: Node, replaced: Node | None, move: _Move) -> None:
        if isinstance(node, Directory):
            self._changes.require_deleting(move.source[1])
            async with self._keeper.attributes.quiet(move.folder):
                hidden = await self._check_directory_target(node, move.target[0], replaced)
                if isinstance(replaced, Directory):
                    await self._changes.remove_hidden(replaced, hidden)
                await self._rename_directory(node, move)
        elif isinstance(node, File):
            if isinstance(replaced, Directory):
                raise IsADirectory(f"{move.target[1]!r} is a directory")
            await self._rename_file(node, replaced if isinstance(replaced, File) else None, move)

    async def _check_directory_target(self, node: Directory, into: Directory, replaced: Node | None) -> list[Key]:
        """Raise why the directory cannot be moved there; return mountd's own objects in what it replaces."""
        self._check_not_into_itself(node, into)
        if isinstance(replaced, File):
            raise NotADirectory(f"{replaced.name!r} is not a directory")
        return await self._changes.require_empty(replaced) if isinstance(replaced, Directory) else []

    def _check_not_into_itself(self, node: Directory, into: Directory) -> None:
        above: Directory | None = into
        while above is not None:
            if above is node:
                raise InvalidArgument("a directory cannot be moved into itself")
            above = above.parent

    async def _rename_file(self, node: File, replaced: File | None, move: _Move) -> None:
        async with self._both(node, replaced):
            for each_file in (node, replaced):
                if each_file is not None:
                    await self._storing.recognize(each_file)
            if replaced is not None and not replaced.others:
                await self._files.detach(replaced)
            copied = await self._make_target(node, replaced, move)
            if replaced is not None:
                await self._changes.nameless(replaced, *move.target)
            if copied is not None and abs(node.attributes.mtime_ns - copied.mtime_ns) > TOLERANCE:
                node.attributes.times_set = True  # a copy is as old as the copying
            self._move_file(node, move, copied)

    async def _make_target(self, node: File, replaced: File | None, move: _Move) -> ObjectInfo | None:
        """Have the store hold the file under its new key, if it holds either of the two files at all."""
        there = replaced.info_at(*move.target) if replaced is not None else None
        expect = there.version if there is not None else ABSENT
        being_made = self._files.is_being_made(node)
        if there is not None and being_made:
            await self._take_place(node, move.source, there)
            return None
        if node.info is None:
            # Not in the store yet: it will be uploaded under its new name alone.
            if there is not None:
                await self._storing.store_as(node, move.key, expect=expect)
            return node.info
        self._changes.require_deleting(move.source[1])
        if node.dirty and not being_made:
            await self._storing.store_as(node, node.key, expect=node.info.version)
        info = node.info_at(*move.source)
        if info is None:
            raise Stale(f"{move.source[1]!r} was changed by somebody else")
        return await self._move_object(node, info, expect, move)

    async def _move_object(self, node: File, info: ObjectInfo, expect: Version, move: _Move) -> ObjectInfo:
        if self._store.capabilities.folders:
            return await self._store.rename(info, move.key, expect=expect)
        if not self._store.capabilities.deferred:
            return await self._copy_and_delete(info, expect, move)
        await self._changes.keep_alive(move.source[0], without=move.source[1])
        if node.attributes.record:  # it is said of the new name later: the next mount does so where this one dies
            move.intents.append(await self._begin(info, expect, move))
        return await self._store.rename(info, move.key, expect=expect)

    async def _begin(self, info: ObjectInfo, expect: Version, move: _Move) -> int:
        return await trio.to_thread.run_sync(lambda: self._journal.begin(info, move.key, expect=expect))

    async def _take_place(self, node: File, source: Place, there: ObjectInfo) -> None:
        """Let a file that is still being written replace an object once it is closed, or synced.

        Others find the old bytes until then, and the new ones from then on: what has been written so far, of which the
        kernel may still have a part, would be neither.
        """
        if node.info is not None:
            self._changes.require_deleting(source[1])
            await self._changes.keep_alive(source[0], without=source[1])
            with contextlib.suppress(VersionChanged, NotFound):
                await self._store.delete(node.info.key, expect=node.info.version)
        self._files.content(node).disown()
        self._storing.created(node)
        node.info = there

    async def _copy_and_delete(self, info: ObjectInfo, expect: Version, move: _Move) -> ObjectInfo:
        intent = await self._begin(info, expect, move)
        crash.point("rename-begun")
        try:
            copied = await self._store.copy(info, move.key, expect=expect)
        except MountdError:
            self._journal.end(intent)
            raise
        crash.point("rename-copied")
        try:
            await self._changes.keep_alive(move.source[0], without=move.source[1])
            with contextlib.suppress(VersionChanged):  # somebody has written a new object under the old name: it stays
                await self._store.delete(info.key, expect=info.version)
        except MountdError:
            # The file stays under both names. The next mount must not finish what programs were told has failed: they
            # may have done something else with the names by then.
            self._journal.end(intent)
            raise
        move.intents.append(intent)
        crash.point("rename-deleted")
        return copied

    @contextlib.asynccontextmanager
    async def _both(self, *nodes: File | None) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for node in sorted((n for n in nodes if n is not None), key=lambda n: n.ino):
                await stack.enter_async_context(node.lock)
            yield

    def _move_file(self, node: File, move: _Move, info: ObjectInfo | None) -> None:
        """Record in the namespace what the store has just done."""
        if move.source == (node.parent, node.name):
            node.parent, node.name = move.target
            if info is not None:
                node.info = info
                if node.content is not None and node.content.base is not None:
                    node.content.base = info
        else:
            node.remove_name(*move.source)
            node.add_name(*move.target, info)
        self._renamed(node, move.source, move.target)

    def _renamed(self, node: Node, source: Place, target: Place) -> None:
        now = trio.current_time()
        source[0].changed(source[1], None, now)
        target[0].changed(target[1], node, now)
        node.attributes.changed()
        self._keeper.removed(*source, folder=isinstance(node, Directory))
        self._keeper.note(node)
        for directory in {source[0], target[0]}:
            self._keeper.entries_changed(directory)

    async def _rename_directory(self, node: Directory, move: _Move) -> None:
        assert node.parent is not None  # the root has no name that could change
        place = node.parent, node.name
        source, goal = node.key, move.folder
        node.moving = trio.Event()
        try:
            async with self._still(node):
                if self._store.capabilities.folders:
                    await self._keeper.attributes.flush(source)
                    await self._store.rename(ObjectInfo(source, 0, 0, ABSENT), goal)
                    rebase(node, lambda info: moved(info, source, goal))
                else:
                    async with self._keeper.attributes.quiet(source):
                        copies = await self._move_tree(place, source, move)
                    rebase(node, lambda info: copies.get((info.key, info.version), info))
                old = move.target[0].entry(move.target[1]).node
                if old is not None:
                    old.unlinked = True
                node.parent, node.name = move.target
                self._renamed(node, place, move.target)
        finally:
            node.moving.set()
            node.moving = None

    async def _move_tree(self, place: Place, source: Key, move: _Move) -> Copies:
        """Copy everything below `source`, then delete it there; return what has become of each object."""
        goal = move.folder
        intent = await trio.to_thread.run_sync(self._journal.begin_tree, source, goal)
        crash.point("tree-begun")
        tree = TreeCopy(self._store, self._keeper, source, goal)
        await self._copy(tree, goal, intent)
        crash.point("tree-copied")
        await self._changes.keep_alive(place[0], without=place[1])
        await self._delete_all([*tree.copies, *tree.replaced], below=source)
        crash.point("tree-deleted")
        self._keeper.attributes.forget_below(source)
        move.intents.append(intent)
        await tree.relink()
        return {(info.key, info.version): copy for info, copy in tree.copies.items()}

    async def _copy(self, tree: TreeCopy, goal: Key, intent: int) -> None:
        """Copy everything; on failure remove the copies again and raise."""
        try:
            await tree.run()
        except MountdError:
            await self._undo(tree.copies.values(), goal, intent)
            raise

    @contextlib.asynccontextmanager
    async def _still(self, directory: Directory) -> AsyncIterator[None]:
        """Hold all that is known at and below the directory, so that no upload or change is under way while it moves.

        None is held while another one is waited for: whoever has that may be waiting for any of the others. As the
        directory is known to be moving, nobody begins anything meanwhile.
        """
        held: list[Node] = []
        try:
            while (busy := _hold(directory, held)) is not None:
                _let_go(held)
                async with busy.lock:
                    pass
            yield
        finally:
            _let_go(held)

    async def _undo(self, copies: Iterable[ObjectInfo], goal: Key, intent: int) -> None:
        try:
            self._keeper.attributes.forget_below(goal)
            await self._delete_all(copies, below=goal)
        except MountdError as exc:
            log.warning("a rename that failed could not be undone, the next mount will finish it: %s", exc)
            return
        self._journal.end(intent)

    async def _delete_all(self, infos: Iterable[ObjectInfo], *, below: Key) -> None:
        versions = {info.key: info.version for info in infos}

        async def delete(key: Key) -> None:
            with contextlib.suppress(VersionChanged, NotFound):
                await self._store.delete(key, expect=versions.get(key))

        for group in removal_order(versions, below):
            if self._store.capabilities.batch_delete:
                batches = [group[i : i + BATCH] for i in range(0, len(group), BATCH)]
                await each(batches, lambda keys: self._store.delete_many({key: versions.get(key) for key in keys}))
            else:
                await each(group, delete)


def _hold(directory: Directory, held: list[Node]) -> Node | None:
    """Take the locks of all nodes at and below a directory and add them to `held`; return one that is taken."""
    for node in {directory, *directory.tree()}:  # a linked file is met several times
        try:
            node.lock.acquire_nowait()
        except trio.WouldBlock:
            return node
        held.append(node)
    return None


def _let_go(held: list[Node]) -> None:
    while held:
        held.pop().lock.release()
