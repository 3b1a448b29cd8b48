"""What stands between the file system and the store: the pending changes of one mount, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mountd.writeback.backlog import Backlog
from mountd.writeback.drain import Drainer
from mountd.writeback.overlay import Descriptions, Overlay
from mountd.writeback.rows import Rows
from mountd.writeback.sender import Sender
from mountd.writeback.spool import Spool
from mountd.writeback.spooler import Spooler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trio

    from mountd.config import MountSettings
    from mountd.objects.interface import Key, ObjectStore
    from mountd.writeback.journal import Journal


@dataclass(frozen=True, slots=True)
class Deferral:
    """The parts that share the pending changes.

    Attributes:
        store: the store as this machine sees it.
        deferred: whether all changes are acknowledged before the store has them (write-back), or only those are pending
            that could not be stored.
        limit: bytes; more that is pending slows writers down.
    """

    store: Overlay
    backlog: Backlog
    drainer: Drainer
    spooler: Spooler
    deferred: bool
    limit: int


def build(
    store: ObjectStore,
    journal: Journal,
    spool: Path,
    *,
    settings: MountSettings,
    descriptions: Descriptions,
    nursery: trio.Nursery,
    failed: Callable[[str], None],
    lost: Callable[[Key], None],
) -> Deferral:
    """Return the parts for one mount, with what an earlier one has left in the journal and in the folder `spool`."""
    backlog = Backlog(Rows(journal), Spool(spool))
    sender = Sender(store, backlog, nursery=nursery, part_size=settings.part_size)
    drainer = Drainer(
        store, backlog, sender, on_conflict=settings.on_conflict, failed=failed, lost=lost, read_only=settings.read_only
    )
    overlay = Overlay(store, backlog, drainer, descriptions, deferred=settings.write_back)
    return Deferral(overlay, backlog, drainer, Spooler(backlog), settings.write_back, settings.write_back_limit)
