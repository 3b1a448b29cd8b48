"""What a daemon says when it ends, or is asked to, and the store does not have everything. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.vfs.storing import Pending


def fate(pending: Pending) -> str:
    """Return what becomes of a file that the store does not have when the daemon ends."""
    if pending.safe:
        return "kept in the journal, the next mount sends it"
    return "it goes to the journal now, if the local disk takes it"


def summary(pending: Sequence[Pending]) -> str:
    """Return how much the store lacks, and of the first file, why."""
    if not pending:
        return "nothing is left to be stored"
    size = units.format_size(sum(each.bytes for each in pending))
    first = pending[0].path + (f" ({pending[0].error})" if pending[0].error else "")
    return f"{len(pending)} files with {size} are not in the store yet, first of all {first}"


def last_words(pending: Sequence[Pending]) -> list[str]:
    """Return the lines with which a daemon ends: what is left, and whether it is safe."""
    if not pending:
        return ["everything that was written is in the store"]
    lines = [f"{each.path}: not stored ({each.error or 'no time was left'}); {fate(each)}" for each in pending]
    return [f"ending though {summary(pending)}", *lines]
