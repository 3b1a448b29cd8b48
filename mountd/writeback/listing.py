"""Walking all keys below a prefix, and the order in which keys can come and go."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Protocol, TypeVar

from mountd.objects.interface import Key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mountd.objects.interface import ObjectInfo, ObjectStore


class _Keyed(Protocol):
    @property
    def key(self) -> Key: ...


KeyedT = TypeVar("KeyedT", bound=_Keyed)


async def all_below(store: ObjectStore, prefix: Key) -> list[ObjectInfo]:
    """Return every object whose key begins with `prefix`, markers included, once each."""
    found: dict[Key, ObjectInfo] = {}  # keys can move from one page to the next while the pages are read
    cursor = None
    while True:
        page = await store.list_page(prefix, recursive=True, cursor=cursor)
        found |= {info.key: info for info in page.objects}
        cursor = page.cursor
        if cursor is None:
            return list(found.values())


def making_order(found: Iterable[KeyedT]) -> list[list[KeyedT]]:
    """Return groups to be made one after the other: markers, the shallowest first, then objects.

    Services that keep their keys in a tree make a directory for the first key below it. SeaweedFS looks first and then
    puts a plain one, over a marker that was stored in between: seen in 5 of 500 tries, and the directory is gone with
    the last object in it.
    """
    items = list(found)
    markers = sorted((item for item in items if item.key.endswith("/")), key=_height)
    objects = [item for item in items if not item.key.endswith("/")]
    return [*(list(group) for _, group in groupby(markers, key=_height)), *([objects] if objects else [])]


def removal_order(keys: Iterable[Key], below: Key) -> list[list[Key]]:
    """Return groups of keys to be deleted one after the other: objects first, then markers, the deepest first.

    The order matters in a folder of this machine, where markers are directories, which go only when they are empty. The
    markers of all directories at and below `below` are among them, whether they are known to exist or not: services
    that keep their keys in a tree (SeaweedFS) go on listing a directory that was never marked when it has become empty.
    """
    found = set(keys)
    folders = {key for key in found if key.endswith("/")} | {below}
    for key in found:
        parts = key[len(below) :].split("/")[:-1]
        folders.update(Key(below + "/".join(parts[:depth]) + "/") for depth in range(1, len(parts) + 1))
    ordered = sorted(folders, key=_depth)
    return [sorted(found - folders), *(list(group) for _, group in groupby(ordered, key=_depth))]


def _depth(key: Key) -> int:
    return -key.count("/")


def _height(item: _Keyed) -> int:
    return item.key.count("/")
