"""Arithmetic of the fixed blocks in which bytes are fetched and checksummed. Pure."""

from __future__ import annotations

import google_crc32c

from mountd.data.extents import Span

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


def checksum(data: bytes | memoryview) -> int:
    """Return the CRC32C (Castagnoli) of `data`."""
    return int(google_crc32c.value(bytes(data) if isinstance(data, memoryview) else data))


def checksums(data: bytes, start: int, size: int) -> dict[int, int]:
    """Return the checksum of each whole block in `data`, which begins at offset `start` of a file of `size` bytes."""
    found = {}
    for number in whole(start, start + len(data), size):
        block = span(number, size)
        found[number] = checksum(data[block.start - start : block.end - start])
    return found
