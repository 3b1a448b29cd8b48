"""What objects cannot say of the files in a directory, as one small JSON object beside them. Pure: the format, no I/O.

The object `.mountd-attributes.json` in a directory describes the names in it that differ from the defaults:

    {"format": "mountd-attributes", "version": 1,
     "names": {"run.sh": {"mode": 493}, "link": {"kind": "symlink", "target": "run.sh"}, "data/": {"mode": 448}}}

Names are key components, those of directories with a slash at the end; `./` is the root of the store itself. Fields,
all of them optional: `mode` (permission bits), `uid`, `gid`, `atime`, `mtime`, `ctime` (nanoseconds since the epoch),
`kind` (`symlink`, `fifo`, `socket`, `char`, `block`; without it a plain file or directory), `target` (of a symlink, as
text of `mountd.objects.octets`), `rdev`, `xattrs` (name to base64), `links` (of a file with several names: `id`, and
`names` with all its keys), `version` (of the object that times and links are said of: they hold no longer when somebody
else has replaced it).
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from mountd.errors import Corrupt
from mountd.objects import octets
from mountd.objects.interface import Key, Version
from mountd.vfs.names import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Record = dict[str, Any]

# Everything whose name begins like this is ours and is not shown.
HIDDEN = ".mountd-"
NAME = ".mountd-attributes.json"
FORMAT, VERSION = "mountd-attributes", 1
MAX_SIZE = 256 * 1024 * 1024

# What Linux takes: ids (the largest one means "none"), times in whole seconds of 64 bits, paths with a NUL at the end.
_ID_MAX, _RDEV_MAX = (1 << 32) - 2, (1 << 32) - 1
_TIME_MAX = ((1 << 63) - 1) * 1_000_000_000
_TARGET_MAX = 4095
_XATTR_NAME_MAX, _XATTR_MAX = 255, 65536
# Far more names than a file has, and deeper than any record is. What is kept must be possible to write again.
_LINKS_MAX, _DEPTH_MAX = 65000, 20

KINDS = ("symlink", "fifo", "socket", "char", "block")


def _number(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high  # JSON's true and false are integers to Python


def _is_target(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(target := octets.name_of(value)) <= _TARGET_MAX and b"\0" not in target


def _is_xattrs(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_xattr(octets.name_of(name), text) for name, text in value.items())


def _is_xattr(name: bytes, text: Any) -> bool:
    # Others than users' would be believed by the kernel: file capabilities, ACLs, labels.
    named = name.startswith(b"user.") and len(name) <= _XATTR_NAME_MAX and b"\0" not in name
    return named and len(base64.b64decode(text, validate=True)) <= _XATTR_MAX


def _is_links(value: Any) -> bool:
    keys = value["names"]
    return isinstance(value["id"], str) and len(keys) <= _LINKS_MAX and all(map(_is_nameable, keys))


def _is_nameable(key: str) -> bool:
    return all(name_of(part) is not None for part in key.split("/"))


# Each tells whether a value can be what its field says; what it raises means no.
_VALID: dict[str, Callable[[Any], bool]] = {
    "mode": _number(0, 0o7777),
    "uid": _number(0, _ID_MAX),
    "gid": _number(0, _ID_MAX),
    "atime": _number(-_TIME_MAX, _TIME_MAX),
    "mtime": _number(-_TIME_MAX, _TIME_MAX),
    "ctime": _number(-_TIME_MAX, _TIME_MAX),
    "kind": lambda value: value in KINDS,
    "target": _is_target,
    "rdev": _number(0, _RDEV_MAX),
    "xattrs": _is_xattrs,
    "links": _is_links,
    "version": lambda value: isinstance(value, str),
}


def is_hidden(name: bytes) -> bool:
    """Tell whether a file name is kept for mountd's own objects."""
    return name.startswith(HIDDEN.encode())


def key_in(directory: Key) -> Key:
    """Return the key of a directory's sidecar."""
    return Key(directory + NAME)


def encode(names: dict[str, Record]) -> bytes:
    """Return the object for these records, in an order that makes equal contents equal bytes."""
    body = {"format": FORMAT, "version": VERSION, "names": names}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode(data: bytes) -> dict[str, Record]:
    """Return the records of an object. Raises Corrupt when it is not one of ours, or of a later format."""
    try:
        body = json.loads(data)
        if body["format"] != FORMAT:
            raise Corrupt("it is not a sidecar of mountd")
        if body["version"] != VERSION:
            raise Corrupt(f"it has format {body['version']}, this mountd knows {VERSION}")
        names: dict[str, Record] = body["names"]
        for name, record in names.items():
            _check(name, record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise Corrupt(f"it cannot be read: {type(exc).__name__}: {str(exc)[:200]}") from exc
    return names


class Sidecars:
    """What sidecars say of the versions of objects; see `mountd.writeback.overlay.Descriptions`."""

    def is_one(self, key: Key) -> bool:
        """Tell whether a key is that of a sidecar."""
        return key.rpartition("/")[2] == NAME

    def versions(self, key: Key, data: bytes) -> dict[Key, Version]:
        """Return the versions that a sidecar names; none where it cannot be read."""
        directory = key[: -len(NAME)]
        try:
            names = decode(data)
        except Corrupt:
            return {}
        return {Key(directory + name): Version(r["version"]) for name, r in names.items() if "version" in r}

    def with_versions(self, key: Key, data: bytes, versions: Mapping[Key, Version]) -> bytes:
        """Return the sidecar with other versions of these keys."""
        if not versions:
            return data
        directory = key[: -len(NAME)]
        names = decode(data)
        for name, record in names.items():
            if Key(directory + name) in versions:
                record["version"] = versions[Key(directory + name)]
        return encode(names)


def _check(name: str, record: Record) -> None:
    for field, value in record.items():
        valid = _VALID.get(field, _is_shallow)  # fields that a later version has added are kept and not understood
        try:
            possible = valid(value)
        except (ValueError, KeyError, TypeError, AttributeError):
            possible = False
        if not possible:
            raise Corrupt(f"field {field[:80]!r} of {name[:80]!r} cannot be {str(value)[:80]!r}")


def _is_shallow(value: Any, depth: int = _DEPTH_MAX) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(each, depth - 1) for each in inner)
