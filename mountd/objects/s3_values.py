"""Values of S3 requests and answers, as botocore shapes them, and as ours."""

from __future__ import annotations

import email.utils
import hashlib
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from mountd.objects.described import Description

# What HeadObject and GetObject tell of an object and PutObject, CreateMultipartUpload and CopyObject take.
_HEADERS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires")
_METADATA = (*_HEADERS, "Metadata", "WebsiteRedirectLocation")
_ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
_PLACEMENT = ("StorageClass", *_ENCRYPTION)
_CUSTOMER_KEY = "SSECustomerKey"
TAGS = "TagCount"  # of the tags themselves an answer tells only how many there are

# Objects in these classes cannot be read before somebody asks for them, hours ahead: what is written is not put there.
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def description(answer: Mapping[str, Any]) -> Description:
    """Return what an answer tells of an object besides its bytes."""
    found = {name: answer[name] for name in (*_METADATA, *_PLACEMENT, TAGS) if answer.get(name)}
    if found.get("StorageClass") in _ARCHIVES:
        del found["StorageClass"]
    return found


def metadata(described: Description) -> Description:
    """Return the part that a copy takes over unless it is told otherwise."""
    return {name: value for name, value in described.items() if name in _METADATA}


def of_new(content_type: str, options: Mapping[str, Any]) -> Description:
    """Return what a new object carries; `options` are those that go with every request."""
    return {"ContentType": content_type} | {name: options[name] for name in ("StorageClass",) if name in options}


def placement(described: Description, options: Mapping[str, Any]) -> Description:
    """Return the part that a copy does not take over by itself: storage class and encryption.

    `options` go with every request that names nothing else. A storage class there is meant for new objects; encryption
    is a rule for everything that is written.
    """
    placed = {name: value for name, value in described.items() if name in _PLACEMENT}
    if "StorageClass" in options:
        placed.setdefault("StorageClass", "STANDARD")  # which answers do not name
    if _CUSTOMER_KEY in options or any(name in options for name in _ENCRYPTION):
        placed = {name: value for name, value in placed.items() if name not in _ENCRYPTION}
    return placed


def source_key(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the customer's key in `options` once more, as that of the source of a copy."""
    if f"CopySource{_CUSTOMER_KEY}" in options:
        return {}
    return {f"CopySource{name}": value for name, value in options.items() if name.startswith("SSECustomer")}


def with_tags_counted(described: Description) -> Description:
    """Return a description as answers give it: with the number of tags."""
    tags = described.get("Tagging", "")
    kept = {name: value for name, value in described.items() if name != "Tagging"}
    return kept | ({TAGS: tags.count("&") + 1} if tags else {})


def tagging(tags: Iterable[Mapping[str, str]]) -> str:
    """Return tags as requests carry them."""
    return urlencode([(tag["Key"], tag["Value"]) for tag in tags])


def condition(expect: Version | None) -> dict[str, str]:
    """Return the precondition of a request."""
    if expect is None:
        return {}
    return {"IfNoneMatch": "*"} if expect == ABSENT else {"IfMatch": quoted(expect)}


def quoted(version: Version) -> str:
    """Return a version as an ETag."""
    return version if version.startswith("W/") else f'"{version}"'


def version_of(answer: Mapping[str, Any]) -> Version:
    """Return the version that an answer, or an entry of a listing, names."""
    return Version(str(answer["ETag"]).strip('"'))


def time_of(answer: Mapping[str, Any]) -> int:
    """Return when an object was made, in nanoseconds since the epoch.

    Whole seconds, which is all that HTTP headers carry: the same object must not change its age with the request.
    """
    modified: datetime.datetime = answer["LastModified"]
    return int(modified.timestamp()) * 1_000_000_000


def info(key: Key, answer: Mapping[str, Any], *, size: int) -> ObjectInfo:
    """Return the object that an answer tells of."""
    return ObjectInfo(key, size, time_of(answer), version_of(answer))


def made(key: Key, answer: Mapping[str, Any], *, size: int) -> ObjectInfo:
    """Return what a write has made; its time is the service's, from the answer's Date header."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    sent = email.utils.parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
    return ObjectInfo(key, size, int(sent) * 1_000_000_000, version_of(answer))


def joint_etag(etags: Sequence[str]) -> Version:
    """Return the ETag that an upload of parts with these ETags gets: the MD5 of their MD5s, and their number."""
    try:
        digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:  # encrypted with KMS, say: ETags are no MD5s there, and nothing can be told
        return ABSENT
    return Version(f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}")
