"""What services keep beside an object's bytes: content type, user metadata, tags, storage class, encryption.

A request that replaces an object replaces all of that, too, so what the old version carried is sent along. Most answers
bring it anyway; it is asked for only where nothing was heard of the version yet.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from mountd.errors import NotFound, VersionChanged
from mountd.objects.interface import ABSENT, Key, Version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

# Descriptions remembered, those of the objects used last. Each takes a few hundred bytes.
REMEMBERED = 4096

Description = dict[str, Any]


class Descriptions:
    """The descriptions of a store's objects, in the words of its service.

    Args:
        ask: returns the description of a version. Raises NotFound or VersionChanged where it is not there any more.
    """

    def __init__(self, ask: Callable[[Key, Version], Awaitable[Description]]) -> None:
        self._ask = ask
        self._known: OrderedDict[Key, tuple[Version, Description]] = OrderedDict()

    def remember(self, key: Key, version: Version, description: Mapping[str, Any]) -> None:
        """Note what a version carries."""
        self._known[key] = version, dict(description)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def of(self, key: Key, version: Version | None) -> Description | None:
        """Return what a version carries, `None` where there is no such version (any more)."""
        if version is None or version == ABSENT or key.endswith("/"):
            return None
        known = self._known.get(key)
        if known is not None and known[0] == version:
            return known[1]
        try:
            found = await self._ask(key, version)
        except (NotFound, VersionChanged):
            return None  # the request that follows meets the same, and says so
        self.remember(key, version, found)
        return found
