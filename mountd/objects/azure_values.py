"""Values of Azure's requests and answers, as its client shapes them, and as ours."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.storage.blob import ContentSettings, StandardBlobTier

from mountd.errors import Unavailable
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mountd.objects.described import Description

_SETTINGS = ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control")


# What the blob service says of a directory, in the metadata of the blob that stands for it.
MARK = "hdi_isfolder"


def is_folder(metadata: Mapping[str, str] | None) -> bool:
    """Tell from a blob's metadata whether it is a directory."""
    return (metadata or {}).get(MARK, "").lower() == "true"


def settings(present: ContentSettings, **changed: str) -> ContentSettings:
    """Return the headers that a blob is served with, without the checksum of its bytes."""
    return ContentSettings(**{name: getattr(present, name) for name in _SETTINGS} | changed)


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
    version = version_of(properties.etag)
    seconds = int(properties.last_modified.timestamp())
    return ObjectInfo(key, size, seconds * 1_000_000_000, version)


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
    version = version_of(answer["etag"])
    seconds = int(answer["last_modified"].timestamp())
    return ObjectInfo(key, size, seconds * 1_000_000_000, version)
