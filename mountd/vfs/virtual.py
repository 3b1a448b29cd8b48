"""Extended attributes that tell about the mount. They can be read, not set, and are not listed, so nothing copies them.

getfattr -n user.mountd.state FILE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import NoAttribute
from mountd.vfs.nodes import Directory, File, Node

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = b"user.mountd."


def value(node: Node, name: bytes, *, root: str, in_place: bool) -> bytes:
    """Return `user.mountd.uri`, `etag`, `version` or `state` of a node. Raises NoAttribute.

    `state` is `absent` (only in the store), `partial`, `cached` (wholly here as well), `dirty` (changes only here) or
    `uploading`. `in_place`: what the store has is here, because the store is a folder of this machine.
    """
    if name == PREFIX + b"uri":
        key = node.key if isinstance(node, (File, Directory)) else ""
        return f"{root.rstrip('/')}/{key}".rstrip("/").encode("utf-8", "surrogatepass")
    tell = _OF_FILES.get(name[len(PREFIX) :])
    if tell is None or not isinstance(node, File):
        raise NoAttribute(f"{node.name!r} has no attribute {name!r}")
    told = tell(node)
    return b"cached" if in_place and told in ("absent", "partial") else told.encode()


def _version(node: File) -> str:
    return node.info.version if node.info is not None else ""


def _state(node: File) -> str:
    if node.dirty:
        return "uploading" if node.lock.locked() else "dirty"
    content = node.content
    if content is None or not any(run.state is not None for run in content.extents.runs(0, content.size)):
        return "absent" if node.size else "cached"
    return "cached" if content.extents.covers(0, content.size) else "partial"


_OF_FILES: dict[bytes, Callable[[File], str]] = {b"etag": _version, b"version": _version, b"state": _state}
