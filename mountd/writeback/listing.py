"""Walking all keys below a prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
