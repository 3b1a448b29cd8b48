"""URIs of artifacts to paths under a mount, and back. Pure: nothing is opened, resolved or expanded.

A URI is a scheme and path components; it belongs to a store when the store's components are a prefix of its own.
Percent signs, spaces and everything else that a key may hold are taken literally, as the stores' own clients take them.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mountd.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path, PurePath

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
# Several names of one service. Everything else is another place, even where the rest is equal.
_ALIASES = {"gcs": "gs", "s3a": "s3", "az": "abfs", "abfss": "abfs", "local": "file"}


@dataclass(frozen=True, slots=True)
class Root:
    """Where a store, or an artifact, is: equal for all spellings of one place.

    Attributes:
        scheme: the one scheme that stands for all its aliases; `file` for paths.
        components: the bucket (or host) and the path below it; a path's own components.
    """

    scheme: str
    components: tuple[str, ...]

    @classmethod
    @functools.lru_cache(maxsize=256)  # roots are asked for again and again, and a URI twice on its way to a path
    def parse(cls, uri: str) -> Root:
        """Take a URI or an absolute path apart. One trailing slash, the sign of a folder, is allowed.

        Raises UserError for a relative path, an empty component, `.`, `..` and the NUL character.
        """
        if match := _SCHEME.fullmatch(uri):
            scheme, rest = match[1].lower(), match[2]
        elif uri.startswith("/"):
            scheme, rest = "file", uri
        else:
            raise UserError(f"{uri!r} is neither a URI like s3://bucket/key nor an absolute path")
        scheme = _ALIASES.get(scheme, scheme)
        return cls(scheme, _components(uri, rest, absolute=scheme == "file"))

    def below(self, other: Root) -> tuple[str, ...] | None:
        """Return the components that lead from `other` down to this place, `None` where it is not inside `other`."""
        depth = len(other.components)
        if self.scheme != other.scheme or self.components[:depth] != other.components:
            return None
        return self.components[depth:]


def _components(uri: str, rest: str, *, absolute: bool) -> tuple[str, ...]:
    if absolute:
        if not rest.startswith("/"):
            raise UserError(f"{uri!r} names a host; local artifacts are file:///folder/name or /folder/name")
        rest = rest[1:]
    if "\0" in rest:
        raise UserError(f"{uri!r} holds the NUL character, which no path can")
    rest = rest.removesuffix("/")
    parts = tuple(rest.split("/")) if rest else ()
    # An authority may be empty where the scheme has none (memory:///key); a name inside a store may not.
    for position, part in enumerate(parts):
        if part in (".", "..") or (not part and (absolute or position > 0)):
            raise UserError(f"{uri!r} holds an empty, '.' or '..' component, which names no artifact")
    return parts


def contains(root: str, uri: str) -> bool:
    """Tell whether `uri` is `root` or lies below it. Raises UserError where either is malformed."""
    return Root.parse(uri).below(Root.parse(root)) is not None


def to_path(root: str, mount_point: Path, uri: str) -> Path:
    """Return where the artifact `uri` is, with the store at `root` mounted at `mount_point`.

    Raises UserError, naming the root, where the URI is not inside it.
    """
    try:
        names = Root.parse(uri).below(Root.parse(root))
    except UserError as error:
        raise UserError(f"{error} (the root of the store is {root})", error.exit_code) from error
    if names is None or "" in names:
        raise UserError(f"{uri} is not inside the store, whose root is {root}")
    return mount_point.joinpath(*names)


def to_uri(root: str, mount_point: Path, path: PurePath) -> str:
    """Return the URI of what is at the absolute `path`, with the store at `root` mounted at `mount_point`.

    Raises UserError, naming the mount point, where the path is not under it.
    """
    names = path.parts[len(mount_point.parts) :]
    if path.parts[: len(mount_point.parts)] != mount_point.parts or ".." in names:
        raise UserError(f"{path} is not under {mount_point}, where {root} is mounted")
    if not names:
        return root
    return root + ("" if root.endswith("/") else "/") + "/".join(names)
