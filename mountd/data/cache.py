"""All contents of one mount: their backing files on disk, the bound on their size, and what survives a restart.

Clean bytes are kept until the disk budget is used up and are then taken away, the least recently used first. What is on
disk from earlier mounts is known through an index and loaded when its object is opened again, so years of content cost
nothing at start; every restored block is compared with its checksum before it is served.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import trio

from mountd.data import blocks
from mountd.data.content import Content
from mountd.errors import MountdError
from mountd.objects.interface import Key, MiB, ObjectInfo, Version
from mountd.private import private_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from mountd.data.backing import Trust

log = logging.getLogger(__name__)

# The unit in which clean bytes of a live file are taken away: one fetch's worth.
SEGMENT = 8 * MiB
# Backing files of which it is remembered that they need not be compared again, some 100 bytes each.
TRUSTED = 20_000

# Finished contents are written to the index in batches: one transaction a second instead of one a file.
SAVE_INTERVAL = 1.0
# How long a local disk that fails is left alone, in seconds.
TROUBLE_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Saved:
    """What the index keeps of one backing file. `checks`: block number -> CRC32C of blocks that are clean."""

    id: str
    info: ObjectInfo
    checks: dict[int, int]
    bytes: int


class Index(Protocol):
    """The lasting list of backing files. A lost or wrong row costs a fetch, never a byte."""

    def find(self, key: Key, version: Version) -> Saved | None: ...
    def save(self, rows: Sequence[Saved]) -> None: ...
    def remove(self, ids: Sequence[str]) -> None: ...
    def oldest(self, count: int) -> list[tuple[str, int]]: ...
    def total(self) -> int: ...
    def after(self, id: str, count: int) -> list[Saved]: ...
    def ids(self) -> set[str]: ...


class Cache:
    """The contents of one mount and their common budget.

    Args:
        folder: where backing files lie; made when missing.
        limit: bytes that clean extents may use; dirty ones count but are never taken away.
        open_files_limit: how many backing files are kept open that nobody is using.
    """

    def __init__(self, folder: Path, index: Index, *, limit: int, open_files_limit: int = 500) -> None:
        self.limit = limit
        self.folder = folder
        self._index = index
        self._bytes = index.total()
        self._live: dict[str, Content] = {}
        self._segments: OrderedDict[tuple[Content, int], None] = OrderedDict()
        self._unsaved: dict[str, Content] = {}
        self._saving: dict[str, Content] = {}  # those that are being written to the index
        self._one_saves = trio.Lock()
        self._left: dict[Key, Content] = {}  # of these, those whose nodes are gone
        self._trusted: OrderedDict[str, Trust] = OrderedDict()  # what contents have compared whose nodes are gone
        self._opened: OrderedDict[Content, None] = OrderedDict()
        self._open_files_limit = open_files_limit
        self._over = trio.Event()
        self._to_save = trio.Event()
        self._made: set[str] | None = set()  # what this run has made, until what earlier ones left is swept away
        private_folder(folder)
        for entry in os.scandir(folder):
            if not entry.is_dir(follow_symlinks=False):  # nothing of ours, and links would lead elsewhere
                os.unlink(entry)

    @property
    def bytes(self) -> int:
        """Bytes that lie in backing files now."""
        return self._bytes

    @property
    def open_files(self) -> int:
        """How many backing files are open."""
        return len(self._opened)

    def open(self, info: ObjectInfo) -> Content:
        """Return the content of `info`, with whatever an earlier use left on disk."""
        left = self._left.get(info.key)
        if left is not None and left.base is not None and left.base.version == info.version and left.size == info.size:
            return self._adopt(left)
        saved = self._find(info)
        if saved is not None and saved.info.size == info.size and saved.id not in self._live:
            found = self._content(saved.id, info, checks=saved.checks)
            found.noted = found.state
            if saved.id in self._trusted:
                found.backing.rely_on(self._trusted.pop(saved.id))
            return self._adopt(found)
        return self._adopt(self._content(uuid.uuid4().hex, info))

    def _find(self, info: ObjectInfo) -> Saved | None:
        try:
            return self._index.find(info.key, info.version)
        except MountdError as exc:
            log.warning("the local cache is in trouble: %s", exc)
            return None

    def create(self) -> Content:
        """Return an empty content that the store has no object for."""
        return self._adopt(self._content(uuid.uuid4().hex, None))

    def _content(self, name: str, info: ObjectInfo | None, *, checks: dict[int, int] | None = None) -> Content:
        if self._made is not None:
            self._made.add(name)
        size = info.size if info else 0
        return Content(self.path(name), base=info, size=size, ledger=self, checks=checks)

    def _adopt(self, content: Content) -> Content:
        self._live[content.path.name] = content
        self._settled(content)
        for run in content.extents:
            self.used(content, run.start, run.end)
        return content

    def rest(self, content: Content) -> None:
        """Nobody has the file open any more: close it and have what is clean remembered over a restart."""
        content.close()
        if content.base is not None and not content.pinned:
            self._unsaved[content.path.name] = content
            self._to_save.set()

    def leave(self, content: Content) -> None:
        """The node is gone: keep what is clean for a later open, drop what cannot be found again."""
        self._live.pop(content.path.name, None)
        self._forget_segments(content)
        if content.base is None or content.pinned or content.dirty:
            self.drop(content)
        else:
            if content.noted == content.state:  # the index has it as it is
                content.close()
            else:
                self._left[content.base.key] = content
                self.rest(content)
            self._trusted[content.path.name] = content.backing.trust
            if len(self._trusted) > TRUSTED:
                self._trusted.popitem(last=False)

    def _settled(self, content: Content) -> None:
        """It need not be found among what the index does not know yet."""
        self._unsaved.pop(content.path.name, None)
        if content.base is not None and self._left.get(content.base.key) is content:
            del self._left[content.base.key]

    def _forget_segments(self, content: Content) -> None:
        possible = range(content.size // SEGMENT + 1)
        if len(possible) > len(self._segments):  # a store can say any size
            for known in [known for known in self._segments if known[0] is content]:
                del self._segments[known]
            return
        for segment in possible:
            self._segments.pop((content, segment), None)

    def drop(self, content: Content) -> None:
        """Delete the content's bytes: its object is gone from the store."""
        self._live.pop(content.path.name, None)
        self._settled(content)
        self._forget_segments(content)
        content.discard()

    def contents(self) -> list[Content]:
        """Return the contents that are known to the mount, or that the index has not noted yet."""
        return list((self._saving | self._unsaved | self._live).values())

    def resting(self, after: str) -> list[Saved]:
        """Return some of the rows of the index whose contents nobody uses, those with greater ids; none at the end."""
        while rows := self._index.after(after, 256):
            after = rows[-1].id
            found = [row for row in rows if self._rests(row.id)]
            if found:
                return found
        return []

    def _rests(self, name: str) -> bool:
        return not (name in self._live or name in self._unsaved or name in self._saving)

    def lost(self, saved: Saved, damaged: set[int]) -> int:
        """Drop blocks of a content that rests; return how many bytes those were."""
        if not self._rests(saved.id):  # it was opened meanwhile, and compares what is read by itself
            return 0
        checks = {number: check for number, check in saved.checks.items() if number not in damaged}
        gone = saved.bytes - sum(blocks.length(number, saved.info.size) for number in checks)
        if checks:
            self._index.save([replace(saved, checks=checks, bytes=saved.bytes - gone)])
        else:
            self._forget([saved.id])
        self._bytes -= gone
        log.warning("%s: the local disk has damaged %d bytes; the store is asked for them again", saved.info.key, gone)
        return gone

    def _forget(self, names: Sequence[str]) -> None:
        for name in names:
            self.path(name).unlink(missing_ok=True)
        self._index.remove(names)

    def files(self) -> int:
        """Return how many files have bytes here."""
        return len(self._index.ids() | {content.path.name for content in self.contents() if content.extents})

    async def clear(self) -> None:
        """Delete what the store has too, but for what is in use at this very moment."""
        async with self._one_saves:  # or one that is under way would note afterwards what is gone
            await self._save()
            while rows := self.resting(""):
                self._forget([row.id for row in rows])
                self._bytes -= sum(row.bytes for row in rows)
                await trio.lowlevel.checkpoint()
            for content in self.contents():
                if content.extents and content.evictable and content.base is not None:
                    content.evict(0, content.size)
                    self._index.remove([content.path.name])

    def used(self, content: Content, start: int, end: int) -> None:
        """See `content.Ledger`."""
        for segment in range(start // SEGMENT, -(-end // SEGMENT)):
            self._segments[content, segment] = None
            self._segments.move_to_end((content, segment))
        if content in self._opened:
            self._opened.move_to_end(content)
        self._close_idle()

    def opened(self, content: Content) -> None:
        """See `content.Ledger`."""
        self._opened[content] = None

    def closed(self, content: Content) -> None:
        """See `content.Ledger`."""
        self._opened.pop(content, None)

    def _close_idle(self) -> None:
        """Close the files that were not used for longest; they are opened again on demand."""
        if len(self._opened) <= self._open_files_limit:
            return
        for content in list(self._opened):
            if len(self._opened) <= self._open_files_limit:
                return
            if content.idle:
                content.backing.close_file()

    def grew(self, amount: int) -> None:
        """See `content.Ledger`."""
        self._bytes += amount
        if self._bytes > self.limit:
            self._over.set()

    def reclaim(self, amount: int) -> bool:
        """See `content.Ledger`."""
        return self._evict(max(amount, SEGMENT)) > 0

    async def run(self) -> None:
        """Evict and save for as long as the mount lives; cancelling it is followed by `save`."""
        async with trio.open_nursery() as nursery:
            for work in (self._evict_forever, self._save_forever, self._sweep):
                nursery.start_soon(_again_and_again, work)

    async def _evict_forever(self) -> None:
        while True:
            await self._over.wait()
            self._over = trio.Event()
            # A little below the limit, so that a steady reader does not wake this task for every block.
            if not self._evict(self._bytes - self.limit + SEGMENT) and self._bytes > self.limit:
                await trio.sleep(0.05)  # everything is in use or dirty
                self._over.set()
            await trio.lowlevel.checkpoint()

    def _evict(self, amount: int) -> int:
        freed = self._evict_resting(amount)
        for content, segment in list(self._segments):
            if freed >= amount:
                break
            if content.evictable:
                freed += content.evict(segment * SEGMENT, (segment + 1) * SEGMENT)
                self._segments.pop((content, segment), None)
        return freed

    def _evict_resting(self, amount: int) -> int:
        freed, gone = 0, []
        for name, size in self._index.oldest(64):
            if freed >= amount:
                break
            if self._rests(name):
                self.path(name).unlink(missing_ok=True)
                freed += size
                gone.append(name)
        self._index.remove(gone)
        self._bytes -= freed
        return freed

    async def _save_forever(self) -> None:
        while True:
            await self._to_save.wait()
            await trio.sleep(SAVE_INTERVAL)
            await self.save()

    async def save(self) -> None:
        """Write what is known of resting contents to the index."""
        async with self._one_saves:
            await self._save()

    async def _save(self) -> None:
        self._saving, self._unsaved = self._unsaved, {}
        batch = self._saving
        self._to_save = trio.Event()
        rows: list[Saved] = []
        states = {}
        try:
            for name, content in batch.items():
                state = content.state
                row = await self._row(name, content)
                if row is not None:
                    rows.append(row)
                    states[content] = state
                await trio.lowlevel.checkpoint()  # thousands may have come to rest at once
            if rows:
                await trio.to_thread.run_sync(self._index.save, rows)
        except BaseException:
            self._unsaved = batch | self._unsaved
            raise
        finally:
            self._saving = {}
        for name, content in batch.items():
            content.noted = states.get(content)
            if name not in self._unsaved:
                self._settled(content)

    async def _row(self, name: str, content: Content) -> Saved | None:
        base = content.base
        if base is None or content.dirty or content.pinned or not content.path.exists():
            return None
        checks = await content.checked_blocks()
        if name not in self._live:
            content.close()
        if content.base is not base or content.dirty:
            return None
        return Saved(name, base, checks, content.extents.total())

    async def _sweep(self) -> None:
        """Delete backing files that no row of the index knows: a crash left them."""

        def sweep(made: set[str]) -> None:
            known = self._index.ids()
            for path in self.folder.glob("??/*"):
                # A name is in `made` before there is a file, so no file of this run is taken for a left one.
                if path.name not in known and path.name not in made:
                    path.unlink(missing_ok=True)

        if self._made is not None:
            await trio.to_thread.run_sync(sweep, self._made)
            self._made = None

    async def close(self) -> None:
        """Remember everything that is clean and close all files."""
        for content in list(self._live.values()):
            self.leave(content)
        try:
            await self.save()
        except MountdError as exc:
            log.warning("what the local cache holds could not be noted: %s", exc)

    def path(self, name: str) -> Path:
        """Return where a backing file lies."""
        return self.folder / name[:2] / name


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    """Carry out `work`; when it fails, again later: trouble with the local disk may cost the cache, not the mount."""
    while True:
        try:
            return await work()
        except (MountdError, OSError) as exc:
            log.warning("the local cache is in trouble: %s", exc)
            await trio.sleep(TROUBLE_PAUSE)


def free_space(folder: Path) -> int:
    """Return the bytes that this user may still write on the disk of `folder`."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
