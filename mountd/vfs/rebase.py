"""What the nodes of a directory stand for once its objects have other keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mountd.objects.interface import Key, ObjectInfo
from mountd.vfs.nodes import Directory, File

if TYPE_CHECKING:
    from collections.abc import Callable


def moved(info: ObjectInfo, source: Key, goal: Key) -> ObjectInfo:
    """Return what a rename in one step makes of an object: the same version under another key."""
    return replace(info, key=Key(goal + info.key[len(source) :])) if info.key.startswith(source) else info


def rebase(directory: Directory, became: Callable[[ObjectInfo], ObjectInfo]) -> None:
    """Tell the nodes at and below which objects they stand for now; what was listed has other keys.

    A node whose version somebody else had replaced before the copying stands for none of them, and is found to be
    outdated at its next open.
    """
    for node in [directory, *directory.tree()]:
        if isinstance(node, Directory):
            node.listing = node.coming = node.sidecar = None
            _rebase_catalog(node, became)
        elif isinstance(node, File):
            _rebase_file(node, became)


def _rebase_catalog(directory: Directory, became: Callable[[ObjectInfo], ObjectInfo]) -> None:
    catalog = directory.catalog
    for slot in catalog.slots():
        info = catalog.fact(slot, directory.key)
        if info is None:
            continue
        new = became(info)
        if new is info:  # replaced by somebody else, who knows by what
            catalog.drop(slot)
        else:
            catalog.update(slot, new)


def _rebase_file(node: File, became: Callable[[ObjectInfo], ObjectInfo]) -> None:
    if node.info is not None and (new := became(node.info)) is not node.info:
        node.info = new
        if node.content is not None and node.content.base is not None:
            node.content.base = new
    for other in node.others:
        if other.info is not None:
            other.info = became(other.info)
