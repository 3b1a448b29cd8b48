"""Answers of stores that lack what only some can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mountd.objects.interface import Key, ObjectInfo, Version


class Basic:
    """Refuses the requests that go with a capability; a store that has it overrides them."""

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        raise Unsupported("this store deletes one by one")

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None = None) -> ObjectInfo:
        raise Unsupported("this store can only copy and delete")
