"""One state of a file's bytes, held still while it is uploaded and the file is written on.

Nothing is copied when a snapshot is taken. A write that comes afterwards first saves the bytes that it is about to
replace (copy on write), unless the upload has read them already.
"""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING, NamedTuple

from mountd.data import disk
from mountd.data.extents import ExtentMap, Span, State
from mountd.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Fate(enum.IntEnum):
    """What has become of a range since the snapshot was taken; no entry: it lies in the backing file as it was."""

    SENT = 1  # the upload has read it
    SAVED = 2  # overwritten; the old bytes are in the side file
    ABSENT = 3  # overwritten; the old bytes are in the store only
    GONE = 4  # overwritten after the upload had read it


class Source(enum.Enum):
    """Where the bytes of a piece of the snapshot are."""

    BACKING = enum.auto()
    SIDE = enum.auto()
    STORE = enum.auto()


class Piece(NamedTuple):
    """A span of the snapshot and where to read it."""

    start: int
    end: int
    source: Source


class Snapshot:
    """The bytes of a file of `size` bytes whose extents were `frozen`; `generation` names the state."""

    def __init__(self, *, generation: int, size: int, frozen: ExtentMap, folder: Path) -> None:
        self.generation = generation
        self.size = size
        self.frozen = frozen
        self._fates = ExtentMap()
        self._folder = folder
        self._side: int | None = None
        self._sound = True

    def dirty(self) -> list[Span]:
        """Return what the store does not have."""
        return self.frozen.spans(0, self.size, State.DIRTY)

    def pieces(self, start: int, end: int, present: ExtentMap) -> Iterator[Piece]:
        """Yield where the bytes of `[start, end)` are now, given what the backing file holds at present."""
        for run in self._fates.runs(start, end):
            if run.state == Fate.SAVED:
                yield Piece(run.start, run.end, Source.SIDE)
            elif run.state in (Fate.ABSENT, Fate.GONE):
                yield Piece(run.start, run.end, Source.STORE)
            else:
                for part in present.runs(run.start, run.end):
                    yield Piece(part.start, part.end, Source.STORE if part.state is None else Source.BACKING)

    def sent(self, start: int, end: int) -> None:
        """Record that the upload has read `[start, end)`, so that writes need not save it."""
        for span in self._fates.spans(start, end, None):
            self._fates.set(span.start, span.end, Fate.SENT)

    def overwriting(self, start: int, end: int, present: ExtentMap) -> list[Span]:
        """Record that `[start, end)` is about to change; return what must be saved with `save` before it does."""
        to_save: list[Span] = []
        for run in list(self._fates.runs(start, min(end, self.size))):
            if run.state == Fate.SENT:
                self._fates.set(run.start, run.end, Fate.GONE)
            elif run.state is None:
                to_save += [Span(p.start, p.end) for p in present.runs(run.start, run.end) if p.state is not None]
                self._fates.set(run.start, run.end, Fate.ABSENT)
        for span in to_save:
            self._fates.set(span.start, span.end, Fate.SAVED)
        return to_save

    def not_overwritten(self, spans: list[Span]) -> None:
        """The change that `overwriting` was told of has not been made: there was no room to save `spans`."""
        for span in spans:
            self._fates.set(span.start, span.end, None)

    def save(self, backing_fd: int, spans: list[Span], *, sound: bool = True) -> None:
        """Copy `spans` aside; not `sound`: they are damaged. Raises OSError when the disk is full."""
        self._sound = self._sound and sound
        side = self._side_fd()
        for span in spans:
            for start in range(span.start, span.end, 1 << 20):
                end = min(start + (1 << 20), span.end)
                disk.write_all(side, disk.read_all(backing_fd, start, end), start)

    def read_side(self, start: int, end: int) -> bytes:
        """Return saved bytes. Raises Corrupt where they were damaged before they were saved."""
        if not self._sound:
            raise Corrupt("the local disk has damaged bytes that were to be stored")
        return disk.read_all(self._side_fd(), start, end)

    def unchanged(self) -> Iterator[Span]:
        """Yield the spans that were dirty and have not been written since: what a successful upload makes clean."""
        for dirty in self.dirty():
            for run in self._fates.runs(dirty.start, dirty.end):
                if run.state in (None, Fate.SENT):
                    yield Span(run.start, run.end)

    def close(self) -> None:
        """Free the side file."""
        if self._side is not None:
            os.close(self._side)
            self._side = None

    def _side_fd(self) -> int:
        # O_TMPFILE: the side file has no name, so a crash leaves nothing behind.
        if self._side is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have deleted it
            self._side = os.open(self._folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        return self._side
