"""Changes that this machine has acknowledged and the store lacks, in the order in which they go there. Pure.

The order is that of the acknowledgements, in groups: the changes of one group were made durable by one commit, so each
of them was begun before any of them was known to be done, and no program can tell which came first. They may go to the
store side by side; a group begins when the one before it has arrived. Another client then never sees a state that no
program has produced, but for what cancels out: a file that is removed or renamed before it was sent is never shown.

A change is made on the state that the ones before it leave, so each names as its precondition either a version that the
store has given, or the local version of an earlier change, which becomes one of the store when that has arrived.
"""

from __future__ import annotations

import enum
import secrets
from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mountd.data import blocks
from mountd.errors import Corrupt, MountdError, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.data.extents import Span

# Versions that this machine gives to what the store does not have yet. No service gives one that begins like this.
_LOCAL = "mountd:"

# Group of a change that is not durable yet: it cannot go to the store before it is.
NOT_YET = 0


def new_version() -> Version:
    """Return a version for a state of an object that only this machine has."""
    return Version(_LOCAL + secrets.token_hex(12))


def is_local(version: Version | None) -> bool:
    """Tell whether a version was given by `new_version`."""
    return version is not None and version.startswith(_LOCAL)


class Kind(enum.Enum):
    """What a change does to its key."""

    PUT = "put"
    COPY = "copy"
    DELETE = "delete"


@dataclass(slots=True, eq=False)
class Change:
    """One object that is to be put, copied or deleted.

    Attributes:
        version: local; the state that the change leaves.
        expect: what the key must hold before; `None` for anything.
        size, mtime_ns: of the object that is put or copied, in bytes and in nanoseconds since the epoch.
        source: of a copy: an object in the store, or one that an earlier change makes.
        spool: of a put: name of the file with the bytes; empty where the journal has them.
        spans: of a put: the ranges that are here, `None` for all; the rest is that of `base`.
        base: an object that the rest is taken from, in the store or made by an earlier copy; `under`: the local version
            of an earlier change that makes another object of it, with the same rest.
        checks: of a put: CRC32C of what is here, by the number of the unit (see `units`).
        base_since: number of the change before which `base` must be there, if it is not taken from elsewhere by then; 0
            where that is not known.
        group: NOT_YET until the change is durable.
        since: when it was acknowledged, on the monotonic clock.
        sending: it is on its way, so it can no longer be taken back.
        doubtful: it may have arrived already, though nobody heard of it.
        error: why it did not arrive; `stuck`: and why it does not hold up the others.
    """

    seq: int
    kind: Kind
    key: Key
    version: Version
    expect: Version | None
    size: int = 0
    mtime_ns: int = 0
    source: ObjectInfo | None = None
    spool: str = ""
    spans: list[Span] | None = None
    base: ObjectInfo | None = None
    under: Version = ABSENT
    checks: dict[int, int] = field(default_factory=dict)
    base_since: int | None = None
    group: int = NOT_YET
    since: float | None = None
    sending: bool = False
    doubtful: bool = False
    error: MountdError | None = None
    stuck: bool = False

    @property
    def info(self) -> ObjectInfo:
        """What the key holds afterwards, unless it is deleted."""
        return ObjectInfo(self.key, self.size, self.mtime_ns, self.version)

    @property
    def can_be_dropped(self) -> bool:
        """Whether nobody but this machine can have seen what it makes, or ever will."""
        return not self.sending and (not self.doubtful or isinstance(self.error, Corrupt))

    @property
    def leaves(self) -> Version:
        """The version that the key has afterwards."""
        return ABSENT if self.kind is Kind.DELETE else self.version


def units(change: Change, start: int, end: int) -> Iterator[tuple[int, Span]]:
    """Yield, with their numbers, the pieces of a put that are here, touch `[start, end)` and have a checksum each.

    They are cut where blocks end; those of a whole file are its blocks.
    """
    if change.spans is None:
        yield from ((number, blocks.span(number, change.size)) for number in blocks.touched(start, end))
        return
    for number, unit in enumerate(unit for span in change.spans for unit in blocks.cut(*span)):
        if start < unit.end and unit.start < end:
            yield number, unit


@dataclass(slots=True)
class Written:
    """What the journal has to learn: changes that are new, and changes that were taken back.

    Attributes:
        durable: whether it has.
    """

    added: list[Change] = field(default_factory=list)
    dropped: list[Change] = field(default_factory=list)
    durable: bool = False


class Pending:
    """The changes of one mount.

    Attributes:
        bytes: how much the store lacks.
        unwritten: what the journal does not know yet.
    """

    def __init__(self, changes: Iterator[Change] | None = None) -> None:
        self.bytes = 0
        self.unwritten = Written()
        self._order: dict[int, Change] = {}  # by number, which is the order
        self._chains: dict[Key, list[Change]] = {}
        self._keys: list[Key] = []
        self._copied: Counter[Version] = Counter()  # local versions that later changes take bytes from
        self._next = 1
        for change in changes or ():
            self._append(change)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Change]:
        return iter(list(self._order.values()))

    def __contains__(self, change: Change) -> bool:
        return change.seq in self._order

    def latest(self, key: Key) -> Change | None:
        """Return the last change of a key."""
        chain = self._chains.get(key)
        return chain[-1] if chain else None

    def made(self, key: Key, version: Version) -> Change | None:
        """Return the change that gives a key a local version."""
        return next((c for c in reversed(self._chains.get(key, ())) if c.version == version), None)

    def below(self, prefix: Key) -> dict[Key, Change]:
        """Return the last change of each key that begins with a prefix."""
        at = bisect_left(self._keys, prefix)
        found = {}
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            found[self._keys[at]] = self._chains[self._keys[at]][-1]
            at += 1
        return found

    def of(self, key: Key) -> list[Change]:
        """Return the changes of a key."""
        return list(self._chains.get(key, ()))

    def all_below(self, prefix: Key) -> list[Change]:
        """Return the changes of all keys that begin with a prefix."""
        at = bisect_left(self._keys, prefix)
        found = []
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            found += self._chains[self._keys[at]]
            at += 1
        return found

    def require(self, key: Key, expect: Version | None) -> None:
        """Raise VersionChanged where a key with changes does not hold `expect` after them."""
        latest = self.latest(key)
        if latest is not None and expect is not None and latest.leaves != expect:
            raise VersionChanged(f"{key} was changed meanwhile")

    def can_move(self, change: Change) -> bool:
        """Tell whether a put could as well be the last change: what it takes from its base is still there then."""
        return change.base is None or all(
            other is change or other.seq < (change.base_since or 0) for other in self._chains.get(change.base.key, ())
        )

    def add(self, change: Change) -> None:
        """Append a change whose `expect` is what the key holds now; earlier ones that it makes needless are dropped."""
        change.seq = self._next
        change.base_since = change.seq if change.base_since is None else change.base_since
        self._cancel(change)
        latest = self.latest(change.key)
        if latest is not None:
            change.expect = latest.leaves
        if change.kind is Kind.DELETE and change.expect == ABSENT:
            if not (change.key.endswith("/") and self._holds(change.key)):
                return  # there is nothing, or there never was
            change.expect = None
        self._append(change)
        self.unwritten.added.append(change)

    def _holds(self, directory: Key) -> bool:
        """Tell whether anything is to be made and removed in a directory, which some services then go on listing."""
        at = bisect_left(self._keys, directory)
        while at < len(self._keys) and self._keys[at].startswith(directory):
            if self._keys[at] != directory:
                return True
            at += 1
        return False

    def _cancel(self, change: Change) -> None:
        """Drop the changes of the key that nobody will miss."""
        while (last := self.latest(change.key)) is not None and last.can_be_dropped and not self._copied[last.version]:
            # Of a key that is overwritten at once; later, others may have seen what there was in between.
            adjacent = change.kind is not Kind.DELETE and last.seq == self._next - 1
            if not adjacent and (change.kind is not Kind.DELETE or last.kind is Kind.DELETE):
                return
            if change.base is not None and change.base.version == last.version:
                return
            if change.under == last.version:
                change.under = last.under
            change.expect, change.since = last.expect, last.since
            self.drop(last)

    def _append(self, change: Change) -> None:
        self._next = max(self._next, change.seq) + 1
        self._order[change.seq] = change
        chain = self._chains.get(change.key)
        if chain is None:
            chain = self._chains[change.key] = []
            insort(self._keys, change.key)
        chain.append(change)
        self._count(change, 1)

    def drop(self, change: Change) -> None:
        """Take a change back before it was sent."""
        self.remove(change)
        if change in self.unwritten.added:
            self.unwritten.added.remove(change)
        else:
            self.unwritten.dropped.append(change)

    def remove(self, change: Change) -> None:
        """The change is done, or given up."""
        del self._order[change.seq]
        chain = self._chains[change.key]
        chain.remove(change)
        if not chain:
            del self._chains[change.key]
            del self._keys[bisect_left(self._keys, change.key)]
        self._count(change, -1)

    def _count(self, change: Change, by: int) -> None:
        if change.kind is Kind.PUT:
            self.bytes += by * change.size
        for info in (change.source, change.base):
            if info is not None and is_local(info.version):
                self._copied[info.version] += by
                if not self._copied[info.version]:
                    del self._copied[info.version]

    def rebase(self, version: Version, info: ObjectInfo) -> list[Change]:
        """Have changes made upon the one with that local version take what they lack from what it has become."""
        rebased = [change for change in self._order.values() if change.under == version]
        for change in rebased:
            self._count(change, -1)
            change.base, change.under = info, ABSENT
            self._count(change, 1)
        return rebased

    def next_group(self) -> list[Change]:
        """Return the changes that can go to the store now: the first group, without those that wait for a stuck one."""
        group: list[Change] = []
        busy: set[Key] = set()  # those of earlier changes of the group, and of stuck ones
        for change in self._order.values():
            if change.group == NOT_YET or (group and change.group != group[0].group):
                break
            keys = {change.key, *(info.key for info in (change.source, change.base) if info is not None)}
            if not change.stuck and busy.isdisjoint(keys):
                group.append(change)
            busy |= keys
        return group
