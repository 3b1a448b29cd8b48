"""Preconditions for services that do not decide them: a look before the act, which leaves a window between the two."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mountd.errors import NotFound, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectStore, Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


@contextlib.asynccontextmanager
async def deleting(key: Key, expect: Version | None) -> AsyncIterator[Version | None]:
    """Yield the version that the deletion in the block has to name, `None` for any.

    What is gone already is as good as deleted, unless a version was to be deleted: then VersionChanged is raised.
    """
    named = None if expect == ABSENT else expect
    try:
        yield named
    except NotFound as exc:
        if named is not None:
            raise VersionChanged(f"{key} is gone") from exc
