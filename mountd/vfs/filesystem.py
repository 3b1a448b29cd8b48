"""One mounted store as a file system: the parts put together, and what runs beside them.

Knows neither FUSE nor any cloud: it is driven by the kernel's side, and by tests directly.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import trio

from mountd.data.fetch import Fetcher
from mountd.data.inplace import InPlace
from mountd.errors import (
    IsADirectory,
    MountdError,
    NotADirectory,
    NotFound,
    Stale,
)
from mountd.vfs.attributes import AttributeStore
from mountd.vfs.bounds import Bounds
from mountd.vfs.changes import Changes
from mountd.vfs.explained import explained
from mountd.vfs.files import Files
from mountd.vfs.keeper import Keeper
from mountd.vfs.kernel import Kernel
from mountd.vfs.metadata import Metadata
from mountd.vfs.names import child_key
from mountd.vfs.namespace import Namespace
from mountd.vfs.native import NativeAttributes, NativeKeeper
from mountd.vfs.nodes import Directory, File, Ino, Node
from mountd.vfs.readdir import Directories
from mountd.vfs.rename import Renames
from mountd.vfs.storing import Pending, Storing
from mountd.vfs.table import Defaults, NodeTable
from mountd.vfs.warming import Warmed, Warmer
from mountd.writeback.upload import Uploader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mountd.config import MountSettings
    from mountd.data.cache import Cache
    from mountd.failures import Failure, FailureLog
    from mountd.objects.account import Account
    from mountd.objects.interface import Key, ObjectStore
    from mountd.objects.native import NativeFolder
    from mountd.writeback.backlog import Backlog
    from mountd.writeback.deferral import Deferral
    from mountd.writeback.journal import Journal

log = logging.getLogger(__name__)

# Files that could not be stored are tried again after this many seconds, then twice as many, up to the second number.
RETRY_FIRST, RETRY_LAST = 5.0, 300.0
# Pending changes that a status lists.
SHOWN = 1000


@dataclass(frozen=True, slots=True)
class FileSystemStatus:
    """The state of a mount. Sizes in bytes.

    Attributes:
        pending: the first of what the store lacks; `pending_changes`, `pending_bytes`: how much that is in all.
        names, open_files: what settings limit; of the cache.
    """

    pending: tuple[Pending, ...]
    pending_changes: int
    pending_bytes: int
    cache_bytes: int
    cache_limit: int
    nodes: int
    names: int
    handles: int
    open_files: int
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
        root: str,
        native: NativeFolder | None,
        deferral: Deferral | None,
    ) -> None:
        self._deferral = deferral
        self.root = root
        self._nursery = nursery
        self._failures = failures
        self._recovered = tuple(recovered)
        self.cache = cache
        self.nodes = NodeTable(
            Defaults(
                uid=os.getuid() if settings.uid is None else settings.uid,
                gid=os.getgid() if settings.gid is None else settings.gid,
                umask=settings.umask,
            )
        )
        self.kernel = Kernel()
        self.bounds = Bounds(
            self.nodes,
            self.kernel,
            names=settings.name_limit,
            nodes_kept=settings.node_limit,
            freshness=settings.freshness,
            forget=self.forget,
        )
        if native is None:
            self.attributes = AttributeStore(store, journal, failures, enabled=settings.attributes)
            self.keeper = Keeper(self.attributes, self.nodes, journal, failures)
        else:
            self.attributes = kept = NativeAttributes(store, journal, failures)
            self.keeper = NativeKeeper(native, kept, self.nodes, journal=journal, failures=failures)
        self.namespace = Namespace(
            store,
            self.nodes,
            self.keeper,
            freshness=settings.freshness,
            nursery=nursery,
            pending=deferral.backlog.pending if deferral is not None else None,
        )
        self.storing = Storing(
            store,
            self.namespace,
            self.kernel,
            cache=cache,
            uploader=deferral.spooler
            if deferral is not None and deferral.deferred
            else Uploader(store, nursery=nursery, part_size=settings.part_size, originals=native),
            failed=failures.add,
            native=native is not None,
            deferral=deferral,
            on_conflict=settings.on_conflict,
        )
        self.files = Files(
            store,
            self.namespace,
            self.storing,
            nursery=nursery,
            cache=cache,
            # A window of more than a part of the cache would push out what it has just brought.
            fetcher=Fetcher(
                store,
                nursery=nursery,
                prefetch_limit=min(settings.prefetch_limit, settings.cache_size // 4),
                sweep_limit=settings.cache_size // 4 if settings.prefetch_limit else 0,
                budget=settings.buffer_limit // 2,
                in_place=InPlace(native) if native is not None else None,
            ),
        )
        self.metadata = Metadata(
            self.namespace, deferral, xattrs=settings.xattrs, root=root, in_place=native is not None
        )
        self.changes = Changes(
            store, self.namespace, self.files, self.storing, native=native, asks_first=settings.exclusive == "store"
        )
        self.renames = Renames(store, self.namespace, self.files, self.storing, changes=self.changes, journal=journal)
        self.directories = Directories(self.namespace)
        self._warmer = Warmer(self.namespace, self.directories, self.files.fetcher, cache, content=self.files.content)

    @property
    def write_back(self) -> bool:
        """Whether changes are acknowledged before the store has them."""
        return self._deferral is not None and self._deferral.deferred

    @property
    def backlog(self) -> Backlog | None:
        """What was acknowledged and the store does not have; `None` for a folder of this machine."""
        return self._deferral.backlog if self._deferral is not None else None

    def node(self, ino: int) -> Node:
        """Return a node by number, made to be kept. Raises Stale when it is not known (any more).

        So it does for a file that nobody has open when its name, which led here as the kernel knows, leads elsewhere.
        """
        node = self.nodes.get(Ino(ino))
        if node is None:
            node = self.namespace.adopt(*self._place(ino))
        elif node.displaced and not node.opens:
            raise Stale(f"{node.name!r} was replaced or removed by somebody else")
        return node

    def glimpse(self, ino: int) -> Node:
        """Return a node by number for a caller that only looks at it, at once. Raises Stale."""
        node = self.nodes.get(Ino(ino))
        if node is None:
            directory, slot = self._place(ino)
            node = self.namespace.shown(directory, directory.catalog.name(slot), slot)
        return node

    def _place(self, ino: int) -> tuple[Directory, int]:
        place = self.nodes.numbers.place(ino)
        if place is None:
            raise Stale(f"node {ino} is not known")
        return place

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

    async def refreshed(self, ino: int) -> Node:
        """Return a node to be looked at, after making sure that what is known of it is fresh.

        Raises Stale when it was replaced.
        """
        node = self.nodes.get(Ino(ino))
        if node is None:
            directory, slot = self._place(ino)
            name = directory.catalog.name(slot)
            node = await self.namespace.glance(directory, name)
            if node is None or node.ino != ino:
                raise Stale(f"{name!r} was replaced or removed by somebody else")
            return node
        opened = isinstance(node, File) and node.opens > 0
        if not opened and not await self.namespace.current(node, strictly=False):
            raise Stale(f"{node.name!r} was replaced or removed by somebody else")
        return node

    def remember_directories(self) -> None:
        """Keep the times of directories on this machine."""
        for node in self.nodes:
            if isinstance(node, Directory):
                self.keeper.remember(node)

    def forget(self, ino: int, lookups: int) -> None:
        """The kernel gives back `lookups` references to a node."""
        node = self.nodes.get(Ino(ino))
        if node is None:
            self.nodes.numbers.forget(ino, lookups)
            return
        if node.parent is None:
            return
        node.lookups -= lookups
        if node.lookups <= 0 and self._let_go(node):
            if isinstance(node, Directory):
                self.keeper.remember(node)
            self.nodes.drop(node)

    def _let_go(self, node: Node) -> bool:
        if isinstance(node, File):
            return self.files.forget(node)
        return isinstance(node, Directory) and not any(node.nodes())

    async def sync(self, path: str | None = None) -> None:
        """Return when everything at or below `path` (relative to the mount) is in the store.

        Raises the first error that prevents it, after everything has been tried.
        """
        node = await self._resolve(path) if path and path.strip("/") else self.nodes.root
        if isinstance(node, Directory):
            await self.sync_directory(node)
        elif isinstance(node, File):
            await self.sync_file(node)

    def being_written(self, path: str | None = None) -> list[bytes]:
        """Return the paths, relative to the mount, of files at or below `path` that programs have open to write to.

        Of those the kernel may have bytes that have not come here yet. The store is not asked what is at `path`.
        """
        top = os.fsencode(path or "").strip(b"/")
        places = (place for file in self.files.being_written() for place in file.places())
        paths = (directory.path_of(name) for directory, name in places)
        return [each for each in paths if not top or each == top or each.startswith(top + b"/")]

    async def explain(self, path: str | None, account: Callable[[Key], Account]) -> dict[str, Any]:
        """Return what is known of what is at `path`, and what it has cost. Raises NotFound and others."""
        node = await self._resolve(path) if path and path.strip("/") else self.nodes.root
        assert isinstance(node, File | Directory)
        return explained(self, node, account(node.key))

    async def warm(self, path: str | None, state: Warmed) -> None:
        """Bring what is at or below `path` (relative to the mount) here. Raises NotFound and others."""
        node = await self._resolve(path) if path and path.strip("/") else self.nodes.root
        await self._warmer.warm(node, state)

    async def sync_file(self, node: File) -> None:
        """Return when the store has a file and its attributes, under each of its names."""
        await self._flush(node)
        if self._deferral is not None:
            await self._deferral.drainer.barrier(keys=_keys(node))
        await self.attributes.flush_in({directory.key for directory, _ in node.places()})

    async def sync_directory(self, node: Directory) -> None:
        """Return when the store has everything below a directory. Raises the first error, after all were tried."""
        failure: MountdError | None = None
        for file, _ in self.storing.pending(node):
            try:
                await self._flush(file)
            except MountdError as exc:
                failure = failure or exc
        if self._deferral is not None:
            try:
                await self._deferral.drainer.barrier(node.key)
            except MountdError as exc:
                failure = failure or exc
        if failure is not None:
            raise failure
        await self.attributes.flush(node.key)
        if self._deferral is not None:  # a sidecar that says nothing any more is removed like other objects
            await self._deferral.drainer.barrier(node.key)

    async def _flush(self, node: File) -> None:
        """Store a file, to the end though whoever waits for it stops waiting.

        Of an upload that is broken off nobody knows what became of it; the next one could lose against it.
        """
        done = trio.Event()
        failure: MountdError | None = None

        async def flush() -> None:
            nonlocal failure
            try:
                await self.storing.flush(node)
            except MountdError as exc:
                failure = exc
            finally:
                done.set()

        self._nursery.start_soon(flush)
        await done.wait()
        if failure is not None:
            raise failure

    async def _resolve(self, path: str) -> Node:
        node: Node = self.nodes.root
        for name in os.fsencode(path.strip("/")).split(b"/"):
            if not isinstance(node, Directory):
                raise NotADirectory(f"{path}: not a directory")
            if name in (b"", b".", b".."):  # the kernel never asks for these; as keys they would lead elsewhere
                raise NotFound(f"{path}: no such file or directory")
            node = await self.namespace.existing(node, name)
        return node

    def status(self) -> FileSystemStatus:
        """Return the mount's state."""
        kept = self._deferral.backlog.pending if self._deferral is not None else None
        return FileSystemStatus(
            pending=tuple(islice(chain((pending for _, pending in self.storing.pending()), self._kept()), SHOWN)),
            pending_changes=len(self.storing.pending()) + (len(kept) if kept is not None else 0),
            pending_bytes=sum(p.bytes for _, p in self.storing.pending()) + (kept.bytes if kept is not None else 0),
            cache_bytes=self.cache.bytes,
            cache_limit=self.cache.limit,
            nodes=len(self.nodes),
            names=self.bounds.count(),
            handles=self.files.handles,
            open_files=self.cache.open_files,
            recovered=self._recovered,
            errors=self._failures.recent(),
        )

    def _kept(self) -> Iterator[Pending]:
        """Yield what the journal has and the store does not."""
        for change in self._deferral.backlog.pending if self._deferral is not None else ():
            error = str(change.error) if change.error is not None else None
            yield Pending(change.key, change.size, error, change=change.kind.value, safe=True)

    def damaged(self, backing_file: Path, amount: int) -> str:
        """Note that `amount` bytes which only this machine has are damaged; return the name of the file."""
        names = (node.key for node, _ in self.storing.pending() if node.content and node.content.path == backing_file)
        name = next(names, str(backing_file))
        self._failures.add(f"{name}: the local disk has damaged {amount} bytes that are not in the store")
        return name

    async def retry_forever(self) -> None:
        """Try files again that nobody has open and that could not be stored."""
        delay = RETRY_FIRST
        while True:
            await trio.sleep(delay)
            failed = False
            for node, pending in self.storing.pending():
                if not node.opens and pending.error is not None:
                    try:
                        await self.storing.flush(node)
                    except MountdError:
                        failed = True
            delay = min(delay * 2, RETRY_LAST) if failed else RETRY_FIRST


def _keys(node: File) -> list[Key]:
    return [child_key(directory.key, name) for directory, name in node.places()]
