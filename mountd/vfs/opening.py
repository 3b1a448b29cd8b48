"""A store opened as a file system: what was left is taken up, what runs beside it runs, and nothing is left behind."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

import trio

from mountd.data.cache import Cache
from mountd.failures import FailureLog
from mountd.objects.plausible import PlausibleStore
from mountd.units import format_size
from mountd.vfs.filesystem import FileSystem
from mountd.vfs.recovery import finish
from mountd.vfs.sidecar import Sidecars
from mountd.writeback.deferral import Deferral, build
from mountd.writeback.journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from mountd.config import MountSettings
    from mountd.objects.interface import ObjectStore
    from mountd.objects.native import NativeFolder

log = logging.getLogger(__name__)

# How long the end of a mount waits for bytes that are on their way into the cache, in seconds.
SETTLE = 2.0


@contextlib.asynccontextmanager
async def open_filesystem(
    store: ObjectStore,
    *,
    data: Path,
    settings: MountSettings,
    root: str,
    failures: FailureLog | None = None,
    native: NativeFolder | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
) -> AsyncIterator[FileSystem]:
    """Open a store as a file system whose local state lies in `data`, a folder of its own per store.

    `root` names the store in logs; `native` is the folder behind it where that keeps attributes by itself. What an
    earlier daemon left half done is finished first, unless nothing may be changed, and `tell` hears how much of it is
    left. Raises Corrupt when the journal is damaged, and errors of the store.
    """
    store = PlausibleStore(store)
    os.makedirs(data, mode=0o700, exist_ok=True)
    journal = Journal(data / "journal.db")
    with contextlib.closing(journal):
        cache = Cache(data / "blobs", journal, limit=settings.cache_size, open_files_limit=settings.open_files_limit)
        failures = failures or FailureLog()
        async with trio.open_nursery() as nursery:
            fs: FileSystem | None = None
            deferral = None
            if native is None:
                deferral = build(
                    store,
                    journal,
                    data / "spool",
                    settings=settings,
                    descriptions=Sidecars(),
                    nursery=nursery,
                    failed=failures.add,
                    lost=lambda key: fs.namespace.expire_key(key) if fs is not None else None,
                )
                store = deferral.store
                if not settings.read_only:
                    nursery.start_soon(deferral.drainer.run)
            recovered = await _recover(store, journal, deferral, settings=settings, tell=tell)
            for line in recovered:
                log.info("%s: %s", root, line)
            fs = FileSystem(
                store,
                settings=settings,
                cache=cache,
                journal=journal,
                nursery=nursery,
                recovered=recovered,
                failures=failures,
                root=root,
                native=native,
                deferral=deferral,
            )
            nursery.start_soon(cache.run)
            nursery.start_soon(fs.retry_forever)
            nursery.start_soon(fs.attributes.run)
            nursery.start_soon(fs.keeper.run)
            nursery.start_soon(fs.bounds.run)
            nursery.start_soon(fs.kernel.run)
            await fs.keeper.load(fs.nodes.root)
            try:
                yield fs
            finally:
                with trio.move_on_after(SETTLE) as scope:
                    scope.shield = True
                    await fs.files.settle()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await fs.storing.keep_all(10)
                    fs.remember_directories()
                    await trio.to_thread.run_sync(fs.keeper.save)
                    await cache.close()


async def _recover(
    store: ObjectStore,
    journal: Journal,
    deferral: Deferral | None,
    *,
    settings: MountSettings,
    tell: Callable[[dict[str, Any]], None],
) -> Sequence[str]:
    """Take up what an earlier daemon left; return a line about each."""
    found = []
    if deferral is not None and deferral.backlog.recovered:
        number, size = deferral.backlog.recovered, format_size(deferral.backlog.pending.bytes)
        when = "once the store is mounted for writing" if settings.read_only else "now"
        found.append(f"{number} changes ({size}) that were acknowledged and did not reach the store go there {when}")
    if settings.read_only:
        return found
    return [*found, *await finish(store, journal, tell, attributes=settings.attributes)]
