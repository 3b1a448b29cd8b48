"""Walking all keys below a prefix, and the order in which they can go."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mountd.objects.interface import Key, ObjectInfo, ObjectStore


async def all_below(store: ObjectStore, prefix: Key) -> list[ObjectInfo]:
    """Return every object whose key begins with `prefix`, markers included."""
    found: list[ObjectInfo] = []
    cursor = None
    while True:
        page = await store.list_page(prefix, recursive=True, cursor=cursor)
        found += page.objects
        cursor = page.cursor
        if cursor is None:
            return found


def removal_order(objects: Iterable[ObjectInfo]) -> list[list[ObjectInfo]]:
    """Return groups to be deleted one after the other: objects first, then markers, the deepest first.

    In a folder of this machine markers are directories, which go only when they are empty.
    """

    def turn(info: ObjectInfo) -> int:
        return -info.key.count("/") if info.key.endswith("/") else -(1 << 30)

    return [list(group) for _, group in groupby(sorted(objects, key=turn), key=turn)]
