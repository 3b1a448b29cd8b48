"""The names of a file that has several: what is said of one tells the keys of the others, and not more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.vfs.names import name_of
from mountd.vfs.nodes import Directory, File

if TYPE_CHECKING:
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.nodes import Node, OtherName


async def find_names(node: Node, namespace: Namespace) -> None:
    """Look up the names of a file of which only the keys are known; those that lead elsewhere are dropped.

    Whoever changes the file does so first: each of its names has to be told. No lock is held meanwhile, as a directory
    on the way to a name may be being renamed. Raises errors of the store.
    """
    if not isinstance(node, File):
        return
    for other in [o for o in node.others if o.directory is None]:
        if await _found(other, namespace) is not node and other in node.others:
            node.others.remove(other)


async def _found(other: OtherName, namespace: Namespace) -> Node | None:
    at: Node | None = namespace.nodes.root
    for part in other.hint.split("/"):
        name = name_of(part)
        at = await namespace.lookup(at, name) if isinstance(at, Directory) and name is not None else None
    return at
