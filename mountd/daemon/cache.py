"""What can be asked of a store's local cache: by the control socket while it is mounted, directly while it is not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import trio

from mountd.daemon import lock
from mountd.data.cache import Cache
from mountd.data.scrub import Verified, verify
from mountd.writeback.backlog import Backlog
from mountd.writeback.journal import Journal
from mountd.writeback.rows import Rows
from mountd.writeback.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from mountd.vfs.filesystem import FileSystem

    Progress = Callable[[Any], Awaitable[None]]

# How often someone who waits for a scrub hears how far it is, in seconds.
INTERVAL = 0.25


def cache_commands(fs: FileSystem) -> dict[str, Callable[[Mapping[str, Any], Progress], Awaitable[Any]]]:
    """Return the commands of the control socket that are about the cache of a mount."""
    return {
        "cache-info": lambda request, progress: _info(fs.cache),
        "cache-clear": lambda request, progress: _clear(fs.cache),
        "cache-verify": lambda request, progress: _verify(fs.cache, progress, fs.damaged, fs.backlog),
    }


def unmounted(data: Path, limit: int, do: str, progress: Callable[[Any], None]) -> dict[str, Any]:
    """Do the same with the cache of a store that is not mounted, whose local state lies in `data`.

    Raises UserError when a daemon holds it, Corrupt when its journal is damaged.
    """

    async def note(value: Any) -> None:
        progress(value)

    async def run() -> dict[str, Any]:
        cache = Cache(data / "blobs", journal, limit=limit)
        if do == "cache-info":
            return await _info(cache)
        if do == "cache-clear":
            return await _clear(cache)
        backlog = Backlog(Rows(journal), Spool(data / "spool"))
        return await _verify(cache, note, lambda path, _: str(path), backlog)

    with lock.held(data), contextlib.closing(Journal(data / "journal.db")) as journal:
        return trio.run(run)


async def _info(cache: Cache) -> dict[str, Any]:
    files = await trio.to_thread.run_sync(cache.files)
    return {"folder": str(cache.folder), "bytes": cache.bytes, "limit": cache.limit, "files": files}


async def _clear(cache: Cache) -> dict[str, Any]:
    before = cache.bytes
    await cache.clear()
    return {"freed": before - cache.bytes, "left": cache.bytes}


async def _verify(
    cache: Cache, progress: Progress, damaged: Callable[[Path, int], str], backlog: Backlog | None
) -> dict[str, Any]:
    last = trio.current_time()
    total = cache.files()

    async def tell(found: Verified) -> None:
        nonlocal last
        if trio.current_time() >= last + INTERVAL:
            last = trio.current_time()
            left = max(0, total - found.files), max(0, cache.bytes - found.bytes)
            await progress({"files": left[0], "bytes": left[1], "waiting_for": []})

    found = await verify(cache, tell)
    pending = [{"path": c.key, "bytes": c.size} async for c, _ in backlog.damaged()] if backlog is not None else []
    return {
        "files": found.files,
        "bytes": found.bytes,
        "dropped": [{"path": key, "bytes": amount} for key, amount in found.dropped.items()],
        "damaged": [
            *({"path": damaged(path, amount), "bytes": amount} for path, amount in found.damaged.items()),
            *pending,
        ],
    }
