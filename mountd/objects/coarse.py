"""Versions for services that tell the states of an object apart by a time in whole seconds and a size alone.

Two writes of equal size within one second look alike there. Of the writes of this process that is known, so each state
that they leave has a version of its own; what others do within a second stays unseen, and users are told.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from mountd.objects.interface import Version

if TYPE_CHECKING:
    from mountd.objects.interface import Key

# Keys whose last write is remembered. One that is forgotten is taken for changed: it is read again.
REMEMBERED = 20_000


class OwnWrites:
    """What this process wrote last under each key: how the service describes it, and the version that it was given."""

    def __init__(self) -> None:
        self._last: dict[Key, tuple[Version, Version]] = {}

    def version(self, key: Key, described: Version) -> Version:
        """Return the version of an object that the service describes so."""
        known, given = self._last.get(key, (described, described))
        return given if known == described else described

    def wrote(self, key: Key, described: Version, *, replaced: Version | None) -> Version:
        """Return the version of what was just written over the version `replaced`, `None` where that is not known."""
        known = self._last.pop(key, None)
        alike = described == replaced or (known is not None and described == known[0])
        given = Version(secrets.token_hex(16)) if alike else described
        self._last[key] = described, given
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        return given
