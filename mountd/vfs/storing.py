"""Bringing what was written to files to the store, under all their names.

Write-through: `flush` (each close(2)) and `fsync` return when the store has acknowledged the object, or raise why it
has not; then the journal keeps the file, which is tried again with every later flush and in the background. Write-back:
`flush` returns when the journal has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from mountd.errors import Corrupt, MountdError, Stale, StoreFailure, Unavailable, VersionChanged
from mountd.objects.interface import ABSENT, Buffer, Key, ObjectInfo, ObjectStore, Version
from mountd.writeback.drain import conflict_key
from mountd.writeback.pending import is_local

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mountd.data.cache import Cache
    from mountd.data.content import Content
    from mountd.vfs.kernel import Kernel
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.nodes import Directory, File, OtherName
    from mountd.writeback.deferral import Deferral
    from mountd.writeback.spooler import Spooler
    from mountd.writeback.upload import Uploader

# What Rust's `tempfile` begins names with, and so does safetensors: such a file gets another name before it is closed.
# Parts that went ahead under this one would have to go again.
TEMPORARY = b".tmp"
# How long a write and a close wait at most for room in the journal, in seconds: what fills it is slowed down, and what
# nobody empties fills the disk in the end, but no program hangs for ever.
WRITE_PATIENCE, CLOSE_PATIENCE = 0.1, 30.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that the store does not have. `error`: why the last attempt failed; `change`: what is to be done.

    `safe`: whether it is in the journal, which outlives the daemon.
    """

    path: str
    bytes: int
    error: str | None
    change: str = "put"
    safe: bool = False


class Storing:
    """What stands between the files of one mount and the store.

    Args:
        failed: told of each failure to store a file, one line.
        deferral: what keeps files that the store does not have, where there is such a thing.
        on_conflict: `keep-both`, `fail` or `overwrite`.
        native: what is stored under one name of a file, the store has under all of them.
    """

    def __init__(
        self,
        store: ObjectStore,
        namespace: Namespace,
        kernel: Kernel,
        *,
        cache: Cache,
        uploader: Uploader | Spooler,
        failed: Callable[[str], None],
        native: bool = False,
        deferral: Deferral | None = None,
        on_conflict: str = "keep-both",
    ) -> None:
        self._objects = store
        self._namespace = namespace
        self._kernel = kernel
        self._cache = cache
        self._uploader = uploader
        self._failed = failed
        self._native = native
        self._deferral = deferral
        self._on_conflict = on_conflict
        self._errors: dict[File, str | None] = {}

    def modified(self, node: File) -> None:
        """Note that a file has just been changed."""
        node.attributes.modified()
        if not node.unlinked:
            self._errors.setdefault(node, None)

    def created(self, node: File) -> None:
        """Note a new file, which the store lacks until it is flushed."""
        self._errors.setdefault(node, None)

    def wrote(self, node: File, content: Content, offset: int, data: Buffer) -> None:
        """Note what was just written to a file; it may go ahead of its close."""
        self.modified(node)
        if not node.unlinked and not node.name.startswith(TEMPORARY):
            self._uploader.wrote(content, node.key, offset, data)

    async def flush(self, node: File) -> None:
        """Return once the store, or in write-back mode the journal, has the file as it is now.

        Raises Stale when somebody else has replaced the object meanwhile: theirs stays, ours is kept beside it.
        """
        await self.slow_down(CLOSE_PATIENCE)
        while True:
            if node.parent is not None:
                await self._namespace.settled(node.parent)
            async with node.lock:
                if node.parent is not None and node.parent.is_moving:
                    continue
                await self._store(node)
                return

    async def _store(self, node: File) -> None:
        if node.unlinked or not node.dirty:
            self._errors.pop(node, None)
            return await self._stored_at_last(node)
        try:
            await self._store_or_overwrite(node)
        except VersionChanged as exc:
            if self._on_conflict == "keep-both":
                await self._keep_beside(node)
            else:
                await self._keep_here(node, exc)
            raise Stale(f"{node.key}: replaced by somebody else while it was being written") from exc
        except MountdError as exc:
            self._failed(f"{node.key}: not stored: {exc}")
            await self._keep_here(node, exc)
            raise
        return None

    async def _store_or_overwrite(self, node: File) -> None:
        try:
            await self.store_as(node, node.key, expect=node.info.version if node.info else ABSENT)
        except VersionChanged:
            if self._on_conflict != "overwrite":
                raise
            await self.store_as(node, node.key, expect=None)

    async def _stored_at_last(self, node: File) -> None:
        """Write-through: have the store take what it did not take before. Raises why it still does not."""
        info = node.info
        if info is None or not is_local(info.version) or node.unlinked:
            return
        if self._deferral is not None and not self._deferral.deferred:
            await self._deferral.drainer.barrier(keys=[node.key, *(other.key for other in node.others)])
            final = self._deferral.backlog.final(info.version)
            if final is None or final.info.key != info.key:
                raise Stale(f"{node.key}: replaced by somebody else before it could be stored")

    async def _keep_here(self, node: File, cause: MountdError) -> None:
        """Have the journal keep a file that could not be stored, and send it, under all its names, when possible."""
        self._errors[node] = str(cause)
        if self._deferral is None or isinstance(cause, Corrupt):
            return
        try:
            node.info = await self._deferral.spooler.upload(
                content_of(node, self._cache), node.key, expect=node.info.version if node.info else ABSENT
            )
            for other in list(node.others):
                await self._spread(node, other, self._deferral.store.copy_later)
        except MountdError as exc:
            self._failed(f"{node.key}: not kept in the journal either, only as long as this daemon runs: {exc}")
            return
        for info in (node.info, *(other.info for other in node.others)):
            kept = self._deferral.backlog.pending.made(info.key, info.version) if info is not None else None
            if kept is not None:
                kept.error, kept.doubtful = cause, isinstance(cause, Unavailable)
        self.stored(node)

    async def keep_all(self, patience: float) -> None:
        """Have the journal keep what the store did not take, before this daemon ends.

        A file that is being stored is waited for as many seconds; it can be kept once that was given up.
        """
        for node, _ in self.pending():
            with trio.move_on_after(patience):
                async with node.lock:
                    if node.dirty and not node.unlinked:
                        await self._keep_here(node, StoreFailure("the daemon ended before it was stored"))

    async def slow_down(self, patience: float) -> None:
        """Wait for room in the journal, at most so many seconds."""
        if self._deferral is not None and self._deferral.deferred:
            await self._deferral.backlog.slow_down(self._deferral.limit, patience)

    async def recognize(self, node: File) -> None:
        """Find out whether an upload whose answer was lost has made the object; the caller has the node's lock."""
        found = await self._uploader.made(node.content, node.key) if node.content is not None else None
        if node.content is not None and found is not None:
            node.info = node.content.base = found

    async def store_as(self, node: File, key: Key, *, expect: Version | None) -> None:
        """Upload the node's bytes as `key`, which must hold the version `expect`; the caller has the node's lock."""
        content = content_of(node, self._cache)
        node.info = await self._uploader.upload(content, key, expect=expect)
        for other in list(node.others):
            await self._spread(node, other, self._objects.copy)
        self.stored(node)
        await self._namespace.keeper.stored(node)

    async def _spread(self, node: File, other: OtherName, copy: Callable[..., Awaitable[ObjectInfo]]) -> None:
        """Bring what was stored under a file's first name under another one, where nobody else has replaced that."""
        if node.info is None or other.info is None or other.directory is None:
            return
        try:
            if self._native:  # the folder has done it
                other.info = replace(node.info, key=other.key)
            else:
                other.info = await copy(node.info, other.key, expect=other.info.version)
        except VersionChanged:
            self._failed(f"{other.key}: replaced by somebody else, no longer linked to {node.key}")
            node.remove_name(other.directory, other.name)
            self._namespace.expire(other.directory, other.name)
            return
        entry = other.directory.entry(other.name)
        entry.checked = entry.changed = trio.current_time()

    def stored(self, node: File) -> None:
        """The store has just acknowledged the node as it is now."""
        if not node.dirty:
            self._errors.pop(node, None)
        parent = node.parent
        if parent is not None and not node.unlinked:
            entry = parent.entry(node.name)
            if entry.node is node:
                entry.checked = entry.changed = trio.current_time()
        self._namespace.keeper.note(node)

    async def _keep_beside(self, node: File) -> None:
        """Store a file that lost against somebody else's under a name of its own; nobody's bytes vanish."""
        content = content_of(node, self._cache)
        key = conflict_key(node.key)
        await self._uploader.upload_beside(content, key, expect=ABSENT)
        self._failed(f"{node.key}: replaced by somebody else while it was being written; ours is kept as {key}")
        self._errors.pop(node, None)
        content.settled = content.generation
        self.displace(node)

    def displace(self, node: File) -> None:
        """The name leads to what the store has, and no longer to this node."""
        node.unlinked = node.displaced = True
        if node.parent is not None:
            self._namespace.expire(node.parent, node.name)
            self._kernel.forget_soon([(node.parent, node.name)])

    def meet_anew(self, node: File) -> None:
        """Have the kernel, which believes something wrong of a file that nobody has open, take it for another one."""
        self._namespace.nodes.renumber(node)
        self._kernel.forget_soon(node.places())

    def give_up(self, node: File) -> None:
        """Nobody has a file open any more of which something did not fit on the local disk: it cannot be stored, now or
        later, and whoever wrote it has been told. The name leads to what the store has."""
        self._failed(f"{node.key}: given up, the local disk had no room for it; the store has it as it was before")
        self._errors.pop(node, None)
        self.displace(node)

    async def forget(self, node: File, content: Content | None) -> None:
        """What was written to a file will not be stored any more."""
        self._errors.pop(node, None)
        if content is not None:
            await self._uploader.forget(content)

    def pending(self, below: Directory | None = None) -> list[tuple[File, Pending]]:
        """Return the files that the store does not have as they are, all or those below a directory."""
        return [
            (node, Pending(node.key, node.size, error))
            for node, error in list(self._errors.items())
            if node.dirty and not node.unlinked and (below is None or _is_below(node, below))
        ]


def content_of(node: File, cache: Cache) -> Content:
    """Return a file's bytes on this machine."""
    if node.content is None:
        node.content = cache.open(node.info) if node.info else cache.create()
    return node.content


def _is_below(node: File, directory: Directory) -> bool:
    at = node.parent
    while at is not None and at is not directory:
        at = at.parent
    return at is directory
