"""Extended attributes that tell about the mount. They can be read, not set, and are not listed, so nothing copies them.

getfattr -n user.mountd.state FILE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import NoAttribute
from mountd.vfs.nodes import Directory, File, Node
from mountd.writeback.pending import is_local

if TYPE_CHECKING:
    from mountd.writeback.deferral import Deferral

PREFIX = b"user.mountd."


def value(node: Node, name: bytes, *, root: str, in_place: bool, deferral: Deferral | None) -> bytes:
    """Return `user.mountd.uri`, `etag`, `version` or `state` of a node. Raises NoAttribute.

    `state` is `absent` (only in the store), `partial`, `cached` (wholly here as well), `dirty` (changes only here, not
    closed yet), `uploading`, or `pending` (acknowledged, on its way to the store). `in_place`: what the store has is
    here, because the store is a folder of this machine.
    """
    if name == PREFIX + b"uri":
        key = node.key if isinstance(node, (File, Directory)) else ""
        return f"{root.rstrip('/')}/{key}".rstrip("/").encode("utf-8", "surrogatepass")
    wanted = name[len(PREFIX) :]
    if not isinstance(node, File) or wanted not in (b"etag", b"version", b"state"):
        raise NoAttribute(f"{node.name!r} has no attribute {name!r}")
    if wanted != b"state":
        return _version(node, deferral).encode()
    told = _state(node, deferral)
    return b"cached" if in_place and told in ("absent", "partial") else told.encode()


def _version(node: File, deferral: Deferral | None) -> str:
    """Return what the store calls the object, empty while it has none."""
    info = node.info
    if info is None or deferral is None or not is_local(info.version):
        return info.version if info is not None else ""
    final = deferral.backlog.final(info.version)
    return final.info.version if final is not None else ""


def _state(node: File, deferral: Deferral | None) -> str:
    if node.dirty:
        return "uploading" if node.lock.locked() else "dirty"
    info = node.info
    if deferral is not None and info is not None and deferral.backlog.pending.made(info.key, info.version):
        return "pending"
    content = node.content
    if content is None or not any(run.state is not None for run in content.extents.runs(0, content.size)):
        return "absent" if node.size else "cached"
    return "cached" if content.extents.covers(0, content.size) else "partial"
