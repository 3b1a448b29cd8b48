"""Small files fetched before they are asked for, so that who reads one after the other does not wait for each of them.

A directory whose files are read in the order of their names, as programs do that list it first, gets the next ones
fetched; one whose files are read in any order, as by training with shuffled samples, gets some that are near, once
enough were read. Never more is fetched in vain than was read before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from mountd.data.fetch import WHOLE
from mountd.errors import MountdError
from mountd.vfs.nodes import Directory, File

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from mountd.data.cache import Cache
    from mountd.data.content import Content
    from mountd.data.fetch import Fetcher
    from mountd.vfs.namespace import Namespace

# How many files at most are fetched and not read yet, of one directory.
AHEAD = 64
# A file this many names after the last one still is the next: some are directories, or large, or here already.
STRIDE = 8
# Reads in no order of which something is concluded; then one file for so many that were read.
UNORDERED, SHARE = 16, 4


@dataclass(slots=True)
class _Reading:
    """What was read of one directory. Places are those of names in its catalog, and may shift.

    Attributes:
        last: place of the file read last; `run`: how many were read in order up to that; `count`: how many in all.
        ahead: place up to which files were fetched.
        unread: what was fetched and not read yet.
    """

    last: int = 0
    run: int = 0
    count: int = 0
    ahead: int = 0
    unread: WeakSet[File] = field(default_factory=WeakSet)

    def read(self, node: File, place: int) -> None:
        """Count a file that is read."""
        self.unread.discard(node)
        self.count += 1
        in_order = self.last < place <= self.last + STRIDE
        self.run = self.run + 1 if in_order else 1
        self.ahead = max(self.ahead, place + 1) if in_order else place + 1
        self.last = place

    def allowance(self) -> int:
        """Return how many files may be fetched now."""
        wanted = self.run if self.run > 1 else self.count // SHARE if self.count >= UNORDERED else 0
        return max(0, min(wanted, AHEAD) - len(self.unread))


class Neighbours:
    """Fetches small files ahead.

    Args:
        content: returns a file's bytes on this machine.
    """

    def __init__(
        self,
        namespace: Namespace,
        fetcher: Fetcher,
        cache: Cache,
        *,
        nursery: trio.Nursery,
        content: Callable[[File], Content],
    ) -> None:
        self._namespace = namespace
        self._fetcher = fetcher
        self._cache = cache
        self._nursery = nursery
        self._content = content
        self._readings: WeakKeyDictionary[Directory, _Reading] = WeakKeyDictionary()

    def was_read(self, node: File) -> None:
        """Note that somebody reads a small file from its start, and fetch what may be next."""
        directory = node.parent
        if directory is None or directory.listing is None or not self._fetcher.prefetches:
            return
        reading = self._readings.get(directory)
        if reading is None:
            reading = self._readings[directory] = _Reading()
        place = directory.catalog.place(node.name)
        if place == reading.last and reading.count:
            return
        reading.read(node, place)
        allowed = reading.allowance()
        if allowed:
            self._fetch_next(directory, reading, allowed)

    def _fetch_next(self, directory: Directory, reading: _Reading, count: int) -> None:
        for slot in directory.catalog.slots_at(reading.ahead, min(count + STRIDE, 2 * AHEAD)):
            reading.ahead += 1
            file = self._absent(directory, slot)
            if file is not None:
                reading.unread.add(file)
                self._nursery.start_soon(self._fetch, file)
                count -= 1
            if not count:
                return

    def _absent(self, directory: Directory, slot: int) -> File | None:
        catalog = directory.catalog
        if catalog.is_folder(slot) or not 0 < catalog.size(slot) <= WHOLE:
            return None
        name = catalog.name(slot)
        known = directory.entries.get(name)
        node = known.node if known is not None else self._namespace.adopt(directory, slot)
        if not isinstance(node, File) or not node.regular or node.dirty or node.info is None:
            return None
        return node if self._fetcher.is_absent(self._content(node)) else None

    async def _fetch(self, node: File) -> None:
        try:
            await self._fetcher.fetch(self._content(node))
        except MountdError:
            return  # whoever reads it will ask again and get the error
        if not node.opens and node.content is not None:
            self._cache.rest(node.content)
