"""The checksums of what lies in one backing file, made of the bytes that were put there and never of what the disk
gives back: so a file that was damaged on disk is told from one that was changed on purpose.

Each checksum covers a run of bytes within one block. Writing in order extends the last one by the bytes that come in; a
write into the middle of a run reads that run again, compares it, and makes one checksum of old and new together. What a
file grew by without a write is known to be zeros, however long it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mountd.data import blocks, disk
from mountd.data.extents import ExtentMap, Span

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from mountd.objects.interface import Buffer


class Sum(NamedTuple):
    """The checksum of `[start, end)`, which lies within one block."""

    start: int
    end: int
    crc: int

    @property
    def block(self) -> int:
        """The block's number."""
        return self.start // blocks.BLOCK


def sums_of(start: int, data: Buffer) -> Iterator[Sum]:
    """Yield the checksums of bytes that lie at `start`, block by block."""
    view = memoryview(data)
    for span in blocks.cut(start, start + len(view)):
        yield Sum(*span, blocks.checksum(view[span.start - start : span.end - start]))


class Claim(NamedTuple):
    """What `[start, end)` of a backing file has to hold: the range that was asked about, and the runs at its edges."""

    start: int
    end: int
    sums: Sequence[Sum]
    zeros: Sequence[Span]

    def broken(self, data: Buffer) -> set[int]:
        """Return the numbers of the blocks where `data`, read at `start`, is something else."""
        wrong = {
            each.block
            for each in self.sums
            if blocks.checksum(data[each.start - self.start : each.end - self.start]) != each.crc
        }
        for zeros in self.zeros:
            for span in blocks.cut(*zeros):
                if bytes(data[span.start - self.start : span.end - self.start]) != bytes(span.end - span.start):
                    wrong.add(span.start // blocks.BLOCK)
        return wrong


class Edit:
    """A change of `[start, end)` under way, and what it makes of the runs that it cuts or joins.

    Attributes:
        torn: checksums of runs that have to be read before the change.
        joined: the run that ends where the change begins.
        expendable: blocks whose old bytes the store has, too; to be set before they are read.
        dropped: expendable blocks whose old bytes turned out damaged.
        damaged: other blocks whose old bytes turned out damaged.
    """

    __slots__ = ("_left", "_right", "damaged", "dropped", "end", "expendable", "joined", "start", "torn")

    def __init__(self, start: int, end: int, *, torn: Sequence[Sum], joined: Sum | None) -> None:
        self.start, self.end = start, end
        self.torn, self.joined = torn, joined
        self.expendable: Collection[int] = ()
        self.dropped: set[int] = set()
        self.damaged: set[int] = set()
        self._left = joined
        self._right: tuple[int, bytes] = end, b""

    def read(self, fd: int) -> None:
        """Take what is needed of the old bytes. May be called from a thread; raises OSError."""
        for each in self.torn:
            self._take(each, disk.read_all(fd, each.start, each.end))

    def read_now(self, fd: int) -> bool:
        """Do the same if that needs no disk; tell whether it did."""
        taken = []
        for each in self.torn:
            old = bytearray(each.end - each.start)
            if not disk.read_from_page_cache(fd, memoryview(old), each.start):
                return False
            taken.append(bytes(old))
        for each, data in zip(self.torn, taken, strict=True):
            self._take(each, data)
        return True

    def _take(self, torn: Sum, old: bytes) -> None:
        if blocks.checksum(old) != torn.crc:
            if torn.block in self.expendable:
                self.dropped.add(torn.block)
                return
            self.damaged.add(torn.block)
        if torn.start < self.start:
            self._left = Sum(torn.start, self.start, blocks.checksum(old[: self.start - torn.start]))
        if torn.end > self.end:
            self._right = max(torn.start, self.end), old[max(0, self.end - torn.start) :]

    def written(self, data: Buffer) -> list[Sum]:
        """Return the checksums of the runs that `data` has become part of."""
        made = list(sums_of(self.start, data))
        if self._left is not None and self._left.block not in self.dropped:
            first = made[0]
            made[0] = Sum(self._left.start, first.end, blocks.extend(self._left.crc, data[: first.end - first.start]))
        _, after = self._right
        if after and made[-1].block not in self.dropped:
            last = made[-1]
            made[-1] = Sum(last.start, last.end + len(after), blocks.extend(last.crc, after))
        return made

    def removed(self) -> list[Sum]:
        """Return the checksums of what is left of the runs."""
        return [*([self._left] if self._left is not None else []), *sums_of(*self._right)]


class Sums:
    """The checksums of one backing file.

    Args:
        checks: block number -> CRC32C of blocks that are there as a whole.
        size: of the file, in bytes: its last block may be short.
    """

    __slots__ = ("_damaged", "_parts", "_whole", "_zeros")

    def __init__(self, checks: dict[int, int] | None = None, size: int = 0) -> None:
        self._whole: dict[int, int] = {}  # most blocks, so kept small: number -> checksum
        self._parts: dict[int, list[Sum]] = {}  # blocks of which only runs are here, and a short last one
        self._zeros = ExtentMap()
        self._damaged = ExtentMap()  # what is not as it was written, and has not been written again
        self.add(Sum(*blocks.span(number, size), crc) for number, crc in (checks or {}).items())

    def add(self, sums: Iterable[Sum]) -> None:
        """Note bytes where there were none before."""
        for each in sums:
            self._set(each.block, sorted([*self._of(each.block), each]))

    def add_zeros(self, start: int, end: int) -> None:
        """Note that the file has grown by zeros."""
        self._zeros.set(start, end, 1)

    def writing(self, start: int, end: int) -> Edit:
        """Begin a write to `[start, end)`."""
        edges = self._edges(start, end)
        torn = [each for each in edges if each.start < start < each.end or each.start <= end < each.end]
        joined = next((each for each in edges if each.end == start and start % blocks.BLOCK), None)
        return Edit(start, end, torn=torn, joined=joined)

    def removing(self, start: int, end: int) -> Edit:
        """Begin taking `[start, end)` away."""
        torn = [e for e in self._edges(start, end) if e.start < start < e.end or e.start < end < e.end]
        return Edit(start, end, torn=torn, joined=None)

    def _edges(self, start: int, end: int) -> list[Sum]:
        first, last = start // blocks.BLOCK, (end - 1) // blocks.BLOCK
        return [*self._of(first), *(self._of(last) if last != first else ())]

    def apply(self, edit: Edit, made: Sequence[Sum]) -> None:
        """The change has been made, and these checksums have come of it."""
        replaced = [*edit.torn, edit.joined]
        self.found_damaged(edit.damaged)
        self._damaged.set(edit.start, edit.end, None)
        for number in self._known(edit.start, edit.end):
            kept = [e for e in self._of(number) if (e.end <= edit.start or e.start >= edit.end) and e not in replaced]
            if number in edit.dropped:
                kept = []
                self._zeros.set(number * blocks.BLOCK, (number + 1) * blocks.BLOCK, None)
            self._set(number, kept)
        self._zeros.set(edit.start, edit.end, None)
        self.add(made)

    @property
    def damaged(self) -> set[int]:
        """The blocks that have bytes which are not those that were written, and which are nowhere else."""
        return {number for run in self._damaged for number in blocks.touched(run.start, run.end)}

    def found_damaged(self, numbers: Collection[int]) -> None:
        """Note that these blocks are not as they were written, until nothing is left of what they have now."""
        for number in numbers:
            start, end = number * blocks.BLOCK, (number + 1) * blocks.BLOCK
            for span in [*(Span(each.start, each.end) for each in self._of(number)), *self._zeros.spans(start, end, 1)]:
                self._damaged.set(span.start, span.end, 1)

    def found_sound(self, numbers: Collection[int]) -> None:
        """Note that these blocks are not damaged, or no longer here."""
        for number in numbers:
            self._damaged.set(number * blocks.BLOCK, (number + 1) * blocks.BLOCK, None)

    def forget(self, start: int, end: int) -> None:
        """Know nothing any more of the blocks that share a byte with `[start, end)`."""
        for number in self._known(start, end):
            self._set(number, [])
        self._zeros.set(start, end, None)

    def join(self, span: Span, crc: int) -> None:
        """Make one checksum of all there is of a block, which has just been compared."""
        self._zeros.set(span.start, span.end, None)
        self._set(span.start // blocks.BLOCK, [Sum(*span, crc)])

    def check(self, span: Span) -> int | None:
        """Return the checksum of a whole block, `None` where it is not known in one piece."""
        found = self._of(span.start // blocks.BLOCK)
        return found[0].crc if len(found) == 1 and found[0][:2] == span else None

    def claim(self, start: int, end: int) -> Claim:
        """Return what has to be in `[start, end)`."""
        sums = [e for n in blocks.touched(start, end) for e in self._of(n) if e.start < end and start < e.end]
        first = min([start, *(each.start for each in sums[:1])])
        last = max([end, *(each.end for each in sums[-1:])])
        return Claim(first, last, sums, self._zeros.spans(start, end, 1))

    def is_damaged(self, start: int, end: int) -> bool:
        """Tell whether damaged blocks share a byte with `[start, end)`."""
        return bool(self._damaged) and not self.damaged.isdisjoint(blocks.touched(start, end))

    def _of(self, number: int) -> list[Sum]:
        whole = self._whole.get(number)
        if whole is not None:
            return [Sum(number * blocks.BLOCK, (number + 1) * blocks.BLOCK, whole)]
        return self._parts.get(number, [])

    def _set(self, number: int, sums: list[Sum]) -> None:
        self._whole.pop(number, None)
        self._parts.pop(number, None)
        if len(sums) == 1 and sums[0].end - sums[0].start == blocks.BLOCK:
            self._whole[number] = sums[0].crc
        elif sums:
            self._parts[number] = sums

    def _known(self, start: int, end: int) -> list[int]:
        """Return the blocks in `[start, end)` of which something is known; a sparse file has many more."""
        touched = blocks.touched(start, end)
        if len(touched) > len(self._whole) + len(self._parts):
            return [number for number in (*self._whole, *self._parts) if number in touched]
        return [n for n in touched if n in self._whole or n in self._parts]
