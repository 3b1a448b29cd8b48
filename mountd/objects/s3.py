"""Amazon S3 and services that speak its protocol, through s3fs' client.

s3fs brings sessions, credentials and their refresh, regions and all its options; requests go to its client directly,
because preconditions, ranges bound to a version and part copies have no place in fsspec's interface. ETags are the
versions.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mountd.errors import Denied, MountdError, NotFound, StoreFailure, Unavailable, Unsupported, VersionChanged
from mountd.objects import checksums
from mountd.objects import s3_values as values
from mountd.objects.base import Basic
from mountd.objects.checking import list_one
from mountd.objects.described import Description, Descriptions
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
from mountd.objects.media import content_type, retyped
from mountd.objects.preconditions import deleting, look, require
from mountd.objects.s3_errors import code_of, domain_errors, failure, require_ours
from mountd.objects.s3_shortcut import Shortcut
from mountd.objects.s3_upload import S3Upload, copy_in_parts, send_file
from mountd.objects.s3_versions import find_version
from mountd.objects.spool import SpooledUpload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mountd.objects.bridge import Bridge
    from mountd.objects.leftovers import Leftovers

COPY_PART = 512 * MiB
MARKER = ".mountd-directory"
PROBE = ".mountd-probe-"  # hidden by mounts, should one ever be left behind
_NEVER = Version("0" * 32)  # the version of an object that never was
_PAST_THE_END = ("InvalidRange", "416")
_LEFT_ALONE = frozenset({"PreconditionFailed", "NoSuchKey"})


class S3Store(Basic):
    """The objects under `prefix` (empty, or ending in a slash) of a bucket.

    Args:
        filesystem: an asynchronous `s3fs.S3FileSystem` on the bridge's loop.
        max_copy: bytes that one request copies at most; larger objects are copied in parts.
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
        max_copy: int,
        leftovers: Leftovers,
    ) -> None:
        self._opened: list[Any] = []
        self._bridge = bridge
        self.use(filesystem)
        self.bucket = bucket
        self.prefix = prefix
        self._max_copy = max_copy
        self.leftovers = leftovers
        self._described = Descriptions(self._ask_description)
        self._decides = True  # until `check` has found out
        self._marker = ""
        self.capabilities = Capabilities(
            conditional_create=True,
            conditional_put=True,
            conditional_copy=True,
            conditional_delete=True,
            versioned_read=True,
            part_copy=True,
            range_copy=True,
            read_only=read_only,
            max_key_bytes=1024 - len(prefix.encode()),
            max_copy_part=min(COPY_PART, max_copy),
        )

    def use(self, filesystem: Any) -> None:
        """Send requests through this file system from now on."""
        filesystem.retries = 1  # repeating requests is the business of `retry`, which knows what a repeat may do
        self._opened.append(filesystem)
        self._fs = filesystem
        self._shortcut = Shortcut(filesystem, self._bridge)

    async def check(self) -> None:
        """List one key, find out what the service does and the credentials allow, and end uploads that were left.

        Raises NotFound without the bucket, BadCredentials, Denied, Unavailable.
        """
        endpoint = f" at {self._fs.endpoint_url}" if self._fs.endpoint_url else ""
        where = f"s3://{self.bucket}/{self.prefix}{endpoint}"
        await list_one(self, where=where, missing=f"bucket {self.bucket!r}{endpoint}", right="s3:ListBucket")
        if not self.capabilities.read_only:
            probe = Key(f"{PROBE}{secrets.token_hex(8)}")
            await self._find_out_puts(probe)
            await self._find_out_deletions(probe)
        if not self.capabilities.read_only:
            await self.leftovers.abandon(self._abort_upload)

    async def _abort_upload(self, key: str, upload_id: str) -> None:
        await self.call("abort_multipart_upload", Key(key), UploadId=upload_id)

    async def _find_out_puts(self, probe: Key) -> None:
        """Find out whether the service decides preconditions. Some accept them and act as if there had been none.

        A put that replaces a version of an object that never was has to fail; where it does not, what it made is
        removed.
        """
        try:
            await self.call("put_object", probe, Body=b"", **values.condition(_NEVER))
        except Denied:
            self.capabilities = replace(self.capabilities, read_only=True, denied_writing=True)
            return
        except (NotFound, VersionChanged, Unsupported, StoreFailure):
            return
        with contextlib.suppress(Denied):  # which is found out below; the empty object that is left is not shown
            await self.call("delete_object", probe)
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
            range_copy=False,
        )

    async def _find_out_deletions(self, probe: Key) -> None:
        """Find out whether deleting is allowed, and whether many can go at once, each under its own condition.

        Deleting a version of an object that never was changes nothing, and is refused where conditions are decided.
        """
        try:
            refused = await self._delete_objects({probe: _NEVER})
        except Denied:
            refused = {probe: "AccessDenied"}
        except MountdError:
            return  # the service knows no batches, or not without more; single deletions will tell
        denied = refused.get(probe) == "AccessDenied"
        self.capabilities = replace(
            self.capabilities, deletes=not denied, batch_delete=refused.get(probe, "") in _LEFT_ALONE and self._decides
        )

    async def _look(self, key: Key, expect: Version | None) -> None:
        """Check a precondition that the service does not. Raises VersionChanged."""
        if not self._decides:
            await look(self, key, expect)

    async def stat(self, key: Key) -> ObjectInfo:
        return await self._bridge.call(self._head, key, None)

    async def _head(self, key: Key, version: Version | None) -> ObjectInfo:
        answer = await self._request("head_object", key, **values.condition(version))
        self._note(key, answer)
        return require(values.info(key, answer, size=answer["ContentLength"]), version)

    def _note(self, key: Key, answer: Mapping[str, Any]) -> None:
        self._described.remember(key, values.version_of(answer), values.description(answer))

    async def _ask_description(self, key: Key, version: Version) -> Description:
        answer = await self.call("head_object", key, **values.condition(version))
        return values.description(answer)

    async def _carried(self, key: Key, version: Version | None) -> Description | None:
        """Return what the new state of an object takes over from a version, `None` where there is none."""
        described = await self._described.of(key, version)
        if described is None:
            return None
        carried = values.metadata(described) | self._placement(described)
        if described.get(values.TAGS):
            carried["Tagging"] = values.tagging((await self.call("get_object_tagging", key))["TagSet"])
        return carried

    def _placement(self, described: Description) -> Description:
        return values.placement(described, self._fs.s3_additional_kwargs)

    async def _description(self, key: Key, replaces: Version | None) -> Description:
        """Return what an object is to carry that replaces a version, or is new."""
        carried = await self._carried(key, replaces)
        return carried if carried is not None else values.of_new(content_type(key), self._fs.s3_additional_kwargs)

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        answer = await self.ask(
            "list_objects_v2",
            f"s3://{self.bucket}/{self.prefix}{prefix}",
            Prefix=self.prefix + prefix,
            MaxKeys=limit,
            **({} if recursive else {"Delimiter": "/"}),
            **({"ContinuationToken": cursor} if cursor else {}),
            known=known,
        )
        skip = len(self.prefix)
        return ListPage(
            # The key that is the store's own prefix is not an object in the store.
            [
                values.info(self._key(each["Key"]), each, size=each["Size"])
                for each in answer.get("Contents", ())
                if len(each["Key"]) > skip
            ],
            [Key(each["Prefix"][skip:]) for each in answer.get("CommonPrefixes", ())],
            answer.get("NextContinuationToken") if answer.get("IsTruncated") else None,
            digest=answer.get("Digest", b""),
            unchanged=answer.get("Unchanged", False),
        )

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        try:
            return await self._range(key, start, length, version)
        except (NotFound, VersionChanged):
            kept = await self._kept_as(key, version)
            if kept is None:
                raise
            return await self._bridge.call(self._read_range, key, start, length, version, VersionId=kept)

    async def _range(self, key: Key, start: int, length: int, version: Version | None) -> Chunk:
        """Nothing is noted of what is read the short way: such answers do not tell all of an object."""
        try:
            with domain_errors(key):
                chunk = await self._shortcut.read(key, self._name(key), start, length, version)
        except StoreFailure as exc:
            if code_of(exc) not in _PAST_THE_END:
                raise
            return Chunk(b"", await self._bridge.call(self._head, key, version))
        if chunk is not None:
            return chunk
        return await self._bridge.call(self._read_range, key, start, length, version)

    async def _kept_as(self, key: Key, version: Version | None) -> str | None:
        if version is None or not self._decides:
            return None
        return await find_version(self, self._name(key), version)

    async def _read_range(self, key: Key, start: int, length: int, version: Version | None, **which: str) -> Chunk:
        """Runs on asyncio, body included, so that a chunk crosses the bridge once."""
        asked = which or values.condition(version)
        try:
            answer = await self._request("get_object", key, Range=f"bytes={start}-{start + length - 1}", **asked)
        except StoreFailure as exc:
            if code_of(exc) not in _PAST_THE_END:
                raise
            answer = await self._request("head_object", key, **asked)
            return Chunk(b"", require(values.info(key, answer, size=answer["ContentLength"]), version))
        with domain_errors(key):
            async with answer["Body"] as body:
                data: bytes = await body.read()
        whole = answer.get("ContentRange")
        if whole is None:  # the service does not know ranges and has sent everything
            size, promised = len(data), answer["ContentLength"]
        else:
            size = int(whole.rpartition("/")[2])
            promised = max(0, min(length, size - start))
        if len(data) != promised:
            raise Unavailable(f"{key}: the body ended after {len(data)} of {promised} bytes")
        if whole is None:
            data = data[start : start + length]
        if not which:
            self._note(key, answer)
        return Chunk(data, require(values.info(key, answer, size=size), version))

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        await self._look(key, expect)
        described = await self._description(key, expect)
        with domain_errors(key):
            version = await self._shortcut.put(self._name(key), data, described, expect)
        if version is not None:
            self._described.remember(key, version, described)
            return values.made(key, {"ETag": version}, size=len(data))
        checksum = await checksums.crc32_of(data)
        answer = await self.call(
            "put_object", key, Body=data, ChecksumCRC32=checksum, **described, **values.condition(expect)
        )
        checksums.require_stored(key, checksum, answer.get("ChecksumCRC32"))
        made = values.made(key, answer, size=len(data))
        self._described.remember(key, made.version, values.with_tags_counted(described))
        return made

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if source.key.endswith("/"):  # a marker; not every service can copy one
            return await self.put(target, b"", expect=expect)
        await self._look(target, expect)
        await self._look(source.key, source.version if match else None)
        described = await self._described.of(source.key, source.version if match else None) or {}
        if source.size > self._max_copy:
            carried = await self._description(source.key, source.version)
            kind = retyped(carried.get("ContentType"), source.key, target)
            upload = await S3Upload.begin(self, target, carried | ({"ContentType": kind} if kind else {}))
            return await copy_in_parts(upload, source, self.capabilities.max_copy_part, expect=expect)
        asked = self._placement(described) | self._retyped(described, source.key, target)
        answer = await self.call(
            "copy_object", target, **asked, **self.source(source, match=match), **values.condition(expect)
        )
        return values.info(target, answer["CopyObjectResult"], size=source.size)

    def _retyped(self, described: Description, source: Key, target: Key) -> Description:
        """Return what gives a copy the content type of its new name, where the old one was only taken from a name."""
        kind = retyped(described.get("ContentType"), source, target)
        if kind is None:
            return {}
        return {**values.metadata(described), "ContentType": kind, "MetadataDirective": "REPLACE"}

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        async with deleting(key, expect) as named:
            await self._look(key, named)
            await self.call("delete_object", key, **values.condition(named))

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        for key, code in (await self._delete_objects(versions)).items():
            if code not in _LEFT_ALONE:
                raise failure(code, 0, f"{key}: not deleted")

    async def _delete_objects(self, versions: Mapping[Key, Version | None]) -> dict[Key, str]:
        """Delete up to 1000 objects and return the error codes of those that stayed."""
        named = [
            {"Key": self._name(key), **({"ETag": values.quoted(version)} if version else {})}
            for key, version in versions.items()
        ]
        answer = await self.ask("delete_objects", self.bucket, Delete={"Objects": named, "Quiet": False})
        return {self._key(each["Key"]): each.get("Code", "") for each in answer.get("Errors", ())}

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        described = await self._description(key, replaces)
        if self._decides:
            return await S3Upload.begin(self, key, described)

        async def send(path: str, size: int, expect: Version | None) -> ObjectInfo:
            await self._look(key, expect)
            upload = await S3Upload.begin(self, key, described)
            await send_file(upload, path, size, max_parts=self.capabilities.max_parts)
            return await self.stat(key)  # whose ETag need not be the one that the completion was answered with

        return SpooledUpload(key, send)  # such services do not let a part be sent again, either

    async def aclose(self) -> None:
        """Close the connections."""
        for filesystem in self._opened:
            creator = getattr(filesystem, "_s3creator", None)
            if creator is not None:
                await self._bridge.call(creator.__aexit__, None, None, None)

    def source(self, source: ObjectInfo, *, match: bool) -> dict[str, Any]:
        """Return the arguments that name the source of a copy. `match`: in the version it has."""
        named: dict[str, Any] = {"CopySource": {"Bucket": self.bucket, "Key": self._name(source.key)}}
        named |= values.source_key(self._fs.s3_additional_kwargs)
        return named | ({"CopySourceIfMatch": values.quoted(source.version)} if match else {})

    async def ask(self, method: str, what: str, **arguments: Any) -> Any:
        """Send one request about the bucket; `what` names it in errors. Raises the classes of `mountd.errors`."""
        return await self._bridge.call(self._send, method, what, Bucket=self.bucket, **arguments)

    async def call(self, method: str, key: Key, **arguments: Any) -> Any:
        """Send one request about a key. Raises the classes of `mountd.errors`."""
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
        try:
            return await self._send_once(method, what, **arguments)
        except StoreFailure:
            if method == "head_object":
                # Its answers have no words: credentials that have expired are nothing but a bad request there. What is
                # wrong is asked for otherwise.
                asked = {"Bucket": self.bucket, "Prefix": arguments["Key"], "MaxKeys": 1}
                await self._send_once("list_objects_v2", what, **asked)
            raise

    async def _send_once(self, method: str, what: str, *, known: bytes = b"", **arguments: Any) -> Any:
        with domain_errors(what):
            answer = await self._shortcut.call(method, arguments, known=known)
            if answer is None:
                return await self._call_botocore(method, arguments, what)
            require_ours(method, answer, what)
            return answer

    async def _call_botocore(self, method: str, arguments: dict[str, Any], what: str) -> Any:
        if "Body" in arguments:
            arguments["Body"] = bytes(arguments["Body"])
        arguments.pop("ChecksumCRC32", None)  # it has its own mind about those
        async with self._shortcut.watching(method):
            answer = await self._fs._call_s3(method, **arguments)
            require_ours(method, answer, what)
        return answer
