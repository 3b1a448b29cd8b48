"""Listing directories: pages are fetched when somebody reads them, once for all who read at the same time.

Nobody waits for pages that nobody reads: a reader that stops has caused the pages that it read and one more. A listing
that is read to its end becomes what is known of its directory.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

from mountd.errors import MountdError
from mountd.vfs.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from mountd.objects.interface import Key, ListPage, ObjectStore
    from mountd.vfs.keeper import Keeper
    from mountd.vfs.nodes import Directory
    from mountd.vfs.table import NodeTable


async def settled(directory: Directory) -> None:
    """Wait until neither the directory nor one above is being renamed, as far as that can be for the current task."""
    while (rename := _under_way(directory)) is not None:
        await rename.wait()


def _under_way(directory: Directory) -> trio.Event | None:
    """Return the end of a rename of the directory, or of one above, of which the current task might see a half.

    While it holds the lock of a directory, a rename of one above waits for it, and it must not wait for that.
    """
    at: Directory | None = directory
    while at is not None:
        if at.moving is not None and not _holds(directory, at):
            return at.moving
        at = at.parent
    return None


def _holds(directory: Directory, above: Directory) -> bool:
    """Tell whether the current task holds the lock of a directory, or of one between it and one `above`."""
    task = trio.lowlevel.current_task()
    at: Directory | None = directory
    while at is not None:
        if at.lock.statistics().owner is task:
            return True
        at = at.parent if at is not above else None
    return False


class Lister:
    """Lists the directories of one mount.

    Args:
        completed: told of each complete listing, once the catalog of its directory has nothing else.
    """

    def __init__(
        self,
        store: ObjectStore,
        nodes: NodeTable,
        keeper: Keeper,
        *,
        nursery: trio.Nursery,
        completed: Callable[[Directory, Listing], None],
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._keeper = keeper
        self._nursery = nursery
        self._completed = completed
        self._pages: dict[Key, int] = {}

    def pages(self, directory: Directory) -> int:
        """Return how many pages a listing of the directory has, as far as is known; 0 where nothing is."""
        return directory.listing.pages if directory.listing else self._pages.get(directory.key, 0)

    async def begun(self, directory: Directory, *, newer_than: float) -> Listing:
        """Return a listing that began after `newer_than`, of which the first page is there."""
        listing = self._begun(directory, newer_than=newer_than)
        while not listing.settled:
            await self.more(directory, listing)
        return listing

    async def more(self, directory: Directory, listing: Listing) -> None:
        """Add the next page to a listing, once for all who wait for it at the same time."""
        pages = listing.pages
        await settled(directory)
        async with listing.lock:
            if listing.pages == pages and not listing.read:
                await self._add_page(directory, listing)
            await self._settle(directory, listing)
            if listing.read and not listing.complete:
                await self._complete(directory, listing)

    async def _ahead(self, directory: Directory, listing: Listing) -> None:
        """Fetch the next page before somebody asks for it."""
        try:
            await self.more(directory, listing)
        except MountdError:
            return  # whoever needs the page will ask again and get the error

    async def _finish(self, directory: Directory, listing: Listing) -> None:
        """Read the rest of a listing while nobody waits for it."""
        if listing.finishing:
            return
        listing.finishing = True
        with contextlib.suppress(MountdError):  # whoever needs the rest will ask again and get the error
            while not listing.complete and directory.coming is listing:
                await self.more(directory, listing)
        listing.finishing = False

    def renew(self, directory: Directory, *, newer_than: float) -> None:
        """Have the directory listed while the caller goes on, unless a listing is being read in the background."""
        coming = directory.coming
        if coming is None or not (coming.finishing or coming.lock.locked()):
            self._nursery.start_soon(self._finish, directory, self._begun(directory, newer_than=newer_than))

    def soon(self, directory: Directory, listing: Listing) -> None:
        """Have the next page fetched while the caller goes on."""
        if not listing.lock.locked():
            self._nursery.start_soon(self._ahead, directory, listing)

    async def _add_page(self, directory: Directory, listing: Listing) -> None:
        if listing.key != directory.key:  # it was renamed meanwhile: the names are the same, the pages are not
            other = await self.whole(directory, newer_than=trio.current_time())
            if other is not None:  # it never is without a limit
                listing.absorb(other)
            return
        started = listing.asked = trio.current_time()
        try:
            page = await self._page(listing)
        finally:
            listing.asked = None
        listing.arrived = trio.current_time()
        listing.lasted += listing.arrived - started
        if _under_way(directory) is not None or listing.key != directory.key:
            return  # the page may show half of what was there
        for slot in listing.add(page, asked=started):
            own = directory.entries.get(listing.catalog.name(slot)) if directory.entries else None
            if own is not None:
                directory.unlisted.discard(own.node)
                if own.node is None and own.changed >= started:
                    listing.catalog.drop(slot)  # removed here since the page was asked for

    async def _page(self, listing: Listing) -> ListPage:
        known = listing.known()
        page = await self._store.list_page(listing.key, cursor=listing.cursor, known=known)
        if page.unchanged and listing.known() != known:  # what it was compared with has changed meanwhile
            page = await self._store.list_page(listing.key, cursor=listing.cursor)
        return page

    async def _settle(self, directory: Directory, listing: Listing) -> None:
        """Know the attributes of what is in the directory before anybody is told of it."""
        state = self._keeper.sidecar(directory)
        if listing.settled and listing.sidecar is not None and listing.sidecar.version != state.version:
            if state.checked <= listing.at:  # it came late, from a service that does not list in order
                await self._keeper.load(directory)
        elif not listing.settled and listing.tells_sidecar:
            await self._keeper.refresh(directory, listing.sidecar, at=listing.at)
        elif not listing.settled and state.checked <= listing.at:
            await self._keeper.load(directory)
        listing.settled = True

    async def _complete(self, directory: Directory, listing: Listing) -> None:
        await self._keeper.refresh(directory, listing.sidecar, at=listing.at)
        listing.finish()
        if directory.coming is listing:
            directory.coming = None
        if listing.key != directory.key or (directory.listing is not None and directory.listing.at > listing.at):
            return
        if listing.catalog is not directory.catalog:  # what was known of the directory was let go meanwhile
            return
        directory.listing, directory.probes, directory.used = listing, 0, 0
        self._pages.pop(listing.key, None)
        listing.rule()
        self._completed(directory, listing)
        self._tidy(directory, listing)

    def _tidy(self, directory: Directory, listing: Listing) -> None:
        tidied = directory.catalog.tidied() if directory.coming is None else None
        if tidied is not None:
            directory.listing, directory.catalog = listing.moved(tidied), tidied
            self._nodes.numbers.moved(directory)

    def _begun(self, directory: Directory, *, newer_than: float) -> Listing:
        """Return a listing that began after `newer_than`: complete, under way, or a new one."""
        for known in (directory.listing, directory.coming):
            if known is not None and known.at > newer_than and known.key == directory.key:
                return known
        directory.coming = Listing(directory.key, directory.catalog, trio.current_time(), directory.listing)
        return directory.coming

    async def whole(
        self,
        directory: Directory,
        *,
        newer_than: float,
        limit: int | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> Listing | None:
        """List the directory, once for all who ask at the same time.

        `None` when it has more than `limit` pages, or once `enough` is true before it is complete: the rest is listed
        in the background then.
        """
        listing = self._begun(directory, newer_than=newer_than)
        while not listing.complete:
            if listing.pages and enough():
                self._nursery.start_soon(self._finish, directory, listing)
                return None
            if limit is not None and listing.pages >= limit and not listing.read:
                self._pages[listing.key] = max(self._pages.get(listing.key, 0), limit * 2)
                return None
            await self.more(directory, listing)
        return listing
