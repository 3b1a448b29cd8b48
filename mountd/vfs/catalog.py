"""What the store has said of the names in one directory, packed: a name costs some 150 bytes, not a node of 1500.

Each name has a slot, a number that stays its own. What is known of it is in arrays, by slot. Names are kept as parts of
keys, in UTF-8, those of directories with a slash at the end: sorted, that is the order in which services list.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from mountd.errors import NameTooLong
from mountd.objects import octets
from mountd.objects.interface import Key, ObjectInfo, Version
from mountd.vfs.names import component, is_twin, plain, twin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Fact = ObjectInfo | None  # None: a directory

NEVER = float("-inf")
# Fewer dead slots than this are not worth tidying up.
TIDY = 1000
# Of how many changed names a catalog keeps track: to look at all of a directory is no worse, once it is that many.
TRACKED = 10_000


def raw_of(name: bytes) -> bytes:
    """Return the part of a key for a file name."""
    return name if name.isascii() else component(name).encode("utf-8", "surrogatepass")


class Catalog:
    """The names of one directory that the store is known to have, and facts of them.

    Attributes:
        checked: by slot, when the listing (or single request) began that last vouched for the fact.
        heard: by slot, when the request for the very page of that listing began: how old the fact is.
        inos: by slot, the inode number by which the kernel knows the name; 0 where it does not, or where a node has it.
        folders: how many names are those of directories.
        edits: how often something else was said of a name than before, or that it leads nowhere.
        in_line: when the complete listing began with which nodes were last brought in line.
    """

    def __init__(self) -> None:
        self.checked = array("d")
        self.heard = array("d")
        self.inos = array("Q")
        self.folders = self.edits = 0
        self.in_line = NEVER
        # As of the last time that `news` was asked: the sidecar's version, and the slots that have changed (None: any).
        self._attributes = ""
        self._changed: set[int] | None = None
        self._names: list[bytes] = []
        self._alive = bytearray()
        self._living = 0
        self._sizes = array("q")
        self._mtimes = array("q")
        self._versions = bytearray()  # each with a NUL at its end
        self._starts = array("Q")
        self._wasted = 0
        self._order = array("I")  # slots, by name

    def __len__(self) -> int:
        return self._living

    @property
    def end(self) -> int:
        """The slot that comes next: all that are made from now on are not below it."""
        return len(self._names)

    def find(self, name: bytes) -> int | None:
        """Return the slot of what a file name leads to: the object, or the directory, or the one beside the other."""
        try:
            raw = raw_of(plain(name))
        except NameTooLong:
            return None
        file, folder = self._place(raw)[1], self.folder_at(raw)
        beside = folder is not None and self._is_beside(folder, file)
        if is_twin(name):
            return folder if beside else None
        if file is not None and self._alive[file] and (folder is None or beside):
            return file
        return None if beside else folder

    def all_slots(self, name: bytes) -> Iterator[int]:
        """Yield the slots of a name, those that lead nowhere any more included."""
        raw = raw_of(plain(name))
        return (slot for slot in (self._place(raw)[1], self._place(raw + b"/")[1]) if slot is not None)

    def folder_at(self, raw: bytes) -> int | None:
        """Return the slot of the directory of a name, beside a file or not."""
        return self._alive_at(raw + b"/") if self.folders else None

    def same(self, slot: int, other: Catalog) -> int | None:
        """Return the slot here of a name in another catalog."""
        return self._place(other._names[slot])[1]

    def take_over(self, slot: int, other: Catalog) -> int:
        """Return the slot here of a name in another catalog, made with its facts if there is none."""
        if other is self:
            return slot
        return self.put(other._names[slot], other.fact(slot, Key("")), other.checked[slot], heard=other.heard[slot])

    def is_folder(self, slot: int) -> bool:
        """Tell whether a slot is a directory's."""
        return self._names[slot].endswith(b"/")

    def is_alive(self, slot: int) -> bool:
        """Tell whether the name still leads somewhere."""
        return bool(self._alive[slot])

    def name(self, slot: int) -> bytes:
        """Return the file name of a slot."""
        raw = self._names[slot]
        if raw.endswith(b"/"):
            name = _name_of(raw[:-1])
            return twin(name) if self._is_beside(slot, self._place(raw[:-1])[1]) else name
        return _name_of(raw)

    def fact(self, slot: int, directory: Key) -> Fact:
        """Return what is known of a name in the directory with that key."""
        raw = self._names[slot]
        if raw.endswith(b"/"):
            return None
        version = Version(self._version(slot).decode("utf-8", "surrogatepass"))
        key = Key(directory + raw.decode("utf-8", "surrogatepass"))
        return ObjectInfo(key, self._sizes[slot], self._mtimes[slot], version)

    def has(self, slot: int, fact: Fact) -> bool:
        """Tell whether a slot stands for that version of an object, or for a directory."""
        if fact is None or self._names[slot].endswith(b"/"):
            return fact is None and self._names[slot].endswith(b"/")
        return self._version(slot) == fact.version.encode("utf-8", "surrogatepass")

    def update(self, slot: int, info: ObjectInfo) -> None:
        """The file is the same, though the store has it under another key or version."""
        self._set(slot, info)

    def slots(self, since: int = 0) -> Iterator[int]:
        """Yield the slots whose names lead somewhere, from `since` on."""
        return (slot for slot in range(since, len(self._names)) if self._alive[slot])

    def put(self, raw: bytes, fact: Fact, at: float, *, heard: float = NEVER) -> int:
        """Note what a listing or a request that began at `at` said of a name, and return its slot.

        `heard`: when the request for the page began, where that was later.
        """
        place, slot = self._place(raw)
        if slot is None or not self._alive[slot]:
            slot = self._add(place, raw, fact, at, instead=slot is not None)
            self.heard[slot] = max(at, heard)
            return slot
        if self.checked[slot] <= at:
            self.checked[slot] = at
            self.heard[slot] = max(at, heard, self.heard[slot])
            if fact is not None and not self.has(slot, fact):
                self.inos[slot] = 0  # another version is another file
                self._set(slot, fact)
        return slot

    def confirm(self, slots: Iterable[int], at: float, *, heard: float) -> None:
        """Note that a listing that began at `at` has said again what is known of names; `heard` as in `put`."""
        for slot in slots:
            if self.checked[slot] <= at:
                self.checked[slot] = at
                self.heard[slot] = max(heard, self.heard[slot])

    def place(self, name: bytes) -> int:
        """Return how many names come before one in the order, those that lead nowhere any more included."""
        return self._place(raw_of(plain(name)))[0]

    def slots_at(self, place: int, count: int) -> list[int]:
        """Return the slots of up to `count` names from a place in the order on, as far as they lead somewhere."""
        return [slot for slot in self._order[place : place + count] if self._alive[slot]]

    def size(self, slot: int) -> int:
        """Return the size of an object, in bytes."""
        return self._sizes[slot]

    def doubt(self, slot: int) -> None:
        """Nothing vouches for the fact any more."""
        self.checked[slot] = self.heard[slot] = NEVER

    def renumber(self, name: bytes) -> None:
        """Give a name another inode number when it is told of the next time."""
        slot = self.find(name)
        if slot is not None:
            self.inos[slot] = 0

    def drop(self, slot: int) -> None:
        """The name leads nowhere."""
        if self._alive[slot]:
            self.edits += 1
            self._note(slot)
            self._alive[slot] = 0
            self.inos[slot] = 0
            self._living -= 1
            self.folders -= self._names[slot].endswith(b"/")

    def drop_older(self, at: float) -> None:
        """Drop what a complete listing that began at `at` did not show."""
        for slot, checked in enumerate(self.checked):
            if checked < at:
                self.drop(slot)

    def news(self, attributes: str) -> set[bytes] | None:
        """Return the names of which something else is known than when this was last asked; `None`: all may be.

        `attributes`: the version of the sidecar, which has those of all names; "" where there is none.
        """
        same, changed = attributes == self._attributes, self._changed
        self._attributes, self._changed = attributes, set()
        if not same or changed is None:
            return None
        names = {_name_of(self._names[slot].removesuffix(b"/")) for slot in changed}
        return names | {twin(name) for name in names}

    def tidied(self) -> Catalog | None:
        """Return a catalog without what is dead, `None` where there is too little of it."""
        dead = len(self._names) - self._living
        if dead <= self._living // 2 + TIDY and self._wasted <= len(self._versions) // 2 + TIDY:
            return None
        new = Catalog()
        for slot in self._order:
            if self._alive[slot]:
                into = new.take_over(slot, self)
                new.inos[into] = self.inos[slot]
        return new

    def _place(self, raw: bytes) -> tuple[int, int | None]:
        """Return where a name is in the order, or would be, and its slot."""
        order, names = self._order, self._names
        if not order or raw > names[order[-1]]:
            return len(order), None
        place = bisect_left(order, raw, key=names.__getitem__)
        slot = order[place]
        return place, slot if names[slot] == raw else None

    def _alive_at(self, raw: bytes) -> int | None:
        slot = self._place(raw)[1]
        return slot if slot is not None and self._alive[slot] else None

    def _is_beside(self, folder: int, file: int | None) -> bool:
        """Tell whether a directory was there together with an object of its name, when it was last heard of."""
        return file is not None and self.checked[file] >= self.checked[folder]

    def _add(self, place: int, raw: bytes, fact: Fact, at: float, *, instead: bool) -> int:
        slot = len(self._names)
        self._names.append(raw)
        self._alive.append(1)
        self._living += 1
        self.folders += raw.endswith(b"/")
        self.checked.append(at)
        self.heard.append(at)
        for numbers in (self.inos, self._sizes, self._mtimes, self._starts):
            numbers.append(0)
        self._set(slot, fact, new=True)
        if instead:
            self._order[place] = slot
        else:
            self._order.insert(place, slot)
        return slot

    def _set(self, slot: int, fact: Fact, *, new: bool = False) -> None:
        self._note(slot)
        if not new:
            self.edits += 1
            self._wasted += len(self._version(slot)) + 1
        self._starts[slot] = len(self._versions)
        if fact is not None:
            self._sizes[slot], self._mtimes[slot] = fact.size, fact.mtime_ns
            self._versions += fact.version.encode("utf-8", "surrogatepass")
        self._versions.append(0)

    def _note(self, slot: int) -> None:
        if self._changed is not None:
            self._changed.add(slot)
            if len(self._changed) > TRACKED:
                self._changed = None

    def _version(self, slot: int) -> bytearray:
        start = self._starts[slot]
        return self._versions[start : self._versions.index(0, start)]


def _name_of(raw: bytes) -> bytes:
    return raw if raw.isascii() else octets.name_of(raw.decode("utf-8", "surrogatepass"))
