"""How many names a mount keeps in memory: what has not been used for long is let go, and can be asked for again.

Three things are kept of a tree that programs have walked through: what the store said of names (catalogs), nodes of
files that were opened or changed, and numbers by which the kernel knows names. The kernel forgets by itself only when
the machine is short of memory, so it is asked to; it answers with `forget`, like at any other time, and then the rest
can go.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import trio

from mountd.vfs.catalog import NEVER, Catalog
from mountd.vfs.nodes import Directory, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mountd.vfs.kernel import Kernel
    from mountd.vfs.nodes import Ino
    from mountd.vfs.table import NodeTable

# How often is looked, in seconds, and how many names the kernel is asked to forget at a time: it takes a lock for each.
INTERVAL, BATCH = 5.0, 20_000


class Bounds:
    """Keeps the names and nodes of one mount at about what is allowed.

    What must stay may be more: files that are open or that the store lacks, and directories that the kernel knows, as a
    program may work in them.

    Args:
        names, nodes_kept: how many of each are allowed.
        forget: tells the file system that the kernel gives back references to a node.
    """

    def __init__(
        self,
        nodes: NodeTable,
        kernel: Kernel,
        *,
        names: int,
        nodes_kept: int,
        freshness: float,
        forget: Callable[[int, int], None],
    ) -> None:
        self._nodes = nodes
        self._kernel = kernel
        self._names = names
        self._nodes_kept = nodes_kept
        self._freshness = freshness
        self._forget = forget

    def count(self) -> int:
        """Return how many names are kept."""
        return sum(len(d.entries) + d.catalog.end for d in self._directories())

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await trio.sleep(INTERVAL)
            await self._kernel.forget([*islice(self.trim(), BATCH)])

    def trim(self) -> Iterator[tuple[Ino, bytes]]:
        """Let go of what is too much, and yield what the kernel has to forget first: directory and name."""
        yield from self._trim_nodes(len(self._nodes) - self._nodes_kept)
        if self.count() > self._names:
            yield from self._trim_names()

    def _trim_nodes(self, excess: int) -> Iterator[tuple[Ino, bytes]]:
        """Let go of files that nobody has open, the ones that were met first."""
        for node in self._nodes if excess > 0 else ():
            if excess <= 0:
                return
            if not isinstance(node, File) or node.opens or node.dirty:
                continue
            excess -= 1
            if node.lookups <= 0:  # the kernel never heard of it
                self._forget(node.ino, 0)
            else:
                yield from ((directory.ino, name) for directory, name in node.places())

    def _trim_names(self) -> Iterator[tuple[Ino, bytes]]:
        directories = sorted(self._directories(), key=_last_listed)
        for directory in directories:
            self._forget_absences(directory)
        excess = self.count() - self._names
        for directory in directories:
            if excess <= 0:
                return
            if not _is_in_use(directory) and not self._nodes.numbers.known_in(directory):
                excess -= directory.catalog.end
                _forget_listing(directory)
        yield from self._forgettable(directories, excess)

    def _directories(self) -> Iterator[Directory]:
        return (node for node in self._nodes if isinstance(node, Directory))

    def _forget_absences(self, directory: Directory) -> None:
        """Drop what is known not to exist, unless that says more than a listing that is in use."""
        now = trio.current_time()
        since = min((each.at for each in (directory.listing, directory.coming) if each is not None), default=now)
        for name, entry in list(directory.entries.items()):
            if entry.node is None and entry.checked + self._freshness < now and entry.changed < since:
                del directory.entries[name]

    def _forgettable(self, directories: list[Directory], most: int) -> Iterator[tuple[Ino, bytes]]:
        """Yield about `most` names of files that the kernel knows and nobody has open: whole directories, to let go."""
        for directory in directories:
            if most <= 0:
                return
            for name in (*self._resting_files(directory), *self._numbered_files(directory)):
                most -= 1
                yield directory.ino, name

    def _resting_files(self, directory: Directory) -> Iterator[bytes]:
        for name, entry in directory.entries.items():
            if isinstance(entry.node, File) and not entry.node.opens and not entry.node.dirty:
                yield name

    def _numbered_files(self, directory: Directory) -> Iterator[bytes]:
        for slot in self._nodes.numbers.known_in(directory):
            if not directory.catalog.is_folder(slot):
                yield directory.catalog.name(slot)


def _last_listed(directory: Directory) -> float:
    return max((each.at for each in (directory.listing, directory.coming) if each is not None), default=NEVER)


def _is_in_use(directory: Directory) -> bool:
    coming = directory.coming
    return directory.is_moving or directory.opens > 0 or (coming is not None and coming.lock.locked())


def _forget_listing(directory: Directory) -> None:
    directory.catalog = Catalog()
    directory.listing = directory.coming = None
