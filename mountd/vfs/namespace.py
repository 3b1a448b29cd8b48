"""Names to nodes: what a name leads to now, asking the store as seldom as `--freshness` allows.

One listing page vouches for a thousand names, so a directory in use is revalidated by listing it, ahead of need and one
listing at a time; only a directory too large for that is asked about name by name. What a listing says holds for
`--freshness` from its end: of a directory whose listing takes L seconds, what is looked at is at most freshness + L old
(`Listing.span`). Only an `open` of a file is strict: it asks about a name of which nothing was heard within
`--freshness`. What this mount itself changed counts as known from that moment on, and answers to requests that began
before it are ignored for that name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from mountd.errors import NotADirectory, NotFound, Unavailable
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore
from mountd.vfs.catalog import NEVER, raw_of
from mountd.vfs.lister import Lister, settled
from mountd.vfs.names import child_key, is_twin, name_of, plain
from mountd.vfs.nodes import Directory, Entry, File, Node
from mountd.vfs.sidecar import is_hidden
from mountd.writeback.parallel import gather
from mountd.writeback.pending import Pending

if TYPE_CHECKING:
    from mountd.vfs.catalog import Fact
    from mountd.vfs.keeper import Keeper
    from mountd.vfs.listing import Listing
    from mountd.vfs.table import NodeTable


class Missing:
    """The store has nothing under a name."""


MISSING = Missing()
NOTHING = Entry()

# Of a directory of more pages nobody waits for a listing who only wants to know of one name.
WAITED = 20

# What is known of a name: its entry, where it has one, or else its slot in the directory's catalog.
Known = Entry | int


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
        pending: what this machine has acknowledged and the store does not have.
    """

    def __init__(
        self,
        store: ObjectStore,
        nodes: NodeTable,
        keeper: Keeper,
        *,
        freshness: float,
        nursery: trio.Nursery,
        pending: Pending | None = None,
    ) -> None:
        self._pending = pending if pending is not None else Pending()
        self._store = store
        self.nodes = nodes
        self.keeper = keeper
        self.freshness = freshness
        self._nursery = nursery
        self.lister = Lister(store, nodes, keeper, nursery=nursery, completed=self._reconcile_known)

    async def lookup(self, directory: Directory, name: bytes, *, strictly: bool = False) -> Node | None:
        """Return the node that `name` leads to, `None` for nothing. Raises NameTooLong and errors of the store.

        `strictly`: what was heard of the name more than `freshness` ago does not count, however long a listing takes.
        """
        known = await self._known(directory, name, strictly=strictly)
        return known.node if isinstance(known, Entry) else self.adopt(directory, known)

    async def glance(self, directory: Directory, name: bytes) -> Node | None:
        """Like `lookup`, for a caller that tells of the node before anything else happens, and does not keep it."""
        known = await self._known(directory, name)
        return known.node if isinstance(known, Entry) else self.shown(directory, name, known)

    async def _known(self, directory: Directory, name: bytes, *, strictly: bool = False) -> Known:
        child_key(directory.key, name)
        if is_hidden(name):
            return NOTHING
        await self.settled(directory)
        known = self._fresh(directory, name, self.freshness if strictly else self.holds(directory))
        return await self._ask(directory, name, strictly=strictly) if known is None else known

    def holds(self, directory: Directory) -> float:
        """Return the seconds for which an answer of the store about a name in a directory is taken to hold."""
        if self.freshness <= 0:
            return 0.0
        listing, coming = directory.listing, directory.coming
        span = listing.span(self.freshness) if listing is not None else 0.0
        if coming is not None and coming.pages:
            span = max(span, coming.span(self.freshness))
        return self.freshness + span

    def adopt(self, directory: Directory, slot: int) -> Node:
        """Return the node for a name in the catalog, made to be kept, with the number that the kernel knows."""
        name = directory.catalog.name(slot)
        checked, heard = directory.catalog.checked[slot], directory.catalog.heard[slot]
        entry = directory.entry(name)
        entry.node = self._make(directory, name, directory.catalog.fact(slot, directory.key))
        entry.checked, entry.heard = checked, heard
        return entry.node

    def shown(self, directory: Directory, name: bytes, slot: int, key: Key | None = None) -> Node:
        """Return a node for a name in the catalog only to be looked at; `key`: the directory's, where it is at hand."""
        catalog = directory.catalog
        fact = catalog.fact(slot, directory.key if key is None else key)
        node = self.keeper.shown(directory, name, fact, self.nodes.numbers.assign(directory, slot))
        if node is None:
            return self.adopt(directory, slot)
        node.listed_at = catalog.heard[slot]
        return node

    def _make(self, directory: Directory, name: bytes, fact: Fact) -> Node:
        slot = directory.catalog.find(name)
        ino = lookups = 0
        if slot is not None and directory.catalog.has(slot, fact):
            ino, lookups = self.nodes.numbers.take(directory, slot)
        if fact is None:
            node: Node = self.keeper.directory(directory, name, ino)
        else:
            node = self.keeper.file(directory, name, fact, ino)
        if node.ino == ino:
            node.lookups += lookups
        return node

    async def existing(self, directory: Directory, name: bytes) -> Node:
        """Like `lookup`; raises NotFound for nothing."""
        node = await self.lookup(directory, name)
        if node is None:
            raise NotFound(f"{child_key(directory.key, name)}: no such file or directory")
        return node

    async def current(self, node: Node, *, strictly: bool = True) -> bool:
        """Tell whether the node is still what its name leads to, as far as `freshness` demands to know.

        `strictly`: as `open` promises; else for somebody who only looks.
        """
        while node.parent is not None and not node.unlinked:
            parent, name = node.parent, node.name
            try:
                if await self.lookup(parent, name, strictly=strictly) is node:
                    return True
            except NotADirectory:
                return False
            if (node.parent, node.name) == (parent, name):
                return False
            # The name leads elsewhere by now, but the file has another one.
        return not node.displaced

    def is_fresh(self, node: Node) -> bool:
        """Tell whether what the name of a node leads to is known as well as `open` promises, whatever that is."""
        parent = node.parent
        if parent is None or node.unlinked or parent.is_moving:
            return True
        return self._heard_since(parent, node.name, trio.current_time() - self.freshness) is not None

    def found(self, node: File, info: ObjectInfo, at: float) -> bool:
        """Take over what a request that began at `at` has found under a file's name; tell whether it still has that."""
        parent = node.parent
        if parent is None or node.unlinked or parent.is_moving or node.key != info.key:
            return False
        known = self._reconcile(parent, node.name, info, at)
        return isinstance(known, Entry) and known.node is node

    def valid_for(self, node: Node) -> float:
        """Return the seconds for which the kernel may take node and name as they are."""
        if node.parent is None:
            return self.freshness
        heard = node.listed_at
        if heard is None:
            entry = node.parent.entries.get(node.name)
            if entry is None or entry.node is not node:
                return 0.0
            heard = entry.vouched
        remaining = self._remaining(node.parent, heard)
        if not isinstance(node, Directory) or not 0 < self.freshness < math.inf:
            return remaining
        # A directory in use is met again and again on the way to what is in it. The kernel asks early enough for the
        # listing to be renewed in the background.
        early = self.holds(node.parent) - self._renewed_after(node.parent)
        return remaining - early if remaining > early else remaining

    def _remaining(self, directory: Directory, heard: float) -> float:
        """Return the seconds for which the kernel may rely on what was heard of a name then."""
        return max(0.0, heard + self.holds(directory) - trio.current_time())

    def absent_for(self, directory: Directory, name: bytes) -> float:
        """Return the seconds for which the kernel may take it that `name` does not exist."""
        entry = directory.entries.get(name)
        if entry is not None:
            return self._remaining(directory, entry.vouched) if entry.node is None else 0.0
        return self._remaining(directory, self._unlisted_at(directory, name))

    def absent_since(self, directory: Directory, name: bytes) -> float:
        """Return since when it is known that a name, looked up just now, leads to nothing; NEVER where that is not."""
        entry = directory.entries.get(name)
        if entry is not None:
            return entry.vouched if entry.node is None else NEVER
        return self._unlisted_at(directory, name)

    def _unlisted_at(self, directory: Directory, name: bytes) -> float:
        """Return when a listing was asked that does not have a name; of the one under way as far as it has come.

        Where a service lists in no order, only a complete listing says what is not there.
        """
        listing, coming = directory.listing, directory.coming
        if listing is None:
            return NEVER
        raw = raw_of(plain(name))
        if coming is None or not listing.orderly or coming.at <= listing.at:
            return listing.absent_at(raw)
        return max(listing.absent_at(raw), coming.absent_at(raw))

    def expire(self, directory: Directory, name: bytes) -> None:
        """Have the store asked about a name at the next use."""
        directory.entry(name).doubt()
        slot = directory.catalog.find(name)
        if slot is not None:
            directory.catalog.doubt(slot)
        directory.listing = directory.coming = None

    def expire_key(self, key: Key) -> None:
        """Have the store asked about a key at the next use of its name, if anything is known of that."""
        at: Node | None = self.nodes.root
        *parents, last = (name_of(part) for part in key.rstrip("/").split("/"))
        for name in parents:
            entry = at.entries.get(name) if isinstance(at, Directory) and name is not None else None
            at = entry.node if entry is not None else None
        if isinstance(at, Directory) and last is not None:
            self.expire(at, last)

    async def settled(self, directory: Directory) -> None:
        """Wait until no directory above is being renamed."""
        await settled(directory)

    def _fresh(self, directory: Directory, name: bytes, holds: float) -> Known | None:
        """Return what is known well enough, not heard more than `holds` seconds ago, or `None`."""
        now = trio.current_time()
        known = self._heard_since(directory, name, now - holds)
        if known is not None:
            directory.used += 1
            self._ahead_of_need(directory, now)
        return known

    def _heard_since(self, directory: Directory, name: bytes, since: float) -> Known | None:
        entry = directory.entries.get(name)
        if entry is not None and (entry.vouched > since or self._is_ours(directory, name, entry.node)):
            return entry
        catalog = directory.catalog
        slot = catalog.find(name)
        if slot is not None and catalog.heard[slot] > since:
            return slot if entry is None else self._reconcile_slot(directory, name, slot)
        if slot is None and (heard := self._unlisted_at(directory, name)) > since:
            return NOTHING if entry is None else self._reconcile(directory, name, MISSING, heard)
        return None

    def _ahead_of_need(self, directory: Directory, now: float) -> None:
        """Renew the listing of a directory in use before it is too old, so that nobody has to wait for it.

        In use: about two answers for each request that the listing costs, the one now included.
        """
        listing = directory.listing
        if listing is None or directory.used < 2 * listing.pages - 1 or not 0 < self.freshness < math.inf:
            return
        if listing.at + self._renewed_after(directory) <= now:
            directory.used = 0
            self.lister.renew(directory, newer_than=listing.at)

    def _renewed_after(self, directory: Directory) -> float:
        """Return the seconds after which the listing of a directory that is in use is renewed: less than it holds."""
        span = self.holds(directory) - self.freshness
        return max(self.freshness * 0.75, span + self.freshness / 2)

    async def _ask(self, directory: Directory, name: bytes, *, strictly: bool) -> Known:
        started = trio.current_time()
        try:
            return await self._ask_store(directory, name, strictly=strictly)
        except Unavailable:
            kept = self._pending.latest(child_key(directory.key, name))
            if kept is None or kept.leaves == ABSENT:
                raise
            return self._reconcile(directory, name, kept.info, started)

    async def _ask_store(self, directory: Directory, name: bytes, *, strictly: bool) -> Known:
        asked = trio.current_time()
        holds = self.freshness if strictly else self.holds(directory)
        pages, listing = self.lister.pages(directory), directory.listing
        # A listing that takes longer than it holds would be asked for again and again.
        lasting = not strictly or listing is None or listing.lasted < self.freshness
        if self.freshness > 0 and lasting and worth_listing(pages, directory.probes):
            if pages <= WAITED:
                # The first page of an unknown directory says whether it is small; if not, single names are asked for.
                found = await self._list_for(directory, name, newer_than=asked - holds, limit=2 * pages or 1)
                if found is not None:
                    return found
            else:
                self.lister.renew(directory, newer_than=asked - holds)
        directory.probes += 1
        started = trio.current_time()
        fact = await self._probe(directory, name)
        return self._reconcile(directory, name, fact, started)

    async def _list_for(self, directory: Directory, name: bytes, *, newer_than: float, limit: int) -> Known | None:
        """List a directory as far as that tells of a name; `None` when it takes more than `limit` pages."""

        def heard() -> bool:
            slot = directory.catalog.find(name)
            return slot is not None and directory.catalog.heard[slot] > newer_than

        listing = await self.lister.whole(directory, newer_than=newer_than, limit=limit, enough=heard)
        slot = directory.catalog.find(name)
        if slot is not None and (listing is not None or heard()):
            return self._reconcile_slot(directory, name, slot)
        return self._reconcile(directory, name, MISSING, listing.at) if listing is not None else None

    async def _probe(self, directory: Directory, name: bytes) -> Fact | Missing:
        """Ask whether a name is an object, a directory or nothing, and what is said of it: all requests at once.

        Of what was an object when it was last heard of, whether it is a directory is asked only where it is none now.
        """
        key = child_key(directory.key, name)
        entry, slot = directory.entries.get(name), directory.catalog.find(name)
        known = entry.node if entry is not None else None
        was_object = isinstance(known, File) or (
            known is None and slot is not None and not directory.catalog.is_folder(slot)
        )
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
            await self.keeper.load_name(directory, name, newer_than=trio.current_time() - self.holds(directory))

        if was_object:
            await gather(stat, load_attributes)
        else:
            await gather(*([] if is_twin(name) else [stat]), list_below, load_attributes)
        if found:
            return found[0]
        if was_object:
            await list_below()
        return None if any(below) else MISSING

    async def listed(self, directory: Directory) -> Listing:
        """Return a listing no older than `freshness`, of which the first page is there."""
        await self.settled(directory)
        directory.used += 1
        return await self.lister.begun(directory, newer_than=trio.current_time() - self.holds(directory))

    def _reconcile_known(self, directory: Directory, listing: Listing) -> None:
        """Bring what has a node in line with a complete listing.

        Names that lead somewhere, have not been changed here, and of which nothing else is said than before, are left
        to whoever asks for them: to go through thousands each second would take longer than to list them.
        """
        catalog, entries = directory.catalog, directory.entries
        news = catalog.news(listing.sidecar.version if listing.sidecar is not None else "")
        before, catalog.in_line = catalog.in_line, listing.at
        for name, entry in list(entries.items()):
            if news is not None and name not in news and entry.node is not None and entry.changed < before:
                continue
            slot = catalog.find(name)
            if slot is not None:
                self._reconcile_slot(directory, name, slot)
            else:
                self._reconcile(directory, name, MISSING, listing.absent_at(raw_of(plain(name))))
            if entry.node is None and entry.changed < listing.at:
                del entries[name]  # the listing says so as well

    def _reconcile_slot(self, directory: Directory, name: bytes, slot: int) -> Known:
        catalog = directory.catalog
        fact, heard = catalog.fact(slot, directory.key), catalog.heard[slot]
        return self._reconcile(directory, name, fact, catalog.checked[slot], heard=heard)

    def _reconcile(
        self, directory: Directory, name: bytes, fact: Fact | Missing, at: float, *, heard: float = NEVER
    ) -> Known:
        """Bring what is known of a name in line with what the store said in a listing or answer that began at `at`.

        `heard`: when the page of the listing was asked for that said so, which is what counts.
        """
        asked = max(at, heard)
        entry = directory.entries.get(name)
        if entry is None:
            if not isinstance(fact, Missing) and not is_twin(name):
                return self._catalogued(directory, name, fact, at, heard=heard)
            entry = directory.entry(name)
        if entry.changed >= asked or entry.vouched >= asked or self._is_ours(directory, name, entry.node):
            return entry
        if isinstance(fact, Missing):
            self._lose(entry.node, directory, name)
            entry.node = None
        elif fact is None:
            if not isinstance(entry.node, Directory):
                self._lose(entry.node, directory, name)
                entry.node = self._make(directory, name, None)
        elif not (isinstance(entry.node, File) and self.keeper.same(entry.node, directory, name, fact)):
            self._lose(entry.node, directory, name)
            entry.node = self._make(directory, name, fact)
        entry.checked, entry.heard = at, heard
        return entry

    def _catalogued(self, directory: Directory, name: bytes, fact: Fact, at: float, *, heard: float) -> int:
        catalog = directory.catalog
        known = catalog.find(name)
        if known is not None and catalog.checked[known] < at and catalog.is_folder(known) != (fact is None):
            catalog.drop(known)  # an object where there was a directory, or the other way round
        raw = raw_of(plain(name))
        return catalog.put(raw + b"/" if fact is None else raw, fact, at, heard=heard)

    def _lose(self, node: Node | None, directory: Directory, name: bytes) -> None:
        """The name leads elsewhere by now. A file with other names lives on under those."""
        directory.unlisted.discard(node)
        if isinstance(node, File) and node.others:
            node.remove_name(directory, name)

    def own_names(self, directory: Directory, listing: Listing) -> list[bytes]:
        """Return what is in the directory and not in a complete listing: what this mount has changed since it began."""
        catalog = directory.catalog
        found = {
            name
            for name, entry in directory.entries.items()
            if entry.node is not None and (self._is_ours(directory, name, entry.node) or entry.changed >= listing.at)
        }
        if listing.catalog is catalog:
            found |= {catalog.name(slot) for slot in catalog.slots(since=listing.end)}
        if not found:
            return []
        listed = listing.members()
        return sorted(n for n in found if not any(slot in listed for slot in listing.catalog.all_slots(n)))

    def told(self, directory: Directory, listing: Listing, slot: int, key: Key) -> tuple[bytes, Node] | None:
        """Return name and node for a slot of a listing, to be looked at; `None` when it is gone by now."""
        name = listing.catalog.name(slot)
        same = listing.catalog is directory.catalog and directory.catalog.is_alive(slot)
        if same and name not in directory.entries:
            return name, self.shown(directory, name, slot, key)
        node = self.look(directory, name)
        return None if node is None else (name, node)

    def look(self, directory: Directory, name: bytes) -> Node | None:
        """Return what is known of a name, however old it is, to be looked at."""
        slot = directory.catalog.find(name)
        known: Known | None = slot
        if name in directory.entries:
            known = directory.entries[name] if slot is None else self._reconcile_slot(directory, name, slot)
        if isinstance(known, Entry):
            return known.node
        return None if known is None else self.shown(directory, name, known)

    def _is_ours(self, directory: Directory, name: bytes, node: Node | None) -> bool:
        """Whether what this mount has of a name goes before what the store says."""
        if not isinstance(node, File) or node.unlinked:
            return False
        if node.dirty or not len(self._pending):
            return node.dirty
        info = node.info_at(directory, name)
        return info is not None and self._pending.made(info.key, info.version) is not None
