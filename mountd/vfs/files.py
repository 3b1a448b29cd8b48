"""Open files: reading, writing, and bringing what was written to the store.

Write-through: `flush` (each close(2)) and `fsync` return when the store has acknowledged the object, or raise why it
has not; then the journal keeps the file, which is tried again with every later flush and in the background. Write-back:
`flush` returns when the journal has it.
"""

from __future__ import annotations

import logging
import mmap
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from mountd.data.fetch import WHOLE
from mountd.errors import (
    BadHandle,
    Corrupt,
    FileTooLarge,
    MountdError,
    Stale,
    StoreFailure,
    Unavailable,
    VersionChanged,
)
from mountd.objects.interface import ABSENT, Buffer, Key, MiB, ObjectInfo, ObjectStore, Version
from mountd.vfs.links import find_names
from mountd.vfs.neighbours import Neighbours
from mountd.writeback.drain import conflict_key
from mountd.writeback.pending import is_local

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mountd.data.cache import Cache
    from mountd.data.content import Content
    from mountd.data.fetch import Fetcher
    from mountd.vfs.kernel import Kernel
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.nodes import Directory, File, OtherName
    from mountd.writeback.deferral import Deferral
    from mountd.writeback.spooler import Spooler
    from mountd.writeback.upload import Uploader

log = logging.getLogger(__name__)

# The largest read the kernel sends.
_READ_MAX = MiB
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


class Files:
    """The files of one mount.

    Args:
        failed: told of each failure to store a file, one line.
        deferral: what keeps files that the store does not have, where there is such a thing.
        on_conflict: `keep-both`, `fail` or `overwrite`.
        fetcher: serves reads.
        native: what is stored under one name of a file, the store has under all of them.
    """

    def __init__(
        self,
        store: ObjectStore,
        namespace: Namespace,
        kernel: Kernel,
        *,
        nursery: trio.Nursery,
        cache: Cache,
        fetcher: Fetcher,
        uploader: Uploader | Spooler,
        failed: Callable[[str], None],
        native: bool = False,
        deferral: Deferral | None = None,
        on_conflict: str = "keep-both",
    ) -> None:
        self._deferral = deferral
        self._on_conflict = on_conflict
        self._objects = store
        self._native = native
        self._namespace = namespace
        self._kernel = kernel
        self._cache = cache
        self.fetcher = fetcher
        self._uploader = uploader
        self._failed = failed
        self._handles: dict[int, File] = {}
        self._writing: set[int] = set()
        self._last_handle = 0
        self._errors: dict[File, str | None] = {}
        self._misjudged: set[File] = set()  # the kernel has another idea of their length
        self._neighbours = Neighbours(namespace, fetcher, cache, nursery=nursery, content=self.content)
        # One buffer serves all reads: it is filled and handed to the kernel without an await in between. In one huge
        # page the kernel finds its memory at once, and not page by page.
        whole = mmap.mmap(-1, 2 * MiB)
        whole.madvise(mmap.MADV_HUGEPAGE)
        self._buffer = memoryview(whole)[:_READ_MAX]

    @property
    def handles(self) -> int:
        """How many files are open."""
        return len(self._handles)

    async def open(self, node: File, flags: int) -> int:
        """Open a file and return its handle.

        Raises Stale when the name leads to another version by now: looking it up again gives the node to open.
        """
        if not (await self._fetched(node, flags) or await self._namespace.current(node)):
            raise Stale(f"{node.key}: replaced or removed by somebody else")
        if flags & os.O_TRUNC:
            await self.truncate(node, 0, opened=True)
        elif flags & os.O_ACCMODE:
            await find_names(node, self._namespace)
        return self.attach(node, flags)

    async def _fetched(self, node: File, flags: int) -> bool:
        """Fetch a small file that is opened to be read: the request for it tells whether it is the current one, too.

        Returns False, and nothing was asked for, where that is known or there is nothing to fetch; and where it is not.
        """
        to_be_read = not flags & (os.O_ACCMODE | os.O_TRUNC) and 0 < node.size <= WHOLE and self.fetcher.prefetches
        if not to_be_read or not node.regular or node.info is None:
            return False
        content = self.content(node)
        if not self.fetcher.is_absent(content) or self._namespace.is_fresh(node):
            return False
        asked = trio.current_time()
        info = await self.fetcher.fetch_latest(content)
        return info is not None and self._namespace.found(node, info, asked)

    def attach(self, node: File, flags: int) -> int:
        """Return a handle for a node that is known to be current."""
        self.content(node)
        node.opens += 1
        self._last_handle += 1
        self._handles[self._last_handle] = node
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._writing.add(self._last_handle)
        return self._last_handle

    async def close(self, handle: int) -> None:
        """A descriptor of a handle is closed: `flush`, unless it only reads and somebody else is still writing."""
        node = self.node(handle)
        if handle in self._writing or (node.dirty and not self._is_written(node)):
            await self.flush(node)

    def _is_written(self, node: File) -> bool:
        return any(self._handles[handle] is node for handle in self._writing)

    def is_being_made(self, node: File) -> bool:
        """Whether a program is writing the file, and the store has nothing of it but perhaps its name."""
        empty = node.info is None or not node.info.size
        return empty and not node.others and self._is_written(node)

    def content(self, node: File) -> Content:
        """Return the node's bytes on this machine."""
        if node.content is None:
            node.content = self._cache.open(node.info) if node.info else self._cache.create()
        return node.content

    def node(self, handle: int) -> File:
        """Return the node of an open handle. Raises BadHandle."""
        try:
            return self._handles[handle]
        except KeyError:
            raise BadHandle(f"no open file has handle {handle}") from None

    async def read(self, handle: int, offset: int, size: int) -> Buffer:
        """Return up to `size` bytes at `offset`; the memory is overwritten by the next call."""
        node = self.node(handle)
        content = self.content(node)
        if offset == 0 and content.size <= WHOLE:
            self._neighbours.was_read(node)
        return await self.fetcher.read(content, offset, self._buffer[:size])

    async def write(self, handle: int, offset: int, data: Buffer) -> int:
        """Write `data` at `offset` and return how many bytes were written: all of them."""
        node = self.node(handle)
        self._require_size(offset + len(data))
        content = self.content(node)
        await self._slow_down(WRITE_PATIENCE)
        await content.write(offset, data)
        self._modified(node)
        if not node.unlinked and not node.name.startswith(TEMPORARY):
            self._uploader.wrote(content, node.key, offset, data)
        return len(data)

    async def truncate(self, node: File, size: int, *, opened: bool) -> None:
        """Set a file's length. Without an open handle that will be closed later, the store has it on return.

        Raises Stale when the name leads elsewhere by now, and why the store has not taken it; then it is kept as what
        `flush` could not store, and the kernel, which goes on with the length from before, gets to know the file anew.
        """
        self._require_size(size)
        if node.displaced and not opened:
            raise Stale(f"{node.key}: replaced or removed by somebody else")
        await find_names(node, self._namespace)
        content = self.content(node)
        if content.size != size:
            await content.truncate(size)
            self._modified(node)
        if not opened and not node.opens:
            try:
                await self.flush(node)
            except BaseException:  # the request's deadline is one
                self._misjudged.add(node)
                raise
            finally:
                if not node.opens:
                    self._rest(node)

    def _require_size(self, size: int) -> None:
        """Raise FileTooLarge now rather than at `close()`."""
        limit = self._objects.capabilities.max_object
        if size > limit:
            raise FileTooLarge(f"the store keeps objects of up to {limit} bytes")

    def _modified(self, node: File) -> None:
        node.attributes.modified()
        if not node.unlinked:
            self._errors.setdefault(node, None)

    def created(self, node: File) -> None:
        """Note a new file, which the store lacks until it is flushed."""
        self._errors.setdefault(node, None)

    async def flush(self, node: File) -> None:
        """Return once the store, or in write-back mode the journal, has the file as it is now.

        Raises Stale when somebody else has replaced the object meanwhile: theirs stays, ours is kept beside it.
        """
        await self._slow_down(CLOSE_PATIENCE)
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
                self.content(node), node.key, expect=node.info.version if node.info else ABSENT
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

    async def _slow_down(self, patience: float) -> None:
        if self._deferral is not None and self._deferral.deferred:
            await self._deferral.backlog.slow_down(self._deferral.limit, patience)

    async def recognize(self, node: File) -> None:
        """Find out whether an upload whose answer was lost has made the object; the caller has the node's lock."""
        found = await self._uploader.made(node.content, node.key) if node.content is not None else None
        if node.content is not None and found is not None:
            node.info = node.content.base = found

    async def store_as(self, node: File, key: Key, *, expect: Version | None) -> None:
        """Upload the node's bytes as `key`, which must hold the version `expect`; the caller has the node's lock."""
        content = self.content(node)
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
        content = self.content(node)
        key = conflict_key(node.key)
        await self._uploader.upload_beside(content, key, expect=ABSENT)
        self._failed(f"{node.key}: replaced by somebody else while it was being written; ours is kept as {key}")
        self._errors.pop(node, None)
        content.settled = content.generation
        self._displace(node)

    async def release(self, handle: int) -> None:
        """Close a handle. What is dirty still, because a flush failed or was never asked for, is tried once more."""
        node = self._handles.pop(handle)
        self._writing.discard(handle)
        node.opens -= 1
        if node.opens:
            return
        try:
            await self.flush(node)
        except MountdError as exc:
            log.warning("%s: kept on local disk, will be tried again: %s", node.key, exc)
        if not node.opens:
            incomplete = node.content if node.content is not None and node.content.refused else None
            if incomplete is not None and not node.unlinked:
                self._give_up(node)
            self._rest(node)
            if incomplete is not None:
                await self._uploader.forget(incomplete)

    def _give_up(self, node: File) -> None:
        """Nobody has a file open any more of which something did not fit on the local disk: it cannot be stored, now or
        later, and whoever wrote it has been told. The name leads to what the store has."""
        self._failed(f"{node.key}: given up, the local disk had no room for it; the store has it as it was before")
        self._errors.pop(node, None)
        self._displace(node)

    def _displace(self, node: File) -> None:
        node.unlinked = node.displaced = True
        if node.parent is not None:
            self._namespace.expire(node.parent, node.name)
            self._kernel.forget_soon([(node.parent, node.name)])

    def _rest(self, node: File) -> None:
        if node in self._misjudged:
            self._misjudged.discard(node)
            self._namespace.nodes.renumber(node)
            self._kernel.forget_soon(node.places())
        if node.content is None:
            return
        self.fetcher.release(node.content)
        if node.unlinked:
            self._cache.drop(node.content)
            node.content = None
        elif not node.dirty:
            self._cache.rest(node.content)

    async def detach(self, node: File) -> None:
        """The name is going away. A handle that is open goes on working: bring here what only the store has."""
        if node.opens:
            content = self.content(node)
            if content.base is not None:
                content.pinned = True
                await self.fetcher.hydrate(content)

    async def unlinked(self, node: File) -> None:
        """The node's object is gone; the bytes live as long as a handle does."""
        node.unlinked = True
        self._errors.pop(node, None)
        if node.content is not None:
            await self._uploader.forget(node.content)
        if not node.opens:
            self._rest(node)

    def forget(self, node: File) -> bool:
        """The kernel has forgotten the node: let go of it unless it is open or dirty; tell whether it is gone."""
        if node.opens or (node.dirty and not node.unlinked):
            return False
        if node.content is not None:
            self._cache.leave(node.content)
            node.content = None
        return True

    async def settle(self) -> None:
        """Return when what has been asked of the store is on this machine."""
        await self.fetcher.settle()

    def pending(self, below: Directory | None = None) -> list[tuple[File, Pending]]:
        """Return the files that the store does not have as they are, all or those below a directory."""
        return [
            (node, Pending(node.key, node.size, error))
            for node, error in list(self._errors.items())
            if node.dirty and not node.unlinked and (below is None or _is_below(node, below))
        ]

    def being_written(self) -> list[File]:
        """Return the files that programs have open to write to."""
        return [node for node in {self._handles[handle] for handle in self._writing} if not node.unlinked]


def _is_below(node: File, directory: Directory) -> bool:
    at = node.parent
    while at is not None and at is not directory:
        at = at.parent
    return at is directory
