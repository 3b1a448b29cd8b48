"""Bytes of files that can be made again from a short description, so that a manifest tells all about them."""

import functools
import hashlib
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Bytes `[start, stop)` of the endless stream that a number stands for; the stream 0 is zeros."""

    stream: int
    start: int
    stop: int


@dataclass(frozen=True)
class Content:
    """What a file holds: the pieces, one after the other. Equal bytes may be described differently, see `digest`."""

    pieces: tuple[Piece, ...] = ()

    @property
    def size(self):
        return sum(piece.stop - piece.start for piece in self.pieces)

    @property
    def digest(self):
        """Size and SHA-256: what tells contents apart."""
        return self.size, _sha256(self)

    def data(self):
        """Return the bytes."""
        return b"".join(_stream(piece.stream, piece.stop)[piece.start : piece.stop] for piece in self.pieces)

    def slice(self, start, stop):
        """Return bytes `[start, stop)`, zeros where there are none."""
        found, at = [], 0
        for piece in (*self.pieces, Piece(0, 0, max(0, stop - self.size))):
            size = piece.stop - piece.start
            low, high = max(start, at), min(stop, at + size)
            if low < high:
                found.append(Piece(piece.stream, piece.start + low - at, piece.start + high - at))
            at += size
        return Content(tuple(found))

    def __add__(self, other):
        return Content(self.pieces + other.pieces)

    def written(self, offset, other):
        """Return what becomes of it when another content is written at `offset`."""
        end = offset + other.size
        return self.slice(0, offset) + other + self.slice(end, max(end, self.size))


def fresh(stream, size):
    """Return `size` bytes that occur nowhere else."""
    return Content((Piece(stream, 0, size),) if size else ())


@functools.lru_cache(maxsize=512)
def _sha256(content):
    return hashlib.sha256(content.data()).hexdigest()


def _stream(number, length):
    # Whole words: a shorter stream has to be the beginning of a longer one.
    return bytes(length) if number == 0 else random.Random(number).randbytes(-(-length // 4) * 4)
