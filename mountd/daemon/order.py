"""What a daemon is told when it starts: which store, where, and how. It comes on standard input, never in arguments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mountd.config import Folders, MountSettings
from mountd.stores.store import StoreConfig


@dataclass(frozen=True, slots=True)
class MountOrder:
    """One mount to be made. Options hold references to secrets, which the daemon resolves."""

    store: StoreConfig
    mount_point: Path
    settings: MountSettings

    @property
    def data(self) -> Path:
        """The folder of the store's local state."""
        return Folders.of_this_user().state / self.store.state_name

    def to_json(self) -> str:
        """Return the order as JSON; `from_json` takes it back."""
        return json.dumps(
            {
                "store": asdict(self.store) | {"options": dict(self.store.options), "mount": dict(self.store.mount)},
                "mount_point": str(self.mount_point),
                "settings": asdict(self.settings),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> MountOrder:
        """Return the order that `to_json` wrote."""
        fields = json.loads(text)
        return cls(StoreConfig(**fields["store"]), Path(fields["mount_point"]), MountSettings(**fields["settings"]))
