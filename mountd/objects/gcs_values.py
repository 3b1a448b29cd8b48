"""Values of the requests and answers of Google's JSON API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mountd.objects.http_status import of_status
from mountd.objects.interface import ABSENT, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mountd.errors import MountdError
    from mountd.objects.described import Description


def encoded(url: str) -> Any:
    """Return an address as aiohttp takes it: encoded already, so that the slashes of a key stay a part of it."""
    from yarl import URL  # what aiohttp takes; a plain text would be decoded and encoded again

    return URL(url, encoded=True)


def condition(expect: Version | None) -> dict[str, str]:
    """Return the precondition of a request."""
    if expect is None:
        return {}
    return {"ifGenerationMatch": "0" if expect == ABSENT else expect}


def hash_of(answer: Mapping[str, str]) -> str | None:
    """Return the CRC32C of the whole object, which comes with each part of it."""
    hashes = (each.strip().partition("=") for each in answer.get("x-goog-hash", "").split(","))
    return next((value for name, _, value in hashes if name == "crc32c"), None)


def cut(status: int, data: bytes, start: int, length: int) -> bytes:
    """Return the range asked for, also from a service that has sent everything."""
    return data if status == 206 else data[start : start + length]


def failure(status: int, body: bytes, what: str) -> MountdError:
    """Return the error that an answer with a status of 400 or more tells of."""
    try:
        error = json.loads(body)["error"]
        message = error if isinstance(error, str) else error.get("message", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        message = body[:200].decode("utf-8", "replace")
    return of_status(status)(f"{what}: {message or f'HTTP status {status}'}")


def key_of(described: Description, parameter: str) -> dict[str, str]:
    """Return the parameter of a request that names the key of encryption; answers name a version of it."""
    name = described.get("kmsKeyName", "").partition("/cryptoKeyVersions/")[0]
    return {parameter: name} if name else {}


def resource(described: Description) -> Description:
    """Return what of a description goes into the body of a request."""
    return {name: value for name, value in described.items() if name != "kmsKeyName"}
