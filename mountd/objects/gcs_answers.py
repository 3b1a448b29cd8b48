"""What Google Cloud Storage's answers, and those of its tokens' service, are taken for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import google.auth.exceptions

from mountd.errors import BadCredentials, MountdError, Unavailable
from mountd.objects.interface import Chunk

if TYPE_CHECKING:
    from mountd.objects.interface import Key, ObjectInfo


def parsed(body: bytes, what: str) -> Any:
    """Return an answer in JSON. Raises Unavailable for what came from somewhere else: a portal on the way, say."""
    try:
        return json.loads(body)
    except ValueError as exc:
        raise Unavailable(f"{what}: the answer does not come from Google Cloud Storage: it is not JSON") from exc


def whole(key: Key, data: bytes, start: int, length: int, info: ObjectInfo) -> Chunk:
    """Return a chunk. Raises Unavailable where bytes are missing."""
    if len(data) != max(0, min(length, info.size - start)):
        raise Unavailable(f"{key}: the body ended after {len(data)} bytes")
    return Chunk(data, info)


def not_renewed(exc: Exception, what: str) -> MountdError:
    """Return the failure of a token that could not be had; gcsfs wraps what its library raises in its own classes."""
    reason = exc.__cause__ or exc
    passing = isinstance(reason, google.auth.exceptions.TransportError) or getattr(reason, "retryable", False)
    said = reason.args[0] if reason.args else reason
    return (Unavailable if passing else BadCredentials)(f"{what}: {said}")
