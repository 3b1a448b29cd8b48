"""What was just written of a large file, kept in memory until the part that it belongs to is sent.

It lies on the local disk as well: what is not kept is read back from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.objects.interface import MiB
from mountd.writeback.parts import part_at

if TYPE_CHECKING:
    from mountd.data.extents import Span
    from mountd.objects.interface import Buffer

# Bytes that are kept at most: as many parts as are sent at a time, and one that is being written. Where programs write
# faster than that goes, the oldest ones are kept: they are sent first.
LIMIT = 56 * MiB


class Fresh:
    """The pieces of a file's parts, as far as each part was written from its start on without a gap.

    Args:
        part_size: of the upload, in bytes.

    Attributes:
        bytes: how many are kept.
    """

    def __init__(self, part_size: int) -> None:
        self.bytes = 0
        self._part_size = part_size
        self._pieces: dict[int, list[Buffer]] = {}
        self._ends: dict[int, int] = {}

    def add(self, start: int, data: Buffer) -> None:
        """Keep what was written at `start`."""
        view = memoryview(data)
        at = start
        while at < start + len(view):
            number, span = part_at(at, self._part_size)
            if at == self._ends.get(number, span.start):
                piece = view[at - start : span.end - start]
                self._pieces.setdefault(number, []).append(piece)
                self._ends[number] = at + len(piece)
                self.bytes += len(piece)
            at = span.end
        while self.bytes > LIMIT:
            self._drop(next(reversed(self._pieces)))

    def changed(self, start: int, end: int) -> None:
        """Bytes of `[start, end)` are not what they were."""
        at = start
        while at < end and self._pieces:
            number, span = part_at(at, self._part_size)
            if at < self._ends.get(number, 0):
                self._drop(number)
            at = span.end

    def take(self, number: int, span: Span) -> bytes | None:
        """Return all bytes of a part, which is not kept any longer, or `None`."""
        whole = self._ends.get(number) == span.end
        pieces = self._drop(number)
        return b"".join(pieces) if whole else None

    def _drop(self, number: int) -> list[Buffer]:
        self._ends.pop(number, None)
        pieces = self._pieces.pop(number, [])
        self.bytes -= sum(map(len, pieces))
        return pieces
