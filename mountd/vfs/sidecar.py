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

import json
from typing import TYPE_CHECKING, Any

from mountd.errors import Corrupt
from mountd.objects.interface import Key, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

Record = dict[str, Any]

# Everything whose name begins like this is ours and is not shown.
HIDDEN = ".mountd-"
NAME = ".mountd-attributes.json"
FORMAT, VERSION = "mountd-attributes", 1
MAX_SIZE = 256 * 1024 * 1024

_TYPES: dict[str, type | tuple[type, ...]] = {
    "mode": int,
    "uid": int,
    "gid": int,
    "atime": int,
    "mtime": int,
    "ctime": int,
    "kind": str,
    "target": str,
    "rdev": int,
    "xattrs": dict,
    "links": dict,
    "version": str,
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
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise Corrupt(f"it cannot be read: {type(exc).__name__}: {exc}") from exc
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
        expected = _TYPES.get(field)  # fields that a later version has added are kept and not understood
        if expected is not None and not isinstance(value, expected):
            raise Corrupt(f"field {field} of {name!r} is {type(value).__name__}")
