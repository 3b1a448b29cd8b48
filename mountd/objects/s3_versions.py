"""Versions of an object that a bucket has kept: ETags name them to us, ids to the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import MountdError
from mountd.objects import s3_values as values

if TYPE_CHECKING:
    from mountd.objects.interface import Version
    from mountd.objects.s3 import S3Store


async def find_version(store: S3Store, name: str, version: Version) -> str | None:
    """Return the id of a version of the object called `name` in the bucket, `None` where it is not kept."""
    after: dict[str, str] = {}
    while True:
        try:
            answer = await store.ask("list_object_versions", name, Prefix=name, **after)
        except MountdError:  # not allowed, or not known to the service
            return None
        # The key itself comes before others that begin like it, its latest version first.
        for each in answer.get("Versions", ()):
            if each["Key"] == name and values.version_of(each) == version:
                return str(each["VersionId"])
        if not answer.get("IsTruncated") or answer.get("NextKeyMarker") != name:
            return None
        after = {"KeyMarker": name, "VersionIdMarker": answer["NextVersionIdMarker"]}
