"""How a large object is cut into parts, and what each part is made of. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mountd.data.extents import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# After this many parts the part size doubles: 10,000 parts of 8 MiB would end at 80 GiB, and services store 5 TiB.
DOUBLE_EVERY = 1000


def parts(size: int, part_size: int) -> Iterator[tuple[int, Span]]:
    """Yield number (from 1) and span of each part of an object of `size` bytes; where a part lies depends on no size.

    With 8 MiB parts, 10,000 of them hold 7.8 TiB.
    """
    number, start = 1, 0
    while start < size:
        end = start + (part_size << ((number - 1) // DOUBLE_EVERY))
        yield number, Span(start, min(end, size))
        number, start = number + 1, end


def part_at(offset: int, part_size: int) -> tuple[int, Span]:
    """Return number and full span of the part that holds byte `offset`."""
    number, start = 1, 0
    while True:
        length = part_size << ((number - 1) // DOUBLE_EVERY)
        if offset < start + length * DOUBLE_EVERY:
            steps = (offset - start) // length
            return number + steps, Span(start + steps * length, start + (steps + 1) * length)
        number, start = number + DOUBLE_EVERY, start + length * DOUBLE_EVERY


class Make(enum.Enum):
    """Where a part's bytes come from."""

    KEEP = enum.auto()  # it was sent ahead and has not changed since
    COPY = enum.auto()  # inside the store, from the version that is being replaced
    SEND = enum.auto()


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a planned upload."""

    number: int
    span: Span
    make: Make


def plan(
    size: int, part_size: int, *, dirty: Sequence[Span], sent: frozenset[int], copyable: int, copy_limit: int
) -> list[Part]:
    """Decide part by part how an object of `size` bytes comes about with the fewest bytes sent.

    Args:
        dirty: sorted spans that the store does not have.
        sent: numbers of parts that lie in the store already, as they are now.
        copyable: bytes of the replaced object that parts can be copied from; 0 where the store cannot.
        copy_limit: bytes that one copy takes at most: parts next to each other are copied at once.
    """
    planned: list[Part] = []
    i = 0
    for number, span in parts(size, part_size):
        while i < len(dirty) and dirty[i].end <= span.start:
            i += 1
        touched = i < len(dirty) and dirty[i].start < span.end
        if number in sent:
            make = Make.KEEP
        elif touched or span.end > copyable:
            make = Make.SEND
        else:
            make = Make.COPY
        last = planned[-1] if planned else None
        if last and last.make is make is Make.COPY and span.end - last.span.start <= copy_limit:
            planned[-1] = Part(last.number, Span(last.span.start, span.end), make)
        else:
            planned.append(Part(number, span, make))
    return planned


def plan_append(size: int, part_size: int, *, start: int, sent: frozenset[int]) -> list[Part]:
    """Like `plan`, for bytes appended at `start` to an object that is taken over whole. `start`: two parts or more."""
    planned = [Part(1, Span(0, start), Make.COPY)]
    for number, span in parts(size, part_size):
        if span.end > start:
            make = Make.KEEP if number in sent else Make.SEND
            planned.append(Part(number, Span(max(start, span.start), span.end), make))
    return planned


def pieces(part: Part, part_size: int) -> Iterator[Part]:
    """Yield the single parts of several that were to be copied at once."""
    at = part.span.start
    while at < part.span.end:
        number, span = part_at(at, part_size)
        yield Part(number, Span(at, min(span.end, part.span.end)), part.make)
        at = span.end
