"""Whose object is it that an upload finds? It may be our own: carried out, though its answer was lost.

A request whose answer is lost is repeated for a while (`objects.retry`); when that is over, the file counts as not
stored, and the store may have it all the same. The next attempt then finds another version than it expects. Before that
is taken for somebody else's, the object is compared with what was sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from mountd.data.extents import Span
from mountd.errors import NotFound, VersionChanged
from mountd.objects.interface import MiB

if TYPE_CHECKING:
    from mountd.data.content import Content
    from mountd.data.snapshot import Snapshot
    from mountd.objects.interface import Buffer, Key, ObjectInfo, ObjectStore

# Files with more bytes here are not compared: they count as somebody else's, and nothing is lost by that.
COMPARED, AT_ONCE = 64 * MiB, 8 * MiB


# Attempts of one file that are remembered. Most fail again and again with the same bytes, which counts once.
REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an upload was to make: `size` bytes, and the checksums of those that were on this machine.

    The others were to be taken over from the version before.
    """

    size: int
    checksums: tuple[tuple[Span, bytes], ...]


class Doubts:
    """What uploads that failed may have made of their objects all the same."""

    def __init__(self) -> None:
        self._made: dict[Content, list[Fingerprint]] = {}

    def note(self, content: Content, made: Fingerprint | None) -> None:
        """Remember what an upload was to make, whose answer was lost."""
        known = self._made.setdefault(content, [])
        if made is not None and made not in known:
            self._made[content] = [*known, made][-REMEMBERED:]

    def forget(self, content: Content) -> None:
        """It is settled."""
        self._made.pop(content, None)

    async def find(self, store: ObjectStore, content: Content, key: Key) -> ObjectInfo | None:
        """Return the object `key` if one of these uploads has made it."""
        for made in self._made.get(content, ()):
            found = await find(store, made, key)
            if found is not None:
                return found
        return None


async def fingerprint(content: Content, snapshot: Snapshot) -> Fingerprint | None:
    """Return what an upload of a snapshot makes; `None` where it could not be recognized, or not with little effort."""
    here = [Span(run.start, run.end) for run in snapshot.frozen.runs(0, snapshot.size) if run.state is not None]
    amount = sum(end - start for start, end in here)
    if amount > COMPARED or (snapshot.size and not amount):
        return None
    found = []
    for start, end in _steps(here):
        data, missing = await content.read_frozen(snapshot, start, end)
        if missing:  # overwritten meanwhile
            return None
        found.append((Span(start, end), await _checksum(data)))
    return Fingerprint(snapshot.size, tuple(found))


async def find(store: ObjectStore, wanted: Fingerprint | None, key: Key) -> ObjectInfo | None:
    """Return the object `key` if it is the one that was sent. Raises what requests raise, but not NotFound."""
    if wanted is None:
        return None
    try:
        found = await store.stat(key)
        if found.size != wanted.size:
            return None
        for (start, end), checksum in wanted.checksums:
            chunk = await store.read_range(key, start, end - start, version=found.version)
            if await _checksum(chunk.data) != checksum:
                return None
    except (NotFound, VersionChanged):
        return None
    return found


def _steps(spans: list[Span]) -> list[Span]:
    return [Span(at, min(at + AT_ONCE, end)) for start, end in spans for at in range(start, end, AT_ONCE)]


async def _checksum(data: Buffer) -> bytes:
    return await trio.to_thread.run_sync(lambda: hashlib.blake2b(data).digest())
