"""Inode numbers: each is given out once, and some stand for names that have no node.

The kernel keeps the number of every name that a listing has told it of, and gives it back in `forget`. A node for each
would cost ten times what is known of the name; so a number leads to the name's slot in the catalog of its directory,
and a node with that number is made when somebody does more than look.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.vfs.nodes import Directory

# Numbers are reserved for a directory in blocks, so that a number leads to its directory. A block goes when the kernel
# has forgotten all that is in it.
BLOCK = 256


class Block:
    """Consecutive numbers of names in one directory.

    `counts`: how many times the kernel has been told of each; `live`: how many of them it still knows.
    """

    __slots__ = ("counts", "directory", "first", "live", "slots")

    def __init__(self, first: int, directory: Directory) -> None:
        self.first = first
        self.directory = directory
        self.slots = array("I")
        self.counts = array("I")
        self.live = 0


class Numbers:
    """The numbers of one mount; 1 is the root's."""

    def __init__(self) -> None:
        self._single = 1
        self._next_block = BLOCK
        self._blocks: dict[int, Block] = {}

    def single(self) -> int:
        """Return a number for a node."""
        self._single += 1
        if self._single % BLOCK == 0:
            self._single = self._next_block
            self._next_block += BLOCK
        return self._single

    def assign(self, directory: Directory, slot: int) -> int:
        """Return the number of a name without a node, given to it now if it has none."""
        ino = directory.catalog.inos[slot]
        if ino == 0 or ino // BLOCK not in self._blocks:
            block = directory.block
            if block is None or len(block.slots) == BLOCK:
                block = directory.block = self._reserve(directory, block)
            ino = block.first + len(block.slots)
            block.slots.append(slot)
            block.counts.append(0)
            directory.catalog.inos[slot] = ino
        return ino

    def place(self, ino: int) -> tuple[Directory, int] | None:
        """Return the directory and slot that a number stands for, `None` where it stands for none any more."""
        block = self._blocks.get(ino // BLOCK)
        if block is None or ino % BLOCK >= len(block.slots):
            return None
        slot = block.slots[ino % BLOCK]
        inos = block.directory.catalog.inos
        return (block.directory, slot) if slot < len(inos) and inos[slot] == ino else None

    def told(self, ino: int) -> None:
        """The kernel has just been told of a number."""
        block = self._blocks[ino // BLOCK]
        block.live += not block.counts[ino % BLOCK]
        block.counts[ino % BLOCK] += 1

    def forget(self, ino: int, lookups: int) -> None:
        """The kernel gives back `lookups` references."""
        block = self._blocks.get(ino // BLOCK)
        at = ino % BLOCK
        if block is not None and at < len(block.counts):
            self._count(block, at, max(0, block.counts[at] - lookups))

    def take(self, directory: Directory, slot: int) -> tuple[int, int]:
        """Return number and lookups of a name that gets a node; 0 where the kernel does not know it."""
        ino = directory.catalog.inos[slot]
        directory.catalog.inos[slot] = 0
        block = self._blocks.get(ino // BLOCK)
        if block is None or ino == 0:
            return 0, 0
        lookups = block.counts[ino % BLOCK]
        self._count(block, ino % BLOCK, 0)
        return ino, lookups

    def moved(self, directory: Directory) -> None:
        """The directory's catalog is another one, with other slots."""
        for slot, ino in enumerate(directory.catalog.inos):
            if ino in self:
                self._blocks[ino // BLOCK].slots[ino % BLOCK] = slot

    def leave(self, directory: Directory) -> None:
        """The directory is gone; its block goes when the kernel has forgotten what is in it."""
        block, directory.block = directory.block, None
        if block is not None and not block.live:
            del self._blocks[block.first // BLOCK]

    def known_in(self, directory: Directory) -> list[int]:
        """Return the slots of the names without a node in a directory that the kernel knows."""
        return [slot for slot, ino in enumerate(directory.catalog.inos) if ino and self._count_of(ino)]

    def _count_of(self, ino: int) -> int:
        block = self._blocks.get(ino // BLOCK)
        return block.counts[ino % BLOCK] if block is not None and ino % BLOCK < len(block.counts) else 0

    def __contains__(self, ino: int) -> bool:
        return ino // BLOCK in self._blocks

    def __len__(self) -> int:
        """How many names without a node the kernel knows."""
        return sum(block.live for block in self._blocks.values())

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks that are in use."""
        return iter(self._blocks.values())

    def _reserve(self, directory: Directory, full: Block | None) -> Block:
        if full is not None and not full.live:
            del self._blocks[full.first // BLOCK]
        block = self._blocks[self._next_block // BLOCK] = Block(self._next_block, directory)
        self._next_block += BLOCK
        return block

    def _count(self, block: Block, at: int, count: int) -> None:
        known, block.counts[at] = block.counts[at], count
        if not known or count:
            return
        place = self.place(block.first + at)
        if place is not None:  # to be given a new number when it is told of again, as a new node would be
            block.directory.catalog.inos[place[1]] = 0
        block.live -= 1
        if not block.live and block.directory.block is not block:
            del self._blocks[block.first // BLOCK]
