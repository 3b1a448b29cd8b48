"""The value that says what a store is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """A store as it is registered, or as a URI describes it.

    Attributes:
        name: unique among this user's stores, safe as a folder name.
        flavor: name of the flavor that opens it.
        root: URI without a trailing slash; an absolute path for the flavor `local`.
        options: what the flavor is opened with, as in the settings file: secrets are references (`env:NAME`,
        `file:PATH`),
            see `credentials.resolve`.
        mount: the store's own mount settings, as in the settings file; a layer for `MountSettings.merge`.
        description: a note for people.
        registered: whether the settings know it; False for a store that a URI alone describes.
    """

    name: str
    flavor: str
    root: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    mount: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    registered: bool = True

    @property
    def state_name(self) -> str:
        """Name of the folder that holds this store's journal and backing files.

        It depends on where the store is, not on its name alone: a name that is given to another bucket must not find
        the first one's pending writes and send them there.
        """
        service = self.options.get("endpoint_url") or self.options.get("account_name") or self.options.get("host") or ""
        place = "\0".join((self.flavor, self.root, str(service)))
        return f"{self.name}-{hashlib.sha256(place.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
