"""One mounted store as a file system: the parts put together, and what runs beside them.

Knows neither FUSE nor any cloud: it is driven by the kernel's side, and by tests directly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat as stat_bits
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from mountd.data.cache import Cache
from mountd.data.fetch import Fetcher
from mountd.errors import IsADirectory, MountdError, NotADirectory, Stale
from mountd.failures import Failure, FailureLog
from mountd.vfs.changes import Changes
from mountd.vfs.files import Files, Pending
from mountd.vfs.namespace import Namespace
from mountd.vfs.nodes import Directory, File, Ino, Node, NodeTable
from mountd.vfs.readdir import Directories
from mountd.vfs.rename import Renames, finish
from mountd.writeback.journal import Journal
from mountd.writeback.upload import Uploader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from mountd.config import MountSettings
    from mountd.objects.interface import ObjectStore

log = logging.getLogger(__name__)

# Files that could not be stored are tried again after this many seconds, then twice as many, up to the second number.
RETRY_FIRST, RETRY_LAST = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync has come: files and bytes that are still to be stored."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FileSystemStatus:
    """The state of a mount. Sizes in bytes."""

    pending: tuple[Pending, ...]
    cache_bytes: int
    cache_limit: int
    nodes: int
    handles: int
    recovered: tuple[str, ...]
    errors: tuple[Failure, ...]


class FileSystem:
    """The operations of a mount, by node. Made by `open_filesystem`."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        settings: MountSettings,
        cache: Cache,
        journal: Journal,
        nursery: trio.Nursery,
        recovered: Sequence[str],
        failures: FailureLog,
    ) -> None:
        self._failures = failures
        self._recovered = tuple(recovered)
        self.cache = cache
        self.nodes = NodeTable(
            uid=os.getuid() if settings.uid is None else settings.uid,
            gid=os.getgid() if settings.gid is None else settings.gid,
            umask=settings.umask,
        )
        self.namespace = Namespace(store, self.nodes, freshness=settings.freshness, nursery=nursery)
        self.files = Files(
            self.namespace,
            cache=cache,
            # A window of more than a part of the cache would push out what it has just brought.
            fetcher=Fetcher(
                store, nursery=nursery, prefetch_limit=min(settings.prefetch_limit, settings.cache_size // 4)
            ),
            uploader=Uploader(store, nursery=nursery, part_size=settings.part_size),
            failed=failures.add,
        )
        self.changes = Changes(store, self.namespace, self.files)
        self.renames = Renames(store, self.namespace, self.files, changes=self.changes, journal=journal)
        self.directories = Directories(self.namespace)

    def node(self, ino: int) -> Node:
        """Return a node by number. Raises Stale when it is not known (any more)."""
        node = self.nodes.get(Ino(ino))
        if node is None:
            raise Stale(f"node {ino} is not known")
        return node

    def directory(self, ino: int) -> Directory:
        """Return a directory by number. Raises NotADirectory."""
        node = self.node(ino)
        if not isinstance(node, Directory):
            raise NotADirectory(f"{node.name!r} is not a directory")
        return node

    def file(self, ino: int) -> File:
        """Return a file by number. Raises IsADirectory."""
        node = self.node(ino)
        if not isinstance(node, File):
            raise IsADirectory(f"{node.name!r} is a directory")
        return node

    async def refreshed(self, node: Node) -> Node:
        """Return the node after making sure that what is known of it is fresh. Raises Stale when it was replaced."""
        opened = isinstance(node, File) and node.opens > 0
        if not opened and not await self.namespace.current(node):
            raise Stale(f"{node.name!r} was replaced or removed by somebody else")
        return node

    def set_mode(self, node: Node, mode: int) -> None:
        """Set the permission bits."""
        node.attributes.mode = stat_bits.S_IFMT(node.attributes.mode) | stat_bits.S_IMODE(mode)
        node.altered = True

    def forget(self, ino: int, lookups: int) -> None:
        """The kernel gives back `lookups` references to a node."""
        node = self.nodes.get(Ino(ino))
        if node is None or node.parent is None:
            return
        node.lookups -= lookups
        if node.lookups <= 0 and not (node.altered and not node.unlinked) and self._let_go(node):
            self.nodes.drop(node)

    def _let_go(self, node: Node) -> bool:
        if isinstance(node, File):
            return self.files.forget(node)
        return isinstance(node, Directory) and not any(node.nodes())

    async def sync(self, path: str | None = None, progress: Callable[[Progress], None] | None = None) -> None:
        """Return when everything at or below `path` (relative to the mount) is in the store.

        Raises the first error that prevents it, after everything has been tried.
        """
        node = await self._resolve(path) if path and path.strip("/") else self.nodes.root
        if isinstance(node, File):
            return await self.files.flush(node)
        failure: MountdError | None = None
        pending = self.files.pending(node if isinstance(node, Directory) else None)
        for i, (node, _) in enumerate(pending):
            if progress is not None:
                progress(Progress(len(pending) - i, sum(p.bytes for _, p in pending[i:])))
            try:
                await self.files.flush(node)
            except MountdError as exc:
                failure = failure or exc
        if progress is not None:
            progress(Progress(0, 0))
        if failure is not None:
            raise failure
        return None

    async def _resolve(self, path: str) -> Node:
        node: Node = self.nodes.root
        for name in os.fsencode(path.strip("/")).split(b"/"):
            if not isinstance(node, Directory):
                raise NotADirectory(f"{path}: not a directory")
            node = await self.namespace.existing(node, name)
        return node

    def status(self) -> FileSystemStatus:
        """Return the mount's state."""
        return FileSystemStatus(
            pending=tuple(pending for _, pending in self.files.pending()),
            cache_bytes=self.cache.bytes,
            cache_limit=self.cache.limit,
            nodes=len(self.nodes),
            handles=self.files.handles,
            recovered=self._recovered,
            errors=self._failures.recent(),
        )

    async def retry_forever(self) -> None:
        """Try files again that nobody has open and that could not be stored."""
        delay = RETRY_FIRST
        while True:
            await trio.sleep(delay)
            failed = False
            for node, pending in self.files.pending():
                if not node.opens and pending.error is not None:
                    try:
                        await self.files.flush(node)
                    except MountdError:
                        failed = True
            delay = min(delay * 2, RETRY_LAST) if failed else RETRY_FIRST


@contextlib.asynccontextmanager
async def open_filesystem(
    store: ObjectStore, *, data: Path, settings: MountSettings, root: str, failures: FailureLog | None = None
) -> AsyncIterator[FileSystem]:
    """Open a store as a file system whose local state lies in `data`, a folder of its own per store.

    `root` names the store in logs. What an earlier daemon left half done is finished first. Raises Corrupt when the
    journal is damaged, and errors of the store.
    """
    os.makedirs(data, mode=0o700, exist_ok=True)
    journal = Journal(data / "journal.db")
    with contextlib.closing(journal):
        recovered = await finish(store, journal)
        for line in recovered:
            log.info("%s: %s", root, line)
        cache = Cache(data / "blobs", journal, limit=settings.cache_size)
        async with trio.open_nursery() as nursery:
            fs = FileSystem(
                store,
                settings=settings,
                cache=cache,
                journal=journal,
                nursery=nursery,
                recovered=recovered,
                failures=failures or FailureLog(),
            )
            nursery.start_soon(cache.run)
            nursery.start_soon(fs.retry_forever)
            try:
                yield fs
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await cache.close()
