"""What an fsspec file system says of a file, as values of the interface. Pure."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import hashlib
from typing import TYPE_CHECKING, Any

from mountd.errors import MountdError, Unavailable
from mountd.objects.interface import Key, ObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

# What implementations call the state of an object, strongest first; without any, times and inode numbers have to do.
_STRONG = ("generation", "etag", "ETag", "version", "version_id", "md5Hash", "content_md5", "sha256")
_TIMES = ("mtime", "last_modified", "LastModified", "Last-Modified", "modified", "updated", "created")


def info_of(key: Key, info: Mapping[str, Any]) -> ObjectInfo:
    """Return what `info` says of the file or folder under a key."""
    if info["type"] == "directory":
        return marker(key)
    size = int(info.get("size") or 0)
    return ObjectInfo(key, size, mtime_ns(info), _version(info, size))


def marker(key: Key) -> ObjectInfo:
    """Return the marker that a folder is."""
    return ObjectInfo(key, 0, 0, Version("folder"))


def exactly(data: bytes | MountdError, start: int, length: int, info: ObjectInfo) -> bytes:
    """Return the bytes asked for out of what was sent. Raises Unavailable where those are others."""
    wanted = max(0, min(length, info.size - start))
    if not wanted:
        return b""
    if isinstance(data, MountdError):
        raise data
    if len(data) == info.size != wanted:  # a server that knows no ranges sends the whole
        data = data[start : start + wanted]
    if len(data) != wanted:
        raise Unavailable(f"{info.key}: the store sent {len(data)} of {wanted} bytes")
    return data


def is_exact(info: Mapping[str, Any]) -> bool:
    """Tell whether what the service says of a file is different for each of its states."""
    return any(info.get(name) for name in _STRONG) or mtime_ns(info) % 1_000_000_000 != 0


def _version(info: Mapping[str, Any], size: int) -> Version:
    strong = [f"{name}={info[name]}" for name in _STRONG if info.get(name)][:1]
    state = "\0".join([*(strong or [str(info.get("ino")), str(mtime_ns(info))]), str(size)])
    return Version(hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()[:32])


def mtime_ns(info: Mapping[str, Any]) -> int:
    """Return the first time that is given, which the same file system writes now as a number, now as a date."""
    return next((found for name in _TIMES if (found := _nanoseconds(info.get(name))) is not None), 0)


def _nanoseconds(value: object) -> int | None:
    if isinstance(value, str):
        value = _date(value)
    if isinstance(value, datetime.datetime):
        value = value.timestamp()
    return int(value * 1_000_000) * 1000 if isinstance(value, (int, float)) else None


def _date(text: str) -> datetime.datetime | None:
    """Return a date as ISO 8601 or as headers write it."""
    for parse in (datetime.datetime.fromisoformat, email.utils.parsedate_to_datetime):
        with contextlib.suppress(ValueError):
            return parse(text)
    return None
