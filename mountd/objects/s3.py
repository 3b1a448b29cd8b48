"""Amazon S3 and services that speak its protocol, through s3fs' client.

s3fs brings sessions, credentials and their refresh, regions and all its options; requests go to its client directly,
because preconditions, ranges bound to a version and part copies have no place in fsspec's interface. ETags are the
versions.
"""

from __future__ import annotations

import email.utils
import hashlib
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from mountd.errors import (
    Denied,
    NotFound,
    StoreFailure,
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
    MiB,
    ObjectInfo,
    Upload,
    Version,
)
from mountd.objects.media import content_type
from mountd.objects.preconditions import look, require
from mountd.objects.s3_errors import code_of, domain_errors
from mountd.objects.spool import SpooledUpload

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping, Sequence

    from mountd.objects.bridge import Bridge

MAX_COPY = 5 * 1024 * MiB  # what CopyObject takes; larger objects are copied in parts
COPY_PART = 512 * MiB
FILE_PART = 16 * MiB
MARKER = ".mountd-directory"
PROBE = ".mountd-probe-"  # hidden by mounts, should one ever be left behind


class S3Store:
    """The objects under `prefix` (empty, or ending in a slash) of a bucket.

    `filesystem` is an asynchronous `s3fs.S3FileSystem` on the bridge's loop.
    """

    def __init__(
        self,
        filesystem: Any,
        bridge: Bridge,
        *,
        bucket: str,
        prefix: str,
        read_only: bool = False,
        max_copy: int = MAX_COPY,
    ) -> None:
        self._fs = filesystem
        self._fs.retries = 1  # repeating requests is the business of `retry`, which knows what a repeat may do
        self._bridge = bridge
        self.bucket = bucket
        self.prefix = prefix
        self._max_copy = max_copy
        self._decides = True  # until `check` has found out
        self._marker = ""
        self.capabilities = Capabilities(
            conditional_create=True,
            conditional_put=True,
            conditional_copy=True,
            conditional_delete=True,
            versioned_read=True,
            part_copy=True,
            read_only=read_only,
            max_key_bytes=1024 - len(prefix.encode()),
        )

    async def check(self) -> None:
        """List one key. Raises NotFound without the bucket, BadCredentials, Denied, Unavailable."""
        endpoint = f" at {self._fs.endpoint_url}" if self._fs.endpoint_url else ""
        where = f"s3://{self.bucket}/{self.prefix}{endpoint}"
        await list_one(self, where=where, missing=f"bucket {self.bucket!r}{endpoint}")
        if not self.capabilities.read_only:
            await self._find_out()

    async def _find_out(self) -> None:
        """Find out whether the service decides preconditions. Some accept them and act as if there had been none.

        A put that replaces a version of an object that never was has to fail; where it does not, what it made is
        removed.
        """
        probe = Key(f"{PROBE}{secrets.token_hex(8)}")
        try:
            await self._call("put_object", probe, Body=b"", IfMatch=_quoted(Version("0" * 32)))
        except (NotFound, VersionChanged, Denied, Unsupported, StoreFailure):
            return
        await self._call("delete_object", probe)
        self._decides = False
        self._marker = MARKER  # such services tend to take keys with a slash at their end for other keys
        self.capabilities = replace(
            self.capabilities,
            conditional_create=False,
            conditional_put=False,
            conditional_copy=False,
            conditional_delete=False,
            versioned_read=False,
            part_copy=False,
        )

    async def look(self, key: Key, expect: Version | None) -> None:
        """Check a precondition that the service does not. Raises VersionChanged."""
        if not self._decides:
            await look(self, key, expect)

    async def stat(self, key: Key) -> ObjectInfo:
        answer = await self._call("head_object", key)
        return _info(key, answer, size=answer["ContentLength"])

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000
    ) -> ListPage:
        answer = await self._bridge.call(
            self._send,
            "list_objects_v2",
            f"s3://{self.bucket}/{self.prefix}{prefix}",
            Bucket=self.bucket,
            Prefix=self.prefix + prefix,
            MaxKeys=limit,
            **({} if recursive else {"Delimiter": "/"}),
            **({"ContinuationToken": cursor} if cursor else {}),
        )
        skip = len(self.prefix)
        return ListPage(
            # The key that is the store's own prefix is not an object in the store.
            [_listed(self._key(each["Key"]), each) for each in answer.get("Contents", ()) if len(each["Key"]) > skip],
            [Key(each["Prefix"][skip:]) for each in answer.get("CommonPrefixes", ())],
            answer.get("NextContinuationToken") if answer.get("IsTruncated") else None,
        )

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        return await self._bridge.call(self._read_range, key, start, length, version)

    async def _read_range(self, key: Key, start: int, length: int, version: Version | None) -> Chunk:
        """Runs on asyncio, body included, so that a chunk crosses the bridge once."""
        condition = {} if version is None else {"IfMatch": _quoted(version)}
        try:
            answer = await self._request("get_object", key, Range=f"bytes={start}-{start + length - 1}", **condition)
        except StoreFailure as exc:
            if code_of(exc) not in ("InvalidRange", "416"):
                raise
            answer = await self._request("head_object", key, **condition)
            return Chunk(b"", require(_info(key, answer, size=answer["ContentLength"]), version))
        with domain_errors(key):
            async with answer["Body"] as body:
                data: bytes = await body.read()
        if len(data) != answer["ContentLength"]:
            raise Unavailable(f"{key}: the body ended after {len(data)} of {answer['ContentLength']} bytes")
        whole = answer.get("ContentRange")
        if whole is None:  # the service does not know ranges and has sent everything
            size, data = len(data), data[start : start + length]
        else:
            size = int(whole.rpartition("/")[2])
        return Chunk(data, require(_info(key, answer, size=size), version))

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        await self.look(key, expect)
        described = {"ContentType": content_type(key)}
        answer = await self._call("put_object", key, Body=bytes(data), **described, **_condition(expect))
        return _made(key, answer, size=len(data))

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if source.key.endswith("/"):  # a marker; not every service can copy one
            return await self.put(target, b"", expect=expect)
        await self.look(target, expect)
        await self.look(source.key, source.version if match else None)
        if source.size > self._max_copy:
            return await self._copy_in_parts(source, target, expect=expect)
        answer = await self._call("copy_object", target, **self._source(source, match=match), **_condition(expect))
        return ObjectInfo(target, source.size, _time(answer["CopyObjectResult"]), _version(answer["CopyObjectResult"]))

    async def _copy_in_parts(self, source: ObjectInfo, target: Key, *, expect: Version | None) -> ObjectInfo:
        upload = await self.open_upload(target)
        starts = range(0, source.size, min(COPY_PART, self._max_copy))
        try:
            for number, start in enumerate(starts, 1):
                await upload.copy_part(number, start, source, start, min(starts.step, source.size - start))
            return await upload.complete(range(1, len(starts) + 1), expect=expect)
        except BaseException:
            await upload.abort()
            raise

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        named = expect is not None and expect != ABSENT
        await self.look(key, expect if named else None)
        try:
            await self._call("delete_object", key, **_condition(expect if named else None))
        except NotFound as exc:
            if named:
                raise VersionChanged(f"{key} is gone") from exc

    async def open_upload(self, key: Key) -> Upload:
        if not self._decides:  # such services do not let a part be sent again, either
            return SpooledUpload(key, lambda path, size, expect: self._send_file(key, path, size, expect))
        answer = await self._call("create_multipart_upload", key, ContentType=content_type(key))
        return _S3Upload(self, key, answer["UploadId"])

    async def _send_file(self, key: Key, path: str, size: int, expect: Version | None) -> ObjectInfo:
        """Send a local file in parts, one after the other."""
        answer = await self._call("create_multipart_upload", key, ContentType=content_type(key))
        upload = _S3Upload(self, key, answer["UploadId"])
        part = max(FILE_PART, -(-size // self.capabilities.max_parts))
        offsets = range(0, max(size, 1), part)
        try:
            async with await trio.open_file(path, "rb") as file:
                for number, offset in enumerate(offsets, 1):
                    await upload.put_part(number, offset, await file.read(part))
            await upload.complete(range(1, len(offsets) + 1), expect=expect)
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                await upload.abort()
            raise
        return await self.stat(key)  # whose ETag need not be the one that the completion was answered with

    async def aclose(self) -> None:
        """Close the connections."""
        creator = getattr(self._fs, "_s3creator", None)
        if creator is not None:
            await self._bridge.call(creator.__aexit__, None, None, None)

    async def _call(self, method: str, key: Key, **arguments: Any) -> Any:
        return await self._bridge.call(self._request, method, key, **arguments)

    async def _request(self, method: str, key: Key, **arguments: Any) -> Any:
        return await self._send(method, key, Bucket=self.bucket, Key=self._name(key), **arguments)

    def _name(self, key: Key) -> str:
        """Return what a key is called in the bucket."""
        return self.prefix + key + (self._marker if key.endswith("/") else "")

    def _key(self, name: str) -> Key:
        """Return the key of what is in the bucket."""
        key = name[len(self.prefix) :]
        return Key(key.removesuffix(self._marker) if self._marker and key.endswith("/" + self._marker) else key)

    async def _send(self, method: str, what: str, **arguments: Any) -> Any:
        with domain_errors(what):
            return await self._fs._call_s3(method, **arguments)

    def _source(self, source: ObjectInfo, *, match: bool) -> dict[str, Any]:
        named: dict[str, Any] = {"CopySource": {"Bucket": self.bucket, "Key": self.prefix + source.key}}
        return named | ({"CopySourceIfMatch": _quoted(source.version)} if match else {})


class _S3Upload:
    """A multipart upload."""

    def __init__(self, store: S3Store, key: Key, upload_id: str) -> None:
        self._store = store
        self._key = key
        self._id = upload_id
        self._parts: dict[int, tuple[str, int]] = {}  # number: ETag and size

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        answer = await self._store._call(
            "upload_part", self._key, UploadId=self._id, PartNumber=number, Body=bytes(data)
        )
        self._parts[number] = answer["ETag"], len(data)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        if not self._store.capabilities.versioned_read:
            raise Unsupported("the service cannot bind the copy of a part to a version")
        answer = await self._store._call(
            "upload_part_copy",
            self._key,
            UploadId=self._id,
            PartNumber=number,
            CopySourceRange=f"bytes={start}-{start + length - 1}",
            **self._store._source(source, match=True),
        )
        self._parts[number] = answer["CopyPartResult"]["ETag"], length

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        etags = [self._parts[number][0] for number in numbers]
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in zip(numbers, etags, strict=True)]
        size = sum(self._parts[number][1] for number in numbers)
        await self._store.look(self._key, expect)
        try:
            answer = await self._store._call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
                **_condition(expect),
            )
        except (NotFound, VersionChanged):
            # The answer to an earlier attempt may have been lost: then the object is there, made of exactly these
            # parts.
            return await self._completed_before(etags, size)
        return _made(self._key, answer, size=size)

    async def _completed_before(self, etags: Sequence[str], size: int) -> ObjectInfo:
        try:
            found = await self._store.stat(self._key)
        except NotFound:
            found = None
        if found is None or found.size != size or found.version != _joint_etag(etags):
            raise VersionChanged(f"{self._key} was changed by somebody else")
        return found

    async def abort(self) -> None:
        try:
            await self._store._call("abort_multipart_upload", self._key, UploadId=self._id)
        except NotFound:
            return


def _joint_etag(etags: Sequence[str]) -> Version:
    """Return the ETag that an upload of parts with these ETags gets: the MD5 of their MD5s, and their number."""
    try:
        digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:  # encrypted with KMS, say: ETags are no MD5s there, and nothing can be told
        return ABSENT
    return Version(f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}")


def _condition(expect: Version | None) -> dict[str, str]:
    if expect is None:
        return {}
    return {"IfNoneMatch": "*"} if expect == ABSENT else {"IfMatch": _quoted(expect)}


def _quoted(version: Version) -> str:
    return version if version.startswith("W/") else f'"{version}"'


def _version(answer: Mapping[str, Any]) -> Version:
    return Version(str(answer["ETag"]).strip('"'))


def _time(answer: Mapping[str, Any]) -> int:
    # Whole seconds, which is all that HTTP headers carry: the same object must not change its age with the request.
    modified: datetime.datetime = answer["LastModified"]
    return int(modified.timestamp()) * 1_000_000_000


def _info(key: Key, answer: Mapping[str, Any], *, size: int) -> ObjectInfo:
    return ObjectInfo(key, size, _time(answer), _version(answer))


def _listed(key: Key, entry: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, entry["Size"], _time(entry), _version(entry))


def _made(key: Key, answer: Mapping[str, Any], *, size: int) -> ObjectInfo:
    """Return what a write has made; its time is the service's, from the answer's Date header."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    sent = email.utils.parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
    return ObjectInfo(key, size, int(sent) * 1_000_000_000, _version(answer))
