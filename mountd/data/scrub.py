"""Comparing everything on local disk with its checksums, whether anybody reads it or not."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import trio

from mountd.data import blocks, disk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from mountd.data.cache import Cache
    from mountd.data.content import Content


class Copy(NamedTuple):
    """A file on local disk that nobody changes. `checks`: block number -> CRC32C, for a file of `size` bytes."""

    path: Path
    size: int
    checks: Mapping[int, int]


def scrub(copies: Iterable[Copy]) -> Iterator[tuple[Copy, set[int]]]:
    """Yield each file with the numbers of its blocks that are not what they should be.

    Waits for the disk. A file that cannot be read, or is not there, is damaged as a whole.
    """
    for copy in copies:
        try:
            fd = os.open(copy.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            yield copy, set(copy.checks)
            continue
        try:
            yield copy, {number for number, check in copy.checks.items() if _check(fd, number, copy.size) != check}
        finally:
            os.close(fd)


def _check(fd: int, number: int, size: int) -> int | None:
    try:
        return blocks.checksum(disk.read_all(fd, *blocks.span(number, size)))
    except OSError:  # the disk cannot read it
        return None


@dataclass
class Verified:
    """What a scrub of a cache has found.

    Attributes:
        files, bytes: what was read.
        dropped: object's key -> bytes that were damaged, are in the store, and will be fetched again.
        damaged: backing file -> bytes that are damaged and nowhere else.
    """

    files: int = 0
    bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    damaged: dict[Path, int] = field(default_factory=dict)


async def verify(cache: Cache, progress: Callable[[Verified], Awaitable[None]]) -> Verified:
    """Compare all backing files with their checksums, and drop what is damaged and in the store.

    Files may be in use meanwhile.
    """
    found = Verified()
    for content in cache.contents():
        if content.extents:
            await _verify_content(content, found)
            await progress(found)
    last = ""
    while rows := await trio.to_thread.run_sync(cache.resting, last):
        last = rows[-1].id
        for saved in rows:
            copies = [Copy(cache.path(saved.id), saved.info.size, saved.checks)]
            ((_, damaged),) = await trio.to_thread.run_sync(list, scrub(copies))
            found.files += 1
            found.bytes += saved.bytes
            if damaged:
                found.dropped[saved.info.key] = cache.lost(saved, damaged)
            await progress(found)
    return found


async def _verify_content(content: Content, found: Verified) -> None:
    found.files += 1
    found.bytes += content.extents.total()
    before, was_open = content.dropped, content.backing.is_open
    try:
        lost = await content.scrub()
    finally:
        if not was_open and content.evictable:
            content.close()
    if content.dropped > before and content.base is not None:
        found.dropped[content.base.key] = content.dropped - before
    if lost:
        found.damaged[content.path] = sum(span.end - span.start for span in lost)
