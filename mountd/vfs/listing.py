"""One listing of a directory, page by page. Pure: whoever fetches the pages adds them.

What pages say of names goes into the directory's catalog; the listing itself is the order of the names. Services may
repeat a name on several pages, or list out of order: no name is in a listing twice.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_left
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import trio

from mountd.errors import StoreFailure
from mountd.vfs.catalog import NEVER
from mountd.vfs.names import name_of
from mountd.vfs.sidecar import is_hidden, key_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mountd.objects.interface import Key, ListPage, ObjectInfo
    from mountd.vfs.catalog import Catalog, Fact


# `ls -l` takes a second or two for ten thousand names, and looks at them again right afterwards.
READERS = 5


@dataclass(slots=True)
class _Page:
    """What stays of a page.

    Attributes:
        asked: when it was asked for. `digest`: the store's, of its entries.
        last: the greatest name so far; `stop`: how many names there are so far.
        marker, sidecar: whether it has those of the directory.
        passed: of the first page, whether it is in order, and goes beyond the place of a sidecar.
    """

    asked: float
    digest: bytes = b""
    last: bytes = b""
    stop: int = 0
    marker: bool = False
    sidecar: ObjectInfo | None = None
    passed: bool = False


class Listing:
    """What a listing that began at `at` has shown so far.

    Attributes:
        slots: of the names in the catalog, in the order of the service.
        pages, cursor: how many pages there are, and what continues them.
        last_page: where in `slots` the last page begins.
        read: whether all pages are there; `complete`: whether that has been taken over by the directory, too.
        orderly: whether no name has come after a greater one.
        finishing: whether the rest is being read in the background.
        marker: whether the directory has one.
        sidecar: the object with the attributes of what is in the directory.
        tells_sidecar: whether that is known to be there or not; `settled`: whether it has been looked at.
        end: the catalog's end at completion: what is made later is not in the listing.
        lasted: seconds that the service took for it.
        arrived: when the last page came; `asked`: when the one was asked for that has not come yet.

    Args:
        before: the listing before this one, of the same catalog: what it had on a page need not be read again.
    """

    def __init__(self, key: Key, catalog: Catalog, at: float, before: Listing | None = None) -> None:
        self.key = key
        self.catalog = catalog
        self.at = at
        self.slots = array("I")
        self.pages = self.last_page = self.end = 0
        self.cursor: str | None = None
        self.read = self.complete = self.tells_sidecar = self.settled = self.finishing = False
        self.sidecar: ObjectInfo | None = None
        self.marker = not key
        self.lasted = 0.0
        self.arrived = at
        self.asked: float | None = None
        self.lock = trio.Lock()
        self.orderly = True
        self._before = before
        self._edits: int | None = catalog.edits  # as the last page left them; None once there were others between pages
        self._kept: list[_Page] = []
        self._cursors: set[str] = set()
        self._last = b""
        self._members: set[int] | None = None  # kept once the service is known to list out of order

    @classmethod
    def of_nothing(cls, key: Key, catalog: Catalog, at: float) -> Listing:
        """Return a complete listing of a directory that has just been made, and was not there at `at`."""
        new = cls(key, catalog, at)
        new.pages = 1
        new.read = new.tells_sidecar = new.settled = new.complete = new.marker = True
        return new

    def span(self, freshness: float) -> float:
        """Return the seconds for which the listing went on so far.

        For so much longer than `freshness` what it says holds: a page is not old before the last one has come. What
        readers took between the pages counts up to `READERS` times `freshness`.
        """
        waiting = trio.current_time() - self.asked if self.asked is not None else 0.0
        elapsed = self.arrived - self.at if self.asked is None else trio.current_time() - self.at
        return min(elapsed, self.lasted + waiting + READERS * freshness)

    def add(self, page: ListPage, *, asked: float) -> Sequence[int]:
        """Take over a page, asked for at `asked`, and return the slots that are new.

        Raises StoreFailure when the service goes in circles.
        """
        self._continue(page.cursor)
        self.last_page = len(self.slots)
        with self._editing():
            kept = self._take_again(asked) if page.unchanged else self._take(page, asked)
        self._kept.append(kept)
        self.pages += 1
        self.marker |= kept.marker
        self.sidecar = kept.sidecar or self.sidecar
        # The sidecar's name is the smallest but for few. Where an orderly page has gone past it, it is not there.
        if self.pages == 1:
            self.tells_sidecar = self.read or self.sidecar is not None or kept.passed
        return self.slots[self.last_page :]

    def known(self) -> bytes:
        """Return the digest of the next page as it was in the listing before, as long as all of it holds still."""
        before = self._before
        if before is None or before.catalog is not self.catalog or not (before.orderly and self.orderly):
            return b""
        same = before._edits == self._edits == self.catalog.edits
        return before._kept[self.pages].digest if same and self.pages < len(before._kept) else b""

    def _take(self, page: ListPage, asked: float) -> _Page:
        kept = _Page(asked, page.digest, passed=not self.pages and self._passed(page))
        for raw, fact in sorted(self._named(page, kept), key=itemgetter(0)):
            self._add(raw, fact, asked)
        kept.last, kept.stop = self._last, len(self.slots)
        return kept

    def _take_again(self, asked: float) -> _Page:
        """Take over the next page from the listing before: see `known`."""
        before = self._before
        assert before is not None  # nothing else would have been known
        kept = before._kept[self.pages]
        slots = before.slots[before._kept[self.pages - 1].stop if self.pages else 0 : kept.stop]
        self.catalog.confirm(slots, self.at, heard=asked)
        self.slots.extend(slots)
        self._last = max(self._last, kept.last)
        return replace(kept, asked=asked, last=self._last, stop=len(self.slots))

    @contextlib.contextmanager
    def _editing(self) -> Iterator[None]:
        """Tell edits of the catalog by this listing from others, after which it says something else than the pages."""
        alone = self._edits == self.catalog.edits
        yield
        self._edits = self.catalog.edits if alone else None

    def absent_at(self, raw: bytes) -> float:
        """Return when the page was asked for that would have a name, NEVER as long as that has not come."""
        if not self.complete and (not self.orderly or self._last < raw + b"/"):
            return NEVER
        if not self.orderly or not self._kept:
            return self.at
        page = bisect_left(self._kept, raw, key=attrgetter("last"))
        return self._kept[min(page, len(self._kept) - 1)].asked

    def absorb(self, other: Listing) -> None:
        """Take the names that are missing here from a complete listing, and be complete."""
        members = self.members()
        slots = [self.catalog.take_over(slot, other.catalog) for slot in other.slots]
        self.slots.extend(slot for slot in slots if slot not in members)
        self.read, self.cursor = True, None
        self.orderly = False  # as far as is known here

    def members(self) -> set[int]:
        """Return the slots of all names so far."""
        return set(self.slots) if self._members is None else self._members

    def rule(self) -> None:
        """Have the catalog drop what this listing, now complete, does not show."""
        with self._editing():
            self.catalog.drop_older(self.at)

    def finish(self) -> None:
        """Nothing is added any more."""
        self.complete = True
        self.end = self.catalog.end
        self._before = None
        self._members = None
        self._cursors.clear()

    def moved(self, catalog: Catalog) -> Listing:
        """Return a complete listing by the slots of another catalog, to which its names have gone."""
        new = Listing(self.key, catalog, self.at)
        new.pages, new.marker, new.sidecar = self.pages, self.marker, self.sidecar
        new.lasted, new.arrived = self.lasted, self.arrived
        new.orderly, new._kept, new._edits = self.orderly, self._kept, None
        new.read = new.tells_sidecar = new.settled = new.complete = True
        found = (catalog.same(slot, self.catalog) for slot in self.slots)
        new.slots.extend(slot for slot in found if slot is not None)
        new.end = catalog.end
        return new

    def _continue(self, cursor: str | None) -> None:
        if cursor in self._cursors:
            raise StoreFailure(f"{self.key or '/'}: the service repeats pages of its listing without an end")
        self.cursor, self.read = cursor, cursor is None
        if cursor is not None:
            self._cursors.add(cursor)

    def _named(self, page: ListPage, kept: _Page) -> Iterator[tuple[bytes, Fact]]:
        start = len(self.key)
        for info in page.objects:
            text = info.key[start:]
            name = name_of(text)
            if info.key == self.key:
                kept.marker = True
            elif name is not None and not is_hidden(name):
                yield text.encode("utf-8", "surrogatepass"), info
            elif info.key == key_in(self.key):
                kept.sidecar = info
        for prefix in page.prefixes:
            text = prefix[start:].removesuffix("/")
            name = name_of(text)
            if name is not None and not is_hidden(name):
                yield text.encode("utf-8", "surrogatepass") + b"/", None

    def _passed(self, page: ListPage) -> bool:
        keys, prefixes = [info.key for info in page.objects], list(page.prefixes)
        last = max(keys[-1:] + prefixes[-1:], default="")
        return last > key_in(self.key) and keys == sorted(keys) and prefixes == sorted(prefixes)

    def _add(self, raw: bytes, fact: Fact, asked: float) -> None:
        late = raw <= self._last
        slot = self.catalog.put(raw, fact, self.at, heard=asked)
        if late:
            self.orderly = False
            if self._members is None:
                self._members = set(self.slots)
            if slot in self._members:
                return
        self._last = max(self._last, raw)
        self.slots.append(slot)
        if self._members is not None:
            self._members.add(slot)
        if late and fact is not None:
            self._after_its_directory(raw, slot)

    def _after_its_directory(self, raw: bytes, slot: int) -> None:
        """Let an object have the place of a directory of its name: readers were told of the name there already."""
        folder = self.catalog.folder_at(raw)
        if folder is not None and self._members is not None and folder in self._members:
            self.slots[self.slots.index(folder)] = slot
            self.slots[-1] = folder
