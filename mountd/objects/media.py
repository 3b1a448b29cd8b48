"""The content type of a new object, from its name: browsers and other clients of the store go by it."""

from __future__ import annotations

import mimetypes
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mountd.objects.interface import Key

UNKNOWN = "application/octet-stream"

# What `mimetypes` does not know and machine-learning teams store.
_EXTRA = {
    ".parquet": "application/vnd.apache.parquet",
    ".jsonl": "application/jsonl",
    ".ipynb": "application/x-ipynb+json",
    ".md": "text/markdown",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_ENCODINGS = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


@lru_cache(maxsize=1)
def _types() -> mimetypes.MimeTypes:
    # Python's own table, not this machine's files: the same name gets the same type everywhere.
    types = mimetypes.MimeTypes()
    for suffix, kind in _EXTRA.items():
        types.add_type(kind, suffix)
    return types


def content_type(key: Key) -> str:
    """Return the media type for a key, `application/octet-stream` where its name does not tell."""
    kind, encoding = _types().guess_type(key.rpartition("/")[2])
    if encoding is not None:
        return _ENCODINGS.get(encoding, UNKNOWN)
    return kind or UNKNOWN


def retyped(kind: str | None, source: Key, target: Key) -> str | None:
    """Return the content type for a copy, `None` where it keeps its own.

    A type that only came from the old name makes way for the one of the new name: programs that save under a temporary
    name and rename would otherwise never get the right one.
    """
    wanted = content_type(target)
    return wanted if kind in (content_type(source), UNKNOWN) and wanted not in (kind, UNKNOWN) else None
