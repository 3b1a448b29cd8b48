"""Google Cloud Storage, through gcsfs' session and credentials; the requests of the JSON API are our own.

Generations are the versions. https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import datetime
import io
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp

from mountd.errors import (
    NotFound,
    StoreFailure,
    Unavailable,
    Unsupported,
    VersionChanged,
)
from mountd.objects import checksums
from mountd.objects import gcs_values as values
from mountd.objects.base import Basic
from mountd.objects.checking import list_one
from mountd.objects.described import Description, Descriptions
from mountd.objects.gcs_answers import not_renewed, parsed, whole
from mountd.objects.gcs_resumable import send_file
from mountd.objects.gcs_upload import PARTS, ComposedUpload, KeptParts
from mountd.objects.http_status import note_wait
from mountd.objects.interface import (
    Buffer,
    Capabilities,
    Chunk,
    Key,
    ListPage,
    MiB,
    ObjectInfo,
    Upload,
    Version,
)
from mountd.objects.media import UNKNOWN, content_type, retyped
from mountd.objects.preconditions import deleting, look, require
from mountd.objects.sessions import changes_once
from mountd.objects.spool import SpooledUpload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mountd.objects.bridge import Bridge
    from mountd.objects.leftovers import Leftovers

_FIELDS = "name,size,generation,updated"
# What an object carries besides its bytes, as far as requests that replace it can carry it on.
_DESCRIBED = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "kmsKeyName",
    "metadata",
    "storageClass",
)
_WRITING = "storage.objects.create"
_DELETING = "storage.objects.delete"


class GcsStore(Basic):
    """The objects under `prefix` (empty, or ending in a slash) of a bucket.

    Args:
        filesystem: an asynchronous `gcsfs.GCSFileSystem` on the bridge's loop.
        leftovers: where uploads are noted.
    """

    def __init__(
        self,
        filesystem: Any,
        bridge: Bridge,
        *,
        bucket: str,
        prefix: str,
        read_only: bool,
        leftovers: Leftovers,
    ) -> None:
        self._opened: list[Any] = []
        self.use(filesystem)
        self._bridge = bridge
        self.bucket = bucket
        self.prefix = prefix
        self.location: str = filesystem._location
        # Google's own service decides every condition. Others that speak its protocol do so for plain uploads at best,
        # so there is a look before each other change.
        self._decides = "googleapis.com" in self.location
        self.capabilities = Capabilities(
            conditional_create=True,
            conditional_put=True,
            conditional_copy=self._decides,
            conditional_delete=self._decides,
            versioned_read=True,
            part_copy=True,  # of whole objects, and of ranges that are still there as parts
            read_only=read_only,
            max_key_bytes=1024 - len(prefix.encode()),
            min_part=1,
            max_copy_part=5 * 1024 * 1024 * MiB,
        )
        self._described = Descriptions(self._ask_description)
        self.kept = KeptParts(self, leftovers)

    def use(self, filesystem: Any) -> None:
        """Send requests through this file system from now on."""
        self._opened.append(filesystem)
        self._fs = filesystem

    async def check(self) -> None:
        """List one key, find out what the credentials allow, and delete parts that were left.

        Raises NotFound without the bucket, BadCredentials, Denied, Unavailable.
        """
        where = f"gs://{self.bucket}/{self.prefix}"
        await list_one(self, where=where, missing=f"bucket {self.bucket!r}", right="storage.objects.list")
        if not self.capabilities.read_only:
            await self._find_out_rights()
        if not self.capabilities.read_only and self.capabilities.deletes:
            await self.kept.sweep()

    async def _find_out_rights(self) -> None:
        """Ask what the credentials allow. https://cloud.google.com/storage/docs/json_api/v1/buckets/testIamPermissions"""
        path = f"b/{quote(self.bucket)}/iam/testPermissions?permissions={_WRITING}&permissions={_DELETING}"
        try:
            granted = (await self._json("GET", path, what=self.bucket)).get("permissions", ())
        except (NotFound, Unsupported, StoreFailure):
            return
        if not self.prefix or granted:  # rights to a prefix alone are not seen when the bucket is asked about
            denied = _WRITING not in granted
            self.capabilities = replace(
                self.capabilities, read_only=denied, denied_writing=denied, deletes=_DELETING in granted
            )

    async def _ask_description(self, key: Key, version: Version) -> Description:
        params = {"fields": ",".join(_DESCRIBED), "generation": version}
        answer = await self._json("GET", self._object(key), what=key, params=params)
        return {name: answer[name] for name in _DESCRIBED if name in answer}  # not every service heeds `fields`

    async def _description(self, key: Key, replaces: Version | None) -> Description:
        """Return what an object is to carry that replaces a version, or is new."""
        return await self._described.of(key, replaces) or {"contentType": content_type(key)}

    async def stat(self, key: Key) -> ObjectInfo:
        return self.info(await self._json("GET", self._object(key), what=key, params={"fields": _FIELDS}))

    async def stat_with_checksum(self, key: Key) -> tuple[ObjectInfo, str | None]:
        """Like `stat`, with the CRC32C of the bytes."""
        answer = await self._json("GET", self._object(key), what=key, params={"fields": f"{_FIELDS},crc32c"})
        return self.info(answer), answer.get("crc32c")

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        params = {"prefix": self.prefix + prefix, "maxResults": str(limit)}
        params["fields"] = f"nextPageToken,prefixes,items({_FIELDS})"
        params |= {} if recursive else {"delimiter": "/"}
        params |= {"pageToken": cursor} if cursor else {}
        answer = await self._json("GET", f"b/{quote(self.bucket)}/o", what=self.bucket, params=params)
        skip = len(self.prefix)
        return ListPage(
            [self.info(item) for item in answer.get("items", ()) if len(item["name"]) > skip],
            [Key(each[skip:]) for each in answer.get("prefixes", ())],
            answer.get("nextPageToken"),
        )

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        return await self._bridge.call(self._read_range, key, start, length, version)

    async def _read_range(self, key: Key, start: int, length: int, version: Version | None) -> Chunk:
        # A generation that is named is also read when it is not the current one, where the bucket keeps versions.
        params = {"alt": "media"} | ({} if version is None else {"generation": version})
        # Asked for otherwise, the service would unpack what is stored packed (`contentEncoding: gzip`).
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "gzip"}
        try:
            status, answer, data = await self._send("GET", self._object(key), key, params=params, headers=headers)
        except NotFound as exc:
            if version is None:
                raise
            await self._still_there(key)
            raise VersionChanged(f"{key} was changed by somebody else") from exc
        if status == 416 or "x-goog-generation" not in answer:
            found = await self._send("GET", self._object(key), key, params={"fields": _FIELDS})
            info = self.info(parsed(found[2], key))
            require(info, version)
            return whole(key, b"" if status == 416 else values.cut(status, data, start, length), start, length, info)
        size = int(answer["Content-Range"].rpartition("/")[2]) if status == 206 else len(data)
        modified = datetime.datetime.strptime(answer["Last-Modified"], "%a, %d %b %Y %H:%M:%S %Z")
        seconds = int(modified.replace(tzinfo=datetime.UTC).timestamp())
        info = ObjectInfo(key, size, seconds * 1_000_000_000, Version(answer["x-goog-generation"]))
        require(info, version)
        chunk = whole(key, values.cut(status, data, start, length), start, length, info)
        if len(chunk.data) == size:
            checksums.require_received(key, checksums.crc32c(chunk.data), values.hash_of(answer))
        return chunk

    async def _still_there(self, key: Key) -> None:
        await self._send("GET", self._object(key), key, params={"fields": "name"})

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        boundary = secrets.token_hex(16)
        described = await self._description(key, expect)
        checksum = checksums.crc32c(data)  # by which the service refuses what was damaged on its way
        resource = json.dumps({"name": self.prefix + key, "crc32c": checksum, **values.resource(described)}).encode()
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
                resource,
                f"\r\n--{boundary}\r\nContent-Type: {described.get('contentType', UNKNOWN)}\r\n\r\n".encode(),
                data,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        url = f"{self.location}/upload/storage/v1/b/{quote(self.bucket)}/o"
        params = (
            {"uploadType": "multipart", "fields": f"{_FIELDS},crc32c"}
            | values.condition(expect)
            | values.key_of(described, "kmsKeyName")
        )
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        answer = await self._json("POST", url, what=key, params=params, headers=headers, data=body)
        checksums.require_stored(key, checksum, answer.get("crc32c"))
        made = self.info(answer)
        self._described.remember(key, made.version, described)
        return made

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if match:
            await self._look(source.key, source.version)
        await self._look(target, expect)
        path = f"{self._object(source.key)}/rewriteTo/{self._object(target)}"
        params = values.condition(expect) | ({"ifSourceGenerationMatch": source.version} if match else {})
        described = await self._described.of(source.key, source.version if match else None)
        kind = retyped((described or {}).get("contentType"), source.key, target)
        carried = (described or {}) | ({"contentType": kind} if kind else {})
        params |= values.key_of(carried, "destinationKmsKeyName")
        token: dict[str, str] = {}
        while True:  # large objects, or ones that change their storage class, take several requests
            answer = await self._json(
                "POST", path, what=target, params=params | token, payload=values.resource(carried) or None
            )
            if answer.get("done", True):
                return self.info(answer["resource"])
            token = {"rewriteToken": answer["rewriteToken"]}

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        async with deleting(key, expect) as named:
            await self._look(key, named)
            await self._bridge.call(self._send, "DELETE", self._object(key), key, params=values.condition(named))

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        described = await self._description(key, replaces)
        if self.capabilities.deletes:
            return ComposedUpload(self, key, described)

        async def send(path: str, size: int, expect: Version | None) -> ObjectInfo:
            await self._look(key, expect)
            return await send_file(self, key, described, path, size, expect)

        return SpooledUpload(key, send)

    async def compose(
        self,
        sources: Sequence[ObjectInfo],
        target: Key,
        described: Description,
        *,
        expect: Version | None,
        checksum: str | None = None,
    ) -> ObjectInfo:
        """Make `target` out of up to 32 objects, each in the version named, one after the other.

        `checksum`: the CRC32C that it has to have. Raises Corrupt.
        """
        if not self._decides and not target.startswith(PARTS):
            return await self._compose_aside(sources, target, described, expect=expect, checksum=checksum)
        body = {
            "sourceObjects": [
                {"name": self.prefix + source.key, "objectPreconditions": {"ifGenerationMatch": source.version}}
                for source in sources
            ],
            "destination": values.resource(described),
        }
        params = {"fields": f"{_FIELDS},crc32c"} | values.condition(expect) | values.key_of(described, "kmsKeyName")
        answer = await self._json("POST", f"{self._object(target)}/compose", what=target, params=params, payload=body)
        if checksum is not None:
            checksums.require_stored(target, checksum, answer.get("crc32c"))
        made = self.info(answer)
        self._described.remember(target, made.version, described)
        return made

    async def _compose_aside(
        self,
        sources: Sequence[ObjectInfo],
        target: Key,
        described: Description,
        *,
        expect: Version | None,
        checksum: str | None,
    ) -> ObjectInfo:
        """Compose under another key and copy: fake-gcs-server leaves the generation as it was when it composes."""
        aside = Key(f"{PARTS}{secrets.token_hex(12)}")
        composed = await self.compose(sources, aside, described, expect=None, checksum=checksum)
        try:
            return await self.copy(composed, target, expect=expect)
        finally:
            await self.delete(composed.key)

    async def _look(self, key: Key, expect: Version | None) -> None:
        """Check a precondition that the service may ignore. Raises VersionChanged."""
        if not self._decides:
            await look(self, key, expect)

    async def aclose(self) -> None:
        """Delete the parts that were kept, and close the connections."""
        await self.kept.clear()
        for filesystem in self._opened:
            session = getattr(filesystem, "_session", None)
            if session is not None:
                await self._bridge.call(session.close)

    def _object(self, key: Key) -> str:
        return f"b/{quote(self.bucket)}/o/{quote(self.prefix + key, safe='')}"

    def info(self, item: Mapping[str, Any]) -> ObjectInfo:
        """Return the object that a resource tells of."""
        updated = datetime.datetime.fromisoformat(item["updated"])
        key = Key(item["name"][len(self.prefix) :])
        return ObjectInfo(
            key, int(item.get("size", 0)), int(updated.timestamp()) * 1_000_000_000, Version(str(item["generation"]))
        )

    async def request(self, method: str, url: str, what: str, **options: Any) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request, and return its answer: status, headers, body. Raises the classes of `mountd.errors`."""
        answer: tuple[int, Mapping[str, str], bytes] = await self._bridge.call(self._send, method, url, what, **options)
        return answer

    async def _json(self, method: str, path: str, *, what: str, payload: Any = None, **options: Any) -> Any:
        if payload is not None:
            options["data"] = json.dumps(payload).encode()
            options["headers"] = {"Content-Type": "application/json"} | options.get("headers", {})
        return parsed((await self._bridge.call(self._send, method, path, what, **options))[2], what)

    async def _send(
        self,
        method: str,
        path: str,
        what: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request, without repeating it, and return status, headers and body. Runs on asyncio."""
        url = path if path.startswith("http") else self._fs.base + path
        try:
            await self._fs._set_session()
            async with self._fs.session.request(
                method,
                # Encoded already: the slashes of a key are part of its one path segment.
                values.encoded(url),
                params=self._fs._get_params(dict(params or {})),
                headers=self._with_token(headers or {}, what),
                data=io.BytesIO(data) if data else None,
                middlewares=(changes_once,),
                auto_decompress=path.startswith("http") or (params or {}).get("alt") != "media",
            ) as answer:
                body = await answer.read()
                if answer.status >= 400 and answer.status != 416:
                    raise note_wait(values.failure(answer.status, body, what), answer.headers)
                return answer.status, answer.headers, body
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Unavailable(f"{what}: {type(exc).__name__}: {exc}") from exc

    def _with_token(self, headers: Mapping[str, str], what: str) -> Any:
        """Return headers with the token of the credentials, which is renewed here when it is about to expire."""
        try:
            return self._fs._get_headers(dict(headers))
        except Exception as exc:
            raise not_renewed(exc, what) from exc
