"""Preconditions for services that do not decide them: a look before the act, which leaves a window between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import NotFound, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectStore, Version

if TYPE_CHECKING:
    from mountd.objects.interface import ObjectInfo


async def look(store: ObjectStore, key: Key, expect: Version | None) -> None:
    """Raise VersionChanged where `key` does not hold `expect` now."""
    if expect is None:
        return
    try:
        found = (await store.stat(key)).version
    except NotFound:
        found = ABSENT
    if found != expect:
        raise VersionChanged(f"{key} is not in the version expected")


def require(info: ObjectInfo, version: Version | None) -> ObjectInfo:
    """Return what a read has brought, unless it is of another version than the one asked for. Raises VersionChanged."""
    if version is not None and info.version != version:
        raise VersionChanged(f"{info.key} was changed by somebody else")
    return info
