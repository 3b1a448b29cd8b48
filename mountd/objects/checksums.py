"""Checksums of bodies, as the services write them, and what it means when they differ."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from typing import TYPE_CHECKING

import crc32c as castagnoli
import trio

from mountd.errors import Corrupt, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.objects.interface import Buffer


# The polynomials of the two, their coefficients in reversed order, as the checksums have them.
CRC32, CRC32C = 0xEDB88320, 0x82F63B78
_AT_ONCE = 256 * 1024


def crc32(data: Buffer) -> str:
    """Return what S3 calls ChecksumCRC32."""
    return text_of(zlib.crc32(data))


async def crc32_of(data: Buffer) -> str:
    """Return the same, made in a thread where it takes its time: a millisecond a MiB."""
    return crc32(data) if len(data) <= _AT_ONCE else await trio.to_thread.run_sync(crc32, data)


def crc32c(data: Buffer) -> str:
    """Return what Google calls crc32c."""
    return text_of(castagnoli.crc32c(data))


def text_of(crc: int) -> str:
    """Return a checksum of 32 bits as services write it; `number_of` takes it back."""
    return _text(crc.to_bytes(4, "big"))


def number_of(text: str) -> int:
    """Return the number that `text_of` wrote."""
    return int.from_bytes(base64.b64decode(text), "big")


def joint(parts: Sequence[tuple[str, int]], polynomial: int) -> str:
    """Return the checksum of bytes that consist of parts, given the checksum and length of each."""
    crc = 0
    for text, length in parts:
        # Bytes that follow multiply the checksum before them by x to the number of their bits. Source: crc32_combine
        # in zlib.
        crc = _product(_power(8 * length, polynomial), crc, polynomial) ^ number_of(text)
    return text_of(crc)


def composite(parts: Sequence[str]) -> str:
    """Return what S3 calls a composite checksum: that of the parts' checksums, and their number."""
    return f"{crc32(b''.join(base64.b64decode(text) for text in parts))}-{len(parts)}"


@functools.lru_cache(maxsize=64)  # most parts have one length
def _power(exponent: int, polynomial: int) -> int:
    """Return x to a power, modulo the polynomial."""
    result, factor = 1 << 31, 1 << 30  # one, and x
    while exponent:
        if exponent & 1:
            result = _product(factor, result, polynomial)
        factor = _product(factor, factor, polynomial)
        exponent >>= 1
    return result


def _product(a: int, b: int, polynomial: int) -> int:
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (polynomial if b & 1 else 0)
    return product


def md5(data: Buffer) -> str:
    """Return what HTTP calls Content-MD5. Takes 1.5 ms a MiB, ten times as long as the others."""
    return _text(hashlib.md5(data, usedforsecurity=False).digest())


async def md5_of(data: Buffer) -> str:
    """Return the same, made in a thread where it takes its time."""
    return md5(data) if len(data) <= _AT_ONCE // 4 else await trio.to_thread.run_sync(md5, data)


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def require_stored(what: str, ours: str, theirs: str | None) -> None:
    """Raise Corrupt where the service reports another checksum than that of the bytes that were sent."""
    if theirs is not None and theirs != ours:
        raise Corrupt(f"{what}: the store has other bytes than were sent (checksum {theirs}, not {ours})")


def require_received(what: str, ours: str, theirs: str | None) -> None:
    """Raise Unavailable, which is tried again, where bytes are not those whose checksum came with them."""
    if theirs is not None and theirs != ours:
        raise Unavailable(f"{what}: the bytes were damaged on their way (checksum {ours}, not {theirs})")
