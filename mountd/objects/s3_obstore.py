"""Ranges of objects read, and small objects stored, through obstore, the Rust library, in a tenth of botocore's time.

It is given where requests go and how they are signed (see `s3_route`); it repeats nothing. What goes wrong is said as
botocore says it where the service has answered; everything else the caller has to ask botocore's client for.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
import trio
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from obstore.store import S3Store as Bucket

from mountd.errors import Unavailable
from mountd.objects import s3_values as values
from mountd.objects.interface import ABSENT, Chunk, Key
from mountd.objects.limit import DATA_REQUESTS
from mountd.objects.preconditions import require
from mountd.objects.s3_wire import MOVED

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import S3Credential

    from mountd.objects.bridge import Bridge
    from mountd.objects.described import Description
    from mountd.objects.interface import Buffer, Version
    from mountd.objects.s3_route import Route

# Smaller bodies become `bytes`, which everything can be done with; larger ones stay where obstore has put them.
SMALL = 64 * 1024

# Larger objects are sent with a checksum that the service keeps, which obstore does not send.
MAX_PUT = 1024 * 1024
_ATTRIBUTES = {
    "ContentType": "Content-Type",
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
}

# What botocore renews is asked for after this time again. obstore takes credentials for expired five minutes early.
_ASKED_AGAIN, _EARLY = datetime.timedelta(minutes=1), datetime.timedelta(minutes=5)
_RENEWAL = 30.0  # seconds that a renewal may take

# "... in 1.7ms - Server returned non-2xx status code: 404 Not Found: <the body>", and then a dump of the error.
_ANSWERED = re.compile(r"Server returned non-2xx status code: (\d{3})[^:]*: (.*?)\n\nDebug source:\n", re.DOTALL)
_UNDERSTOOD = (403, 404, 412, 416, 500, 502, 504)  # not 503, as how long to wait is in a header that is not shown here
_UNDECIDED = (408, 409, 429)  # to be tried again, later
_NOTHING_DONE = ("Received redirect", "ConnectError(")
_BROKE = "HTTP error: request or response body error"

_errors = create_parser("rest-xml")


class NotUnderstood(Exception):
    """What went wrong is not known to be the service's answer. Says what obstore says.

    `refused`: nothing was carried out, as the service has said, or because it was not reached.
    """

    def __init__(self, said: str, *, refused: bool = False) -> None:
        super().__init__(said)
        self.refused = refused


class ObstoreBucket:
    """A bucket's objects, in threads.

    Args:
        bridge: to the loop on which botocore renews credentials.
        timeout: seconds that a request may take. A read that is cancelled before leaves it to itself.
    """

    def __init__(self, route: Route, bridge: Bridge, *, timeout: float, connect_timeout: float) -> None:
        allowed = datetime.timedelta(seconds=timeout)
        self._bucket = Bucket(
            config={
                "bucket": "-",  # which the base names already
                "endpoint": route.base,
                "virtual_hosted_style_request": True,
                "region": route.region or "us-east-1",
                "skip_signature": not route.signed,
                "request_payer": False,
                "checksum_algorithm": "SHA256",  # which the service compares the bytes with, and keeps
            },
            client_options={
                **({"root_certificate": Path(route.authorities).read_bytes()} if route.authorities else {}),
                "allow_http": True,
                "allow_invalid_certificates": False,
                "timeout": allowed,
                "connect_timeout": datetime.timedelta(seconds=min(timeout, connect_timeout)),
            },
            retry_config={"max_retries": 0},
            credential_provider=_credentials(route.client._get_credentials(), bridge) if route.signed else None,
        )
        # Requests that were left to themselves stand in nobody's way.
        self._limiter = trio.CapacityLimiter(2 * DATA_REQUESTS)

    async def read(self, key: Key, name: str, start: int, length: int, version: Version | None) -> Chunk:
        """Return a range of the object called `name` in the bucket, which is `key` in the store.

        Raises botocore's ClientError; Unavailable where the connection broke; VersionChanged; NotUnderstood.
        """
        data, meta = await trio.to_thread.run_sync(
            self._get, name, start, length, version, abandon_on_cancel=True, limiter=self._limiter
        )
        answer = {"ETag": meta["e_tag"], "LastModified": meta["last_modified"]}
        return Chunk(data, require(values.info(key, answer, size=meta["size"]), version))

    async def put(self, name: str, data: Buffer, described: Description, expect: Version | None) -> Version:
        """Store an object of at most MAX_PUT bytes that carries what `puts` allows, and return its version.

        The service compares the bytes with their SHA-256. A call that is cancelled waits for the end of the request
        all the same: left to itself, it could store the object after whatever is done next. Raises as `read` does.
        """
        return await trio.to_thread.run_sync(self._put, name, data, described, expect, limiter=self._limiter)

    def _put(self, name: str, data: Buffer, described: Description, expect: Version | None) -> Version:
        attributes: Any = {_ATTRIBUTES[each]: value for each, value in described.items()}
        mode: Any = "overwrite"
        if expect is not None:
            mode = "create" if expect == ABSENT else {"e_tag": values.quoted(expect)}
        try:
            made = obstore.put(self._bucket, name, bytes(data), attributes=attributes, mode=mode, use_multipart=False)
        except (obstore.exceptions.BaseError, OSError, ValueError) as exc:
            raise _understood(exc, name, "PutObject") from exc
        if not made["e_tag"]:
            raise NotUnderstood("an answer without an ETag")
        return values.version_of({"ETag": made["e_tag"]})

    def _get(self, name: str, start: int, length: int, version: Version | None) -> tuple[bytes | memoryview, Any]:
        options: Any = {"range": (start, start + length)}
        if version is not None:
            options["if_match"] = values.quoted(version)
        try:
            found = obstore.get(self._bucket, name, options=options)
            meta, (first, end) = found.meta, found.range
            body = found.bytes()
        except (obstore.exceptions.BaseError, OSError, ValueError) as exc:
            raise _understood(exc, name) from exc
        promised = max(0, min(length, meta["size"] - start))
        if not meta["e_tag"] or first != start or end - first != promised:
            raise NotUnderstood(f"{first} to {end} of {meta['size']} bytes, ETag {meta['e_tag']}")
        if len(body) != promised:
            raise Unavailable(f"{name}: the body ended after {len(body)} of {promised} bytes")
        return (body.to_bytes() if promised <= SMALL else memoryview(body)), meta


def puts(described: Description) -> bool:
    """Tell whether obstore can store an object that is to carry this."""
    return _ATTRIBUTES.keys() >= described.keys()


def takes(name: str) -> bool:
    """Tell whether obstore can ask for an object with this name: it normalises paths, and refuses some."""
    return all(part not in ("", ".", "..") for part in name.split("/")) and name.isprintable()


def _understood(error: Exception, name: str, operation: str = "GetObject") -> ClientError | Unavailable | NotUnderstood:
    """Return what an error of obstore's is in botocore's words."""
    said = str(error)
    found = _ANSWERED.search(said)
    if found is None and _BROKE in said:
        return Unavailable(f"{name}: the connection broke")
    if found is None:
        return NotUnderstood(said.partition("\n")[0], refused=any(words in said for words in _NOTHING_DONE))
    status = int(found[1])
    answer: dict[str, Any] = {"status_code": status, "headers": {}, "body": found[2].encode()}
    refused = status < 500 and status not in _UNDECIDED
    named = _errors.parse(answer, None)
    final = refused and operation == "PutObject" and named["Error"].get("Code") not in MOVED
    if status in _UNDERSTOOD or final:
        return ClientError(named, operation)
    return NotUnderstood(f"HTTP status {status}", refused=refused)


def _credentials(credentials: Any, bridge: Bridge) -> Callable[[], S3Credential]:
    """Return what tells obstore, in one of its threads, what to sign with now."""

    def current() -> S3Credential:
        frozen = bridge.wait(credentials.get_frozen_credentials, seconds=_RENEWAL)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.datetime.now(datetime.UTC) + _EARLY + _ASKED_AGAIN,
        }

    return current
