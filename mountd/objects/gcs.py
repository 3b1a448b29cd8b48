"""Google Cloud Storage, through gcsfs' session and credentials; the requests of the JSON API are our own.

Generations are the versions. https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import datetime
import io
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import google.auth.exceptions

from mountd.errors import (
    BadCredentials,
    Denied,
    MountdError,
    NotFound,
    StoreFailure,
    Throttled,
    Unavailable,
    Unsupported,
    VersionChanged,
)
from mountd.objects.checking import list_one
from mountd.objects.interface import (
    ABSENT,
    Buffer,
    Capabilities,
    Chunk,
    Key,
    ListPage,
    ObjectInfo,
    Upload,
    Version,
)
from mountd.objects.media import content_type
from mountd.objects.preconditions import look, require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mountd.objects.bridge import Bridge

# Parts of uploads are objects until they are composed; names that begin like this are not shown by mounts.
PARTS = ".mountd-parts/"
COMPOSE_MAX = 32
_FIELDS = "name,size,generation,updated"

_STATUS: dict[int, type[MountdError]] = {
    401: BadCredentials,
    403: Denied,
    404: NotFound,
    408: Unavailable,
    409: Unavailable,
    412: VersionChanged,
    429: Throttled,
}


class GcsStore:
    """The objects under `prefix` (empty, or ending in a slash) of a bucket.

    `filesystem` is an asynchronous `gcsfs.GCSFileSystem` on the bridge's loop.
    """

    def __init__(self, filesystem: Any, bridge: Bridge, *, bucket: str, prefix: str, read_only: bool = False) -> None:
        self._fs = filesystem
        self._bridge = bridge
        self.bucket = bucket
        self.prefix = prefix
        # Google's own service decides every condition. Others that speak its protocol do so for plain uploads at best,
        # so there is a look before each other change.
        self._decides = "googleapis.com" in filesystem._location
        self.capabilities = Capabilities(
            conditional_create=True,
            conditional_put=True,
            conditional_copy=self._decides,
            conditional_delete=self._decides,
            versioned_read=True,
            read_only=read_only,
            max_key_bytes=1024 - len(prefix.encode()),
            min_part=1,
        )

    async def check(self) -> None:
        """List one key. Raises NotFound without the bucket, BadCredentials, Denied, Unavailable."""
        where = f"gs://{self.bucket}/{self.prefix}"
        await list_one(self, where=where, missing=f"bucket {self.bucket!r}")

    async def stat(self, key: Key) -> ObjectInfo:
        return self._info(await self._json("GET", self._object(key), what=key, params={"fields": _FIELDS}))

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000
    ) -> ListPage:
        params = {"prefix": self.prefix + prefix, "maxResults": str(limit)}
        params["fields"] = f"nextPageToken,prefixes,items({_FIELDS})"
        params |= {} if recursive else {"delimiter": "/"}
        params |= {"pageToken": cursor} if cursor else {}
        answer = await self._json("GET", f"b/{quote(self.bucket)}/o", what=self.bucket, params=params)
        skip = len(self.prefix)
        return ListPage(
            [self._info(item) for item in answer.get("items", ()) if len(item["name"]) > skip],
            [Key(each[skip:]) for each in answer.get("prefixes", ())],
            answer.get("nextPageToken"),
        )

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        return await self._bridge.call(self._read_range, key, start, length, version)

    async def _read_range(self, key: Key, start: int, length: int, version: Version | None) -> Chunk:
        # A generation that is named is also read when it is not the current one, where the bucket keeps versions.
        params = {"alt": "media"} | ({} if version is None else {"generation": version})
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        try:
            status, answer, data = await self._send("GET", self._object(key), key, params=params, headers=headers)
        except NotFound as exc:
            if version is None:
                raise
            await self._still_there(key)
            raise VersionChanged(f"{key} was changed by somebody else") from exc
        if status == 416 or "x-goog-generation" not in answer:
            found = await self._send("GET", self._object(key), key, params={"fields": _FIELDS})
            info = self._info(json.loads(found[2]))
            require(info, version)
            return Chunk(b"" if status == 416 else _cut(status, data, start, length), info)
        size = int(answer["Content-Range"].rpartition("/")[2]) if status == 206 else len(data)
        modified = datetime.datetime.strptime(answer["Last-Modified"], "%a, %d %b %Y %H:%M:%S %Z")
        seconds = int(modified.replace(tzinfo=datetime.UTC).timestamp())
        info = ObjectInfo(key, size, seconds * 1_000_000_000, Version(answer["x-goog-generation"]))
        require(info, version)
        data = _cut(status, data, start, length)
        if len(data) != max(0, min(length, size - start)):
            raise Unavailable(f"{key}: the body ended after {len(data)} bytes")
        return Chunk(data, info)

    async def _still_there(self, key: Key) -> None:
        await self._send("GET", self._object(key), key, params={"fields": "name"})

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        return await self._put(key, data, expect)

    async def _put(self, key: Key, data: Buffer, expect: Version | None) -> ObjectInfo:
        boundary = secrets.token_hex(16)
        described = json.dumps({"name": self.prefix + key, "contentType": content_type(key)}).encode()
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
                described,
                f"\r\n--{boundary}\r\nContent-Type: {content_type(key)}\r\n\r\n".encode(),
                data,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        url = f"{self._fs._location}/upload/storage/v1/b/{quote(self.bucket)}/o"
        params = {"uploadType": "multipart", "fields": _FIELDS} | _condition(expect)
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        return self._info(await self._json("POST", url, what=key, params=params, headers=headers, data=body))

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if match:
            await self._look(source.key, source.version)
        await self._look(target, expect)
        path = f"{self._object(source.key)}/rewriteTo/{self._object(target)}"
        params = _condition(expect) | ({"ifSourceGenerationMatch": source.version} if match else {})
        token: dict[str, str] = {}
        while True:  # large objects, or ones that change their storage class, take several requests
            answer = await self._json("POST", path, what=target, params=params | token)
            if answer.get("done", True):
                return self._info(answer["resource"])
            token = {"rewriteToken": answer["rewriteToken"]}

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        named = expect is not None and expect != ABSENT
        await self._look(key, expect if named else None)
        try:
            await self._bridge.call(
                self._send, "DELETE", self._object(key), key, params=_condition(expect if named else None)
            )
        except NotFound as exc:
            if named:
                raise VersionChanged(f"{key} is gone") from exc

    async def open_upload(self, key: Key) -> Upload:
        return _ComposedUpload(self, key)

    async def compose(self, sources: Sequence[Key], target: Key, *, expect: Version | None) -> ObjectInfo:
        """Make `target` out of up to 32 objects, one after the other."""
        await self._look(target, expect)
        body = {
            "sourceObjects": [{"name": self.prefix + source} for source in sources],
            "destination": {"contentType": content_type(target)},
        }
        params = {"fields": _FIELDS} | _condition(expect)
        answer = await self._json("POST", f"{self._object(target)}/compose", what=target, params=params, payload=body)
        return self._info(answer)

    async def _look(self, key: Key, expect: Version | None) -> None:
        """Check a precondition that the service may ignore. Raises VersionChanged."""
        if not self._decides:
            await look(self, key, expect)

    async def aclose(self) -> None:
        """Close the connections."""
        session = getattr(self._fs, "_session", None)
        if session is not None:
            await self._bridge.call(session.close)

    def _object(self, key: Key) -> str:
        return f"b/{quote(self.bucket)}/o/{quote(self.prefix + key, safe='')}"

    def _info(self, item: Mapping[str, Any]) -> ObjectInfo:
        updated = datetime.datetime.fromisoformat(item["updated"])
        key = Key(item["name"][len(self.prefix) :])
        return ObjectInfo(
            key, int(item.get("size", 0)), int(updated.timestamp()) * 1_000_000_000, Version(str(item["generation"]))
        )

    async def _json(self, method: str, path: str, *, what: str, payload: Any = None, **options: Any) -> Any:
        if payload is not None:
            options["data"] = json.dumps(payload).encode()
            options["headers"] = {"Content-Type": "application/json"} | options.get("headers", {})
        return json.loads((await self._bridge.call(self._send, method, path, what, **options))[2])

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
                _encoded(url),
                params=self._fs._get_params(dict(params or {})),
                headers=self._fs._get_headers(dict(headers or {})),
                data=io.BytesIO(data) if data else None,
            ) as answer:
                body = await answer.read()
                if answer.status >= 400 and answer.status != 416:
                    raise _failure(answer.status, body, what)
                return answer.status, answer.headers, body
        except google.auth.exceptions.GoogleAuthError as exc:
            raise BadCredentials(f"{what}: {exc}") from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Unavailable(f"{what}: {type(exc).__name__}: {exc}") from exc


class _ComposedUpload:
    """Parts are objects of their own until they are composed into one, and then deleted."""

    def __init__(self, store: GcsStore, key: Key) -> None:
        self._store = store
        self._key = key
        self._folder = f"{PARTS}{secrets.token_hex(12)}/"
        self._made: set[Key] = set()

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        part = self._part(f"{number:05}")
        self._made.add(part)
        await self._store.put(part, data)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        raise Unsupported("Google Cloud Storage cannot copy a part of an object")

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        parts = [self._part(f"{number:05}") for number in numbers]
        level = 0
        while len(parts) > COMPOSE_MAX:
            level += 1
            groups = [parts[i : i + COMPOSE_MAX] for i in range(0, len(parts), COMPOSE_MAX)]
            parts = [self._part(f"{level}-{i:05}") for i in range(len(groups))]
            self._made.update(parts)
            for group, part in zip(groups, parts, strict=True):
                await self._store.compose(group, part, expect=None)
        info = await self._store.compose(parts, self._key, expect=expect)
        await self.abort()
        return info

    async def abort(self) -> None:
        while self._made:
            await self._store.delete(self._made.pop())

    def _part(self, name: str) -> Key:
        return Key(self._folder + name)


def _encoded(url: str) -> Any:
    from yarl import URL  # what aiohttp takes; a plain text would be decoded and encoded again

    return URL(url, encoded=True)


def _condition(expect: Version | None) -> dict[str, str]:
    if expect is None:
        return {}
    return {"ifGenerationMatch": "0" if expect == ABSENT else expect}


def _cut(status: int, data: bytes, start: int, length: int) -> bytes:
    """Return the range asked for, also from a service that has sent everything."""
    return data if status == 206 else data[start : start + length]


def _failure(status: int, body: bytes, what: str) -> MountdError:
    try:
        error = json.loads(body)["error"]
        message = error if isinstance(error, str) else error.get("message", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        message = body[:200].decode("utf-8", "replace")
    kind = _STATUS.get(status) or (Unavailable if status >= 500 else StoreFailure)
    return kind(f"{what}: {message or f'HTTP status {status}'}")
