"""Open directories: each handle reads one snapshot, so entries neither repeat nor go missing while others change.

A snapshot is read while its pages still arrive, and handles that are opened at about the same time share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import BadHandle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.vfs.listing import Listing
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.nodes import Directory, Node


# Entries before the names: `.` and `..`.
DOTS = 2
# So many names the first answer to the kernel is expected to have.
FIRST = 32


class _Handle:
    """`own`: the names that this mount has added, which come last; known when all pages have been read.

    `taken`: how many names the kernel took with the last answer.
    """

    __slots__ = ("directory", "listing", "own", "taken")

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.listing: Listing | None = None
        self.own: list[bytes] | None = None
        self.taken = FIRST


class Directories:
    """The open directories of one mount. Positions are indices into the handle's snapshot."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._handles: dict[int, _Handle] = {}
        self._last = 0

    def open(self, directory: Directory) -> int:
        """Return a handle."""
        self._last += 1
        self._handles[self._last] = _Handle(directory)
        directory.opens += 1
        return self._last

    async def load(self, handle: int, position: int) -> None:
        """Make sure that what comes at `position` is there; reading from the beginning again takes a new snapshot.

        While a reader is in the last page that is there, the next one is fetched: nobody waits for pages that nobody
        reads, and a reader hardly ever waits for the next.
        """
        opened = self._get(handle)
        if opened.listing is None or position == 0:
            opened.listing, opened.own = await self._namespace.listed(opened.directory), None
        listing = opened.listing
        while not listing.complete and not any(True for _ in self._entries(opened, max(position, DOTS))):
            await self._namespace.lister.more(opened.directory, listing)
        if not listing.complete and position - DOTS >= listing.last_page:
            self._namespace.lister.soon(opened.directory, listing)
        if listing.complete and opened.own is None:
            opened.own = self._namespace.own_names(opened.directory, listing)
        # Comes last: nothing else happens between this and the showing.
        await self._namespace.keeper.ahead(opened.directory, self._upcoming(opened, listing, max(position - DOTS, 0)))

    def _upcoming(self, opened: _Handle, listing: Listing, at: int) -> Iterator[bytes]:
        """Yield the names of files that come next, about as many as the kernel takes."""
        catalog, slots = listing.catalog, listing.slots[at : at + opened.taken]
        return (catalog.name(slot) for slot in slots if not catalog.is_folder(slot))

    def entries(self, handle: int, position: int) -> Iterator[tuple[bytes, Node, int]]:
        """Yield name, node and next position from `position` on, as far as `load` has come.

        Names that are gone by now are left out. The nodes are to be looked at, and the kernel told of them, before
        anything else happens.
        """
        opened, taken = self._get(handle), 0
        try:
            for entry in self._entries(opened, position):
                yield entry
                taken += 1
        finally:
            opened.taken = taken + 1  # the last one may not have fitted in
            self._namespace.keeper.shown_all()

    def _entries(self, opened: _Handle, position: int) -> Iterator[tuple[bytes, Node, int]]:
        directory, listing = opened.directory, opened.listing
        assert listing is not None  # `load` comes first
        dots = ((b".", directory), (b"..", directory.parent or directory))
        for i, (name, above) in enumerate(dots):
            if i >= position:
                yield name, above, i + 1
        key = directory.key
        for i in range(max(0, position - DOTS), len(listing.slots)):
            found = self._namespace.told(directory, listing, listing.slots[i], key)
            if found is not None:
                yield *found, i + DOTS + 1
        first, own = DOTS + len(listing.slots), opened.own or []
        for i in range(max(0, position - first), len(own)):
            node = self._namespace.look(directory, own[i])
            if node is not None:
                yield own[i], node, first + i + 1

    def release(self, handle: int) -> None:
        """Close a handle."""
        opened = self._handles.pop(handle, None)
        if opened is not None:
            opened.directory.opens -= 1

    def directory(self, handle: int) -> Directory:
        """Return the directory of a handle. Raises BadHandle."""
        return self._get(handle).directory

    def _get(self, handle: int) -> _Handle:
        try:
            return self._handles[handle]
        except KeyError:
            raise BadHandle(f"no open directory has handle {handle}") from None
