"""Renames: copies inside the store, then deletions, under an intent that the next mount can finish.

What could not be carried out is undone: either every object is at its new key and none at its old one, or the other way
round. Only a crash, or a store that cannot be reached, can leave a rename half done; its intent is in the journal then.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import trio

from mountd.errors import (
    AlreadyExists,
    InvalidArgument,
    IsADirectory,
    MountdError,
    NotADirectory,
    NotFound,
    Unsupported,
    VersionChanged,
)
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore, Version
from mountd.vfs.names import child_key
from mountd.vfs.nodes import Directory, File, Node
from mountd.writeback.listing import all_below, removal_order
from mountd.writeback.parallel import each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mountd.vfs.changes import Changes
    from mountd.vfs.files import Files
    from mountd.vfs.namespace import Namespace
    from mountd.writeback.journal import Intent, Journal

log = logging.getLogger(__name__)

NOREPLACE, EXCHANGE = 1, 2


class Renames:
    """Moves files and directories."""

    def __init__(
        self, store: ObjectStore, namespace: Namespace, files: Files, *, changes: Changes, journal: Journal
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._files = files
        self._changes = changes
        self._journal = journal

    async def rename(self, source: tuple[Directory, bytes], target: tuple[Directory, bytes], *, flags: int = 0) -> None:
        """Make `target` lead to what `source` led to, replacing a file or an empty directory.

        Raises NotFound, AlreadyExists (with NOREPLACE), IsADirectory, NotADirectory, NotEmpty, InvalidArgument.
        """
        if flags & ~NOREPLACE:
            raise Unsupported("exchanging two names is not offered")
        async with self._changes.working_in(source[0], target[0]):
            await self._changes.retrying(*source, lambda: self._rename(source, target, flags))

    async def _rename(self, source: tuple[Directory, bytes], target: tuple[Directory, bytes], flags: int) -> None:
        node = await self._namespace.existing(*source)
        replaced = await self._namespace.lookup(*target)
        if replaced is not None and flags & NOREPLACE:
            raise AlreadyExists(f"{target[1]!r} exists")
        if replaced is node:
            return
        if isinstance(node, Directory):
            await self._check_directory_target(node, target[0], replaced)
            await self._rename_directory(node, target)
        elif isinstance(node, File):
            if isinstance(replaced, Directory):
                raise IsADirectory(f"{target[1]!r} is a directory")
            await self._rename_file(node, target, replaced if isinstance(replaced, File) else None)

    async def _check_directory_target(self, node: Directory, into: Directory, replaced: Node | None) -> None:
        above: Directory | None = into
        while above is not None:
            if above is node:
                raise InvalidArgument("a directory cannot be moved into itself")
            above = above.parent
        if isinstance(replaced, File):
            raise NotADirectory(f"{replaced.name!r} is not a directory")
        if isinstance(replaced, Directory):
            await self._changes.require_empty(replaced)

    async def _rename_file(self, node: File, target: tuple[Directory, bytes], replaced: File | None) -> None:
        key = child_key(target[0].key, target[1])
        expect = replaced.info.version if replaced is not None and replaced.info is not None else ABSENT
        async with self._both(node, replaced):
            if replaced is not None:
                await self._files.detach(replaced)
            await self._make_target(node, key, expect, replaced)
            if replaced is not None:
                await self._files.unlinked(replaced)
            self._move(node, target)

    async def _make_target(self, node: File, key: Key, expect: Version, replaced: File | None) -> None:
        """Have the store hold the file under its new key, if it holds either of the two files at all."""
        if node.info is None:
            # Not in the store yet: it will be uploaded under its new name alone.
            if replaced is not None and replaced.info is not None:
                await self._files.store_as(node, key, expect=replaced.info.version)
            return
        if node.dirty:
            await self._files.store_as(node, node.key, expect=node.info.version)
        intent = await trio.to_thread.run_sync(lambda info: self._journal.begin(info, key, expect=expect), node.info)
        try:
            copied = await self._store.copy(node.info, key, expect=expect)
        except MountdError:
            self._journal.end(intent)
            raise
        if node.parent is not None:
            await self._changes.keep_alive(node.parent, without=node.name)
        with contextlib.suppress(VersionChanged):  # somebody has written a new object under the old name: it stays
            await self._store.delete(node.info.key, expect=node.info.version)
        self._journal.end(intent)
        node.info = copied
        if node.content is not None:
            node.content.base = copied

    @contextlib.asynccontextmanager
    async def _both(self, *nodes: File | None) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for node in sorted((n for n in nodes if n is not None), key=lambda n: n.ino):
                await stack.enter_async_context(node.lock)
            yield

    def _move(self, node: Node, target: tuple[Directory, bytes]) -> None:
        """Record in the namespace what the store has just done."""
        now = trio.current_time()
        if node.parent is not None:
            node.parent.changed(node.name, None, now)
        old = target[0].entry(target[1]).node
        if old is not None:
            old.unlinked = True
        node.parent, node.name = target
        target[0].changed(target[1], node, now)

    async def _rename_directory(self, node: Directory, target: tuple[Directory, bytes]) -> None:
        source, goal = node.key, Key(child_key(target[0].key, target[1]) + "/")
        node.moving = trio.Event()
        try:
            async with self._still(node):
                intent = await trio.to_thread.run_sync(self._journal.begin_tree, source, goal)
                copies = await self._copy_tree(source, goal, intent)
                if node.parent is not None:
                    await self._changes.keep_alive(node.parent, without=node.name)
                await self._delete_all(copies, below=source)
                self._journal.end(intent)
                self._rebase(node, {info.key: copy for info, copy in copies.items()})
                self._move(node, target)
                node.listing = None
        finally:
            node.moving.set()
            node.moving = None

    @contextlib.asynccontextmanager
    async def _still(self, directory: Directory) -> AsyncIterator[None]:
        """Hold all that is known below the directory, so that no upload or change is under way while it moves."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(directory.lock)
            for node in sorted(directory.tree(), key=lambda n: n.ino):
                await stack.enter_async_context(node.lock)
            yield

    async def _copy_tree(self, source: Key, goal: Key, intent: int) -> dict[ObjectInfo, ObjectInfo]:
        """Copy everything; on failure remove the copies again and raise."""
        copies: dict[ObjectInfo, ObjectInfo] = {}

        async def copy(info: ObjectInfo) -> None:
            copies[info] = await self._store.copy(info, Key(goal + info.key[len(source) :]))

        try:
            await each(await all_below(self._store, source), copy)
        except MountdError:
            await self._undo(copies.values(), goal, intent)
            raise
        return copies

    async def _undo(self, copies: Iterable[ObjectInfo], goal: Key, intent: int) -> None:
        try:
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
            await each(group, delete)

    def _rebase(self, directory: Directory, copies: dict[Key, ObjectInfo]) -> None:
        """Tell the nodes below which objects they stand for now."""
        for node in directory.tree():
            if isinstance(node, File) and node.info is not None and node.info.key in copies:
                node.info = copies[node.info.key]
                if node.content is not None:
                    node.content.base = node.info


async def finish(store: ObjectStore, journal: Journal) -> list[str]:
    """Carry out the renames that an earlier daemon left half done; return a line about each."""
    done = []
    for intent in journal.intents():
        await _finish(store, intent)
        journal.end(intent.id)
        done.append(f"finished the rename of {intent.source} to {intent.target}")
    return done


async def _finish(store: ObjectStore, intent: Intent) -> None:
    if not intent.recursive:
        return await _finish_file(store, intent)
    left = {info.key: info for info in await all_below(store, intent.source)}

    async def copy(info: ObjectInfo) -> None:
        with contextlib.suppress(VersionChanged):  # it was copied before the crash
            await store.copy(info, Key(intent.target + info.key[len(intent.source) :]), expect=ABSENT)

    async def delete(key: Key) -> None:
        await store.delete(key, expect=left[key].version if key in left else None)

    await each(left.values(), copy)
    for group in removal_order(left, intent.source):
        await each(group, delete)
    return None


async def _finish_file(store: ObjectStore, intent: Intent) -> None:
    """Copy if the target is as it was before, then remove the source unless it has changed since."""
    try:
        source = await store.stat(intent.source)
    except NotFound:
        return
    if source.version != intent.version:
        return
    with contextlib.suppress(VersionChanged):  # it was copied before the crash
        await store.copy(source, intent.target, expect=intent.expect)
    with contextlib.suppress(VersionChanged):
        await store.delete(source.key, expect=source.version)
