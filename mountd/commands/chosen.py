"""Which mount or store the argument of a command means: a mount point, a store's name or URI; without one the active
store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.config import Folders
from mountd.daemon.records import MountRecord
from mountd.errors import UserError
from mountd.mounts import mount_at, mount_of, running_mounts
from mountd.stores.registry import Registry

if TYPE_CHECKING:
    from mountd.stores.store import StoreConfig


def meant(named: str | None) -> MountRecord | StoreConfig:
    """Return the running mount, or the store where it has none. Raises UserError where there is no such store."""
    running = running_mounts()
    record = mount_at(named, running)
    if record is not None:
        return record
    store = Registry(Folders.of_this_user()).resolve(named)
    return mount_of(store, running) or store


def mounted(named: str | None) -> MountRecord:
    """Return the running mount. Raises UserError, with what is mounted, where there is none."""
    try:
        found = meant(named)
        if isinstance(found, MountRecord):
            return found
        missing = f"store {found.name!r} is not mounted"
    except UserError as exc:
        missing = str(exc)
    points = ", ".join(f"{each.store} at {each.mount_point}" for each in running_mounts()) or "nothing"
    raise UserError(f"{missing} (mounted: {points})")
