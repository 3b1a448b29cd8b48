"""Values of Azure's requests and answers, as its client shapes them, and as ours."""

from __future__ import annotations

import base64
import email.utils
from typing import TYPE_CHECKING, Any, NamedTuple

from azure.core import MatchConditions
from azure.storage.blob import ContentSettings, StandardBlobTier

from mountd.errors import Unavailable
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from mountd.objects.described import Description

_SETTINGS = ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control")
_META = "x-ms-meta-"

# What the blob service says of a directory, in the metadata of the blob that stands for it.
MARK = "hdi_isfolder"


def is_folder(metadata: Mapping[str, str] | None) -> bool:
    """Tell from a blob's metadata whether it is a directory."""
    return (metadata or {}).get(MARK, "").lower() == "true"


def settings(present: ContentSettings, **changed: str) -> ContentSettings:
    """Return the headers that a blob is served with, without the checksum of its bytes."""
    return ContentSettings(**{name: getattr(present, name) for name in _SETTINGS} | changed)


class Properties(NamedTuple):
    """What an answer's headers tell of a blob, under the names that Azure's client has for it."""

    size: int
    etag: str
    last_modified: datetime.datetime
    content_settings: ContentSettings
    metadata: Mapping[str, str]
    blob_tier: str | None
    blob_tier_inferred: bool
    encryption_scope: str | None
    tag_count: int


def properties_of(headers: Mapping[str, str], size: int) -> Properties:
    """Return the properties of a blob of `size` bytes. Raises Unavailable, ValueError for what is not Azure's."""
    # Of the whole blob, also where a range of it is sent: that of a range comes only when it is asked for.
    md5 = headers.get("x-ms-blob-content-md5") or headers.get("Content-MD5") or ""
    return Properties(
        size=size,
        etag=version_of(headers.get("ETag")),
        last_modified=moment(headers.get("Last-Modified", "")),
        content_settings=ContentSettings(
            **{name: headers.get(name.replace("_", "-")) for name in _SETTINGS},
            content_md5=bytearray(base64.b64decode(md5)) or None,
        ),
        metadata={name[len(_META) :]: value for name, value in headers.items() if name.lower().startswith(_META)},
        blob_tier=headers.get("x-ms-access-tier"),
        blob_tier_inferred=headers.get("x-ms-access-tier-inferred") == "true",
        encryption_scope=headers.get("x-ms-encryption-scope"),
        tag_count=int(headers.get("x-ms-tag-count", 0)),
    )


def put_headers(content: ContentSettings) -> dict[str, str]:
    """Return the headers by which a new blob gets these."""
    given = {f"x-ms-blob-{name.replace('_', '-')}": getattr(content, name) for name in _SETTINGS}
    return {"x-ms-blob-type": "BlockBlob"} | {name: value for name, value in given.items() if value}


def moment(text: str) -> datetime.datetime:
    """Return the time that a header or an entry of a listing tells. Raises Unavailable where it tells none."""
    try:
        return email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError) as exc:
        raise Unavailable(f"the answer does not come from Azure Blob Storage: its time is {text!r}") from exc


def checksum(properties: Any) -> str | None:
    """Return the MD5 of a whole blob, which comes with each part of it where whoever made the blob has sent one."""
    found = properties.content_settings.content_md5
    return base64.b64encode(found).decode() if isinstance(found, (bytes, bytearray)) else found


def condition(version: Version | None) -> dict[str, Any]:
    """Return the precondition of a request."""
    if version is None:
        return {}
    if version == ABSENT:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": quoted(version), "match_condition": MatchConditions.IfNotModified}


def condition_headers(version: Version | None) -> dict[str, str]:
    """Return the precondition of a request as its headers."""
    if version is None:
        return {}
    return {"If-None-Match": "*"} if version == ABSENT else {"If-Match": quoted(version)}


def quoted(version: Version) -> str:
    """Return a version as an ETag."""
    return f'"{version}"'


def version_of(etag: str | None) -> Version:
    """Return the version behind an ETag. Raises Unavailable without one."""
    if not etag:
        raise Unavailable("the answer does not come from Azure Blob Storage: it has no ETag")
    return Version(etag.strip('"'))


def info(key: Key, size: int, properties: Any) -> ObjectInfo:
    """Return the object that properties, or an entry of a listing, tell of."""
    return told(key, size, properties.etag, properties.last_modified)


def told(key: Key, size: int, etag: str | None, modified: datetime.datetime) -> ObjectInfo:
    """Return the object that has this ETag and time. Raises Unavailable without the ETag."""
    return ObjectInfo(key, size, int(modified.timestamp()) * 1_000_000_000, version_of(etag))


def description(properties: Any) -> Description:
    """Return what a blob carries besides its bytes, as arguments of an upload; of tags only how many there are."""
    return {
        "content_settings": settings(properties.content_settings),
        "metadata": dict(properties.metadata or {}) or None,
        "standard_blob_tier": None if properties.blob_tier_inferred else _tier(properties.blob_tier),
        "encryption_scope": properties.encryption_scope,
        "tag_count": properties.tag_count or 0,
    }


def _tier(tier: Any) -> StandardBlobTier | None:
    # What is in the archive cannot be read before somebody asks for it, hours ahead: what is written is not put there.
    return next((each for each in StandardBlobTier if each.value == tier and each != StandardBlobTier.ARCHIVE), None)


def made(key: Key, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    """Return what the answer to a write tells of."""
    return told(key, size, answer["etag"], answer["last_modified"])
