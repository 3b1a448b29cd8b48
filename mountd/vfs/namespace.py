"""Names to nodes: what a name leads to now, asking the store as seldom as `--freshness` allows.

One listing page vouches for a thousand names, so a directory in use is revalidated by listing it, ahead of need; only a
directory too large for that is asked about name by name. What this mount itself changed counts as known from that
moment on, and answers to requests that began before it are ignored for that name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from mountd.errors import MountdError, NotADirectory, NotFound
from mountd.objects.interface import Key, ListPage, ObjectInfo, ObjectStore
from mountd.vfs.names import child_key, is_twin, last_component, name_of, twin
from mountd.vfs.nodes import NEVER, Directory, Entry, File, Listing, Node, NodeTable
from mountd.vfs.sidecar import is_hidden, key_in
from mountd.writeback.parallel import gather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.vfs.keeper import Keeper

Fact = ObjectInfo | None  # None: a directory


class Missing:
    """The store has nothing under a name."""


MISSING = Missing()


def worth_listing(pages: int, probes: int) -> bool:
    """Tell whether listing a whole directory is cheaper than asking about one more name.

    A name costs two requests (is it an object, is it a prefix), a listing one for every thousand names. A directory
    whose names are asked for one after the other is listed once the questions have cost half as much.
    """
    return pages <= 1 or probes * 4 >= pages


class Namespace:
    """The tree of names.

    Args:
        keeper: makes nodes with their attributes.
        freshness: seconds for which an answer of the store is taken to hold.
    """

    def __init__(
        self, store: ObjectStore, nodes: NodeTable, keeper: Keeper, *, freshness: float, nursery: trio.Nursery
    ) -> None:
        self._store = store
        self.nodes = nodes
        self.keeper = keeper
        self.freshness = freshness
        self._nursery = nursery
        self._pages: dict[Key, int] = {}

    async def lookup(self, directory: Directory, name: bytes) -> Node | None:
        """Return the node that `name` leads to, `None` for nothing. Raises NameTooLong and errors of the store."""
        child_key(directory.key, name)
        if is_hidden(name):
            return None
        await self.settled(directory)
        entry = self._fresh(directory, name)
        if entry is None:
            entry = await self._ask(directory, name)
        return entry.node

    async def existing(self, directory: Directory, name: bytes) -> Node:
        """Like `lookup`; raises NotFound for nothing."""
        node = await self.lookup(directory, name)
        if node is None:
            raise NotFound(f"{child_key(directory.key, name)}: no such file or directory")
        return node

    async def current(self, node: Node) -> bool:
        """Tell whether the node is still what its name leads to, as far as `freshness` demands to know."""
        while node.parent is not None and not node.unlinked:
            parent, name = node.parent, node.name
            try:
                if await self.lookup(parent, name) is node:
                    return True
            except NotADirectory:
                return False
            if (node.parent, node.name) == (parent, name):
                return False
            # The name leads elsewhere by now, but the file has another one.
        return True

    def valid_for(self, node: Node) -> float:
        """Return the seconds for which the kernel may take node and name as they are."""
        if node.parent is None:
            return self.freshness
        entry = node.parent.entries.get(node.name)
        return self.remaining(entry) if entry is not None and entry.node is node else 0.0

    def remaining(self, entry: Entry) -> float:
        """Return the seconds for which the kernel may rely on an entry."""
        return max(0.0, entry.checked + self.freshness - trio.current_time())

    def absent_for(self, directory: Directory, name: bytes) -> float:
        """Return the seconds for which the kernel may take it that `name` does not exist."""
        entry = directory.entries.get(name)
        return self.remaining(entry) if entry is not None and entry.node is None else 0.0

    def expire(self, directory: Directory, name: bytes) -> None:
        """Have the store asked about a name at the next use."""
        directory.entry(name).checked = NEVER
        directory.listing = None

    async def settled(self, directory: Directory) -> None:
        """Wait until no directory above is being renamed."""
        at: Directory | None = directory
        while at is not None:
            if at.moving is not None:
                await at.moving.wait()
                at = directory
            else:
                at = at.parent

    def _fresh(self, directory: Directory, name: bytes) -> Entry | None:
        """Return what is known well enough, or `None`."""
        now = trio.current_time()
        entry = directory.entries.get(name)
        if entry is not None and (_local(entry.node) or entry.checked + self.freshness > now):
            self._ahead_of_need(directory, now)
            return entry
        listing = directory.listing
        if listing is not None and listing.at + self.freshness > now:
            directory.used += 1
            self._ahead_of_need(directory, now)
            return self._reconcile(directory, name, listing.facts.get(name, MISSING), listing.at)
        return None

    def _ahead_of_need(self, directory: Directory, now: float) -> None:
        """Renew the listing of a directory in use before it is too old, so that nobody has to wait for it."""
        listing = directory.listing
        if listing is None or math.isinf(self.freshness) or listing.at + self.freshness / 2 > now:
            return
        # Used by more than a passer-by, and small enough that asking again and again is a small load.
        if directory.used >= 2 and listing.pages <= 10 and not directory.listing_lock.locked():
            directory.used = 0
            self._nursery.start_soon(self._renew, directory)

    async def _renew(self, directory: Directory) -> None:
        try:
            await self._list(directory, newer_than=trio.current_time() - self.freshness / 2)
        except MountdError:
            return  # whoever needs the listing will ask again and get the error

    async def _ask(self, directory: Directory, name: bytes) -> Entry:
        pages = directory.listing.pages if directory.listing else self._pages.get(directory.key, 0)
        if self.freshness > 0 and worth_listing(pages, directory.probes):
            # The first page of an unknown directory says whether it is small; if not, single names are asked for.
            limit = 2 * pages or 1
            listing = await self._list(directory, newer_than=trio.current_time() - self.freshness, limit=limit)
            if listing is not None:
                return self._reconcile(directory, name, listing.facts.get(name, MISSING), listing.at)
        directory.probes += 1
        started = trio.current_time()
        fact = await self._probe(directory, name)
        return self._reconcile(directory, name, fact, started)

    async def _probe(self, directory: Directory, name: bytes) -> Fact | Missing:
        """Ask whether a name is an object, a directory or nothing, and what is said of it: all requests at once."""
        key = child_key(directory.key, name)
        found: list[ObjectInfo] = []
        below: list[bool] = []

        async def stat() -> None:
            try:
                found.append(await self._store.stat(key))
            except NotFound:
                return

        async def list_below() -> None:
            page = await self._store.list_page(Key(key + "/"), limit=1)
            below.append(bool(page.objects or page.prefixes))

        async def load_attributes() -> None:
            await self.keeper.load_name(directory, name, newer_than=trio.current_time() - self.freshness)

        await gather(*([] if is_twin(name) else [stat]), list_below, load_attributes)
        if found:
            return found[0]
        return None if any(below) else MISSING

    async def list_all(self, directory: Directory) -> Listing:
        """Return a listing no older than `freshness`."""
        await self.settled(directory)
        now = trio.current_time()
        if directory.listing is not None and directory.listing.at + self.freshness > now:
            directory.used += 1
            return directory.listing
        listing = await self._list(directory, newer_than=now - self.freshness)
        assert listing is not None  # no limit was given
        return listing

    async def _list(self, directory: Directory, *, newer_than: float, limit: int | None = None) -> Listing | None:
        """List the directory, once for all who ask at the same time; `None` when it has more than `limit` pages."""
        async with directory.listing_lock:
            done = directory.listing
            if done is not None and done.at > newer_than:
                return done
            key, started = directory.key, trio.current_time()
            listing = await self._read_pages(key, started, limit)
            if listing is None:
                self._pages[key] = max(self._pages.get(key, 0), (limit or 1) * 2)
            else:
                await self.keeper.refresh(directory, listing.sidecar, at=started)
                directory.listing, directory.probes, directory.used = listing, 0, 0
                self._pages.pop(key, None)
                self._reconcile_known(directory, listing)
            return listing

    async def _read_pages(self, key: Key, started: float, limit: int | None) -> Listing | None:
        listing = Listing({}, marker=not key, at=started, pages=0)
        folders: set[bytes] = set()
        cursor = None
        while True:
            page = await self._store.list_page(key, cursor=cursor)
            listing.pages += 1
            _add_page(listing, folders, key, page)
            cursor = page.cursor
            if cursor is None:
                _add_folders(listing, folders)
                return listing
            if limit is not None and listing.pages >= limit:
                return None

    def _reconcile_known(self, directory: Directory, listing: Listing) -> None:
        for name, entry in list(directory.entries.items()):
            self._reconcile(directory, name, listing.facts.get(name, MISSING), listing.at)
            if entry.node is None and entry.changed < listing.at:
                del directory.entries[name]  # the listing says so as well

    def node_for(self, directory: Directory, name: bytes, listing: Listing) -> Node | None:
        """Return the node for a name in a listing."""
        return self._reconcile(directory, name, listing.facts.get(name, MISSING), listing.at).node

    def _reconcile(self, directory: Directory, name: bytes, fact: Fact | Missing, at: float) -> Entry:
        """Bring an entry in line with what the store said in answer to a request that began at `at`."""
        entry = directory.entry(name)
        if entry.changed >= at or entry.checked >= at or _local(entry.node):
            return entry
        if isinstance(fact, Missing):
            self._lose(entry.node, directory, name)
            entry.node = None
        elif fact is None:
            if not isinstance(entry.node, Directory):
                self._lose(entry.node, directory, name)
                entry.node = self.keeper.directory(directory, name)
        elif not (isinstance(entry.node, File) and self.keeper.same(entry.node, directory, name, fact)):
            self._lose(entry.node, directory, name)
            entry.node = self.keeper.file(directory, name, fact)
        entry.checked = at
        return entry

    def _lose(self, node: Node | None, directory: Directory, name: bytes) -> None:
        """The name leads elsewhere by now. A file with other names lives on under those."""
        if isinstance(node, File) and node.others:
            node.remove_name(directory, name)

    def names(self, directory: Directory, listing: Listing) -> Iterator[bytes]:
        """Yield what is in the directory: the listing and what this mount has changed since it began."""
        for name in listing.facts:
            entry = directory.entries.get(name)
            if entry is None or entry.changed < listing.at or entry.node is not None:
                yield name
        for name, entry in list(directory.entries.items()):
            newer = _local(entry.node) or entry.changed >= listing.at
            if newer and name not in listing.facts and entry.node is not None:
                yield name


def _local(node: Node | None) -> bool:
    """Whether what this mount has of the node goes before what the store says."""
    return isinstance(node, File) and node.dirty and not node.unlinked


def _add_page(listing: Listing, folders: set[bytes], key: Key, page: ListPage) -> None:
    for info in page.objects:
        if info.key == key:
            listing.marker = True
            continue
        name = name_of(info.key[len(key) :])
        if name is not None and not is_hidden(name):
            listing.facts[name] = info
        elif info.key == key_in(key):
            listing.sidecar = info
    for prefix in page.prefixes:
        name = name_of(last_component(prefix[len(key) :]))
        if name is not None and not is_hidden(name):
            folders.add(name)


def _add_folders(listing: Listing, folders: set[bytes]) -> None:
    """Add the directories, once all objects are known: one beside a file of its name has another."""
    for name in folders:
        listing.facts[twin(name) if name in listing.facts else name] = None
