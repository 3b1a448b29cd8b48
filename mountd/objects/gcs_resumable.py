"""Uploads to Google Cloud Storage in one piece, for credentials that may not delete: parts would stay for ever.

https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio

from mountd.errors import Unavailable
from mountd.objects import gcs_values as values
from mountd.objects.interface import MiB
from mountd.objects.media import UNKNOWN

if TYPE_CHECKING:
    from mountd.objects.described import Description
    from mountd.objects.gcs import GcsStore
    from mountd.objects.interface import Key, ObjectInfo, Version

CHUNK = 16 * MiB  # a multiple of 256 KiB, as the service demands


async def send_file(
    store: GcsStore, key: Key, described: Description, path: str, size: int, expect: Version | None
) -> ObjectInfo:
    """Make the object out of a local file, sent one chunk after the other. Raises VersionChanged."""
    params = {"uploadType": "resumable"} | values.condition(expect) | values.key_of(described, "kmsKeyName")
    resource = json.dumps({"name": store.prefix + key, **values.resource(described)}).encode()
    kind = described.get("contentType", UNKNOWN)
    headers = {"Content-Type": "application/json", "X-Upload-Content-Type": kind}
    url = f"{store.location}/upload/storage/v1/b/{quote(store.bucket)}/o"
    _, answer, _ = await store.request("POST", url, key, params=params, headers=headers, data=resource)
    session = answer["Location"]
    async with await trio.open_file(path, "rb") as file:
        for start in range(0, max(size, 1), CHUNK):
            data = await file.read(CHUNK)
            place = f"bytes {start}-{start + len(data) - 1}/{size}" if size else "bytes */0"
            headers = {"Content-Type": kind, "Content-Range": place}
            status, _, body = await store.request("PUT", session, key, headers=headers, data=data)
    made: dict[str, Any] = json.loads(body) if status in (200, 201) else {}
    if int(made.get("size", -1)) != size:
        raise Unavailable(f"{key}: the service has not taken the whole upload (status {status})")
    return store.info(made)
