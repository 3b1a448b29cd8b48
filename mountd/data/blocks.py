"""Arithmetic of the fixed blocks in which bytes are fetched and checksummed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crc32c import crc32c

from mountd.data.extents import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.objects.interface import Buffer

# 128 KiB is the kernel's default read-ahead, so the smallest read it sends for a file that is read in order; a smaller
# block would make more requests for the same bytes, a larger one fetches more than random readers want.
BLOCK = 128 * 1024


def align_out(start: int, end: int, size: int) -> Span:
    """Return the smallest span of whole blocks around `[start, end)`, cut off at `size`."""
    return Span(start - start % BLOCK, min(size, -(-end // BLOCK) * BLOCK))


def whole(start: int, end: int, size: int) -> range:
    """Return the numbers of the blocks that lie wholly in `[start, end)`; the file's last block may be short."""
    first = -(-start // BLOCK)
    last = -(-end // BLOCK) if end >= size else end // BLOCK
    return range(first, max(first, last))


def touched(start: int, end: int) -> range:
    """Return the numbers of the blocks that share a byte with `[start, end)`."""
    return range(start // BLOCK, -(-end // BLOCK)) if start < end else range(0)


def span(number: int, size: int) -> Span:
    """Return the bytes of block `number` in a file of `size` bytes."""
    return Span(number * BLOCK, min(size, (number + 1) * BLOCK))


def length(number: int, size: int) -> int:
    """Return how many bytes block `number` has in a file of `size` bytes."""
    return min(size, (number + 1) * BLOCK) - number * BLOCK


def cut(start: int, end: int) -> Iterator[Span]:
    """Yield `[start, end)` block by block."""
    while start < end:
        stop = min(end, start - start % BLOCK + BLOCK)
        yield Span(start, stop)
        start = stop


def checksum(data: Buffer) -> int:
    """Return the CRC32C (Castagnoli) of `data`."""
    return crc32c(data)


def extend(before: int, data: Buffer) -> int:
    """Return the checksum of bytes whose checksum is `before`, followed by `data`."""
    return crc32c(data, before)
