"""Azure Blob Storage, through adlfs' client: its account, credentials and their refresh.

ETags are the versions. Uploads are staged blocks; those of the object's present state that do not change are named
again instead of sent. https://learn.microsoft.com/rest/api/storageservices/understanding-block-blobs--append-blobs--and-page-blobs
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import weakref
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core import exceptions as azure_errors
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob.aio import BlobPrefix

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
    MiB,
    ObjectInfo,
    Upload,
    Version,
)
from mountd.objects.media import content_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from mountd.objects.bridge import Bridge

_CODES: dict[str, type[MountdError]] = {
    "BlobNotFound": NotFound,
    "ContainerNotFound": NotFound,
    "BlobAlreadyExists": VersionChanged,
    "UnauthorizedBlobOverwrite": VersionChanged,
    "ConditionNotMet": VersionChanged,
    "TargetConditionNotMet": VersionChanged,
    "SourceConditionNotMet": VersionChanged,
    "InvalidBlockList": VersionChanged,  # the blocks that were to be kept are those of an earlier state
    "CannotVerifyCopySource": NotFound,
    "AuthenticationFailed": BadCredentials,
    "InvalidAuthenticationInfo": BadCredentials,
    "NoAuthenticationInformation": BadCredentials,
    "AuthorizationFailure": Denied,
    "AuthorizationPermissionMismatch": Denied,
    "InsufficientAccountPermissions": Denied,
    "ServerBusy": Throttled,
    "OperationTimedOut": Unavailable,
    "InternalError": Unavailable,
    "APINotImplemented": Unsupported,
}
_STATUS: dict[int, type[MountdError]] = {
    401: BadCredentials,
    403: Denied,
    404: NotFound,
    408: Unavailable,
    412: VersionChanged,
    429: Throttled,
    501: Unsupported,
    503: Throttled,
}
_INVALID_RANGE = 416


class AzureStore:
    """The blobs under `prefix` (empty, or ending in a slash) of a container.

    `filesystem` is an asynchronous `adlfs.AzureBlobFileSystem` on the bridge's loop.
    """

    def __init__(
        self, filesystem: Any, bridge: Bridge, *, container: str, prefix: str, read_only: bool = False
    ) -> None:
        self._fs = filesystem
        self._bridge = bridge
        self.container = container
        self.prefix = prefix
        self.capabilities = Capabilities(
            conditional_create=True,
            conditional_put=True,
            conditional_copy=True,
            conditional_delete=True,
            versioned_read=True,
            part_copy=True,
            read_only=read_only,
            max_key_bytes=1024 - len(prefix.encode()),
            min_part=1,
            max_part=4000 * MiB,
            max_parts=50_000,
        )

    async def check(self) -> None:
        """List one key. Raises NotFound without the container, BadCredentials, Denied, Unavailable."""
        where = f"abfs://{self.container}/{self.prefix}"
        await list_one(self, where=where, missing=f"container {self.container!r}")

    async def stat(self, key: Key) -> ObjectInfo:
        properties = await self._call(key, lambda blob: blob.get_blob_properties())
        return _info(key, properties.size, properties)

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000
    ) -> ListPage:
        return await self._bridge.call(self._list_page, prefix, recursive, cursor, limit)

    async def _list_page(self, prefix: Key, recursive: bool, cursor: str | None, limit: int) -> ListPage:
        client = self._fs.service_client.get_container_client(self.container)
        find = client.list_blobs if recursive else client.walk_blobs
        pages = find(name_starts_with=self.prefix + prefix, results_per_page=limit).by_page(cursor)
        skip = len(self.prefix)
        objects: list[ObjectInfo] = []
        prefixes: list[Key] = []
        with domain_errors(self.container):
            async for item in await anext(pages):
                name = item.name[skip:]
                if isinstance(item, BlobPrefix):
                    prefixes.append(Key(name))
                elif name:
                    objects.append(_info(Key(name), item.size, item))
        return ListPage(objects, prefixes, pages.continuation_token or None)

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        condition = _condition(version)

        async def read(blob: Any) -> Chunk:
            try:
                stream = await blob.download_blob(offset=start, length=length, max_concurrency=1, **condition)
                data: bytes = await stream.readall()
            except azure_errors.HttpResponseError as exc:
                if exc.status_code != _INVALID_RANGE:
                    raise
                properties = await blob.get_blob_properties(**condition)
                return Chunk(b"", _info(key, properties.size, properties))
            size = int(str(stream.properties.content_range or f"/{len(data)}").rpartition("/")[2])
            if len(data) != max(0, min(length, size - start)):
                raise Unavailable(f"{key}: the body ended after {len(data)} bytes")
            return Chunk(data, _info(key, size, stream.properties))

        chunk: Chunk = await self._call(key, read)
        return chunk

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        options: dict[str, Any] = {"overwrite": expect != ABSENT} | (_condition(expect) if expect else {})
        options["content_settings"] = ContentSettings(content_type=content_type(key))
        answer = await self._call(key, lambda blob: blob.upload_blob(bytes(data), length=len(data), **options))
        return _made(key, len(data), answer)

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        options = _condition(expect)
        if match:
            options |= {"source_etag": _quoted(source.version), "source_match_condition": MatchConditions.IfNotModified}
        url = self._blob(source.key).url
        answer = await self._call(target, lambda blob: blob.start_copy_from_url(url, **options))
        if answer.get("copy_status", "success") != "success":
            await self._copied(target)
        found = await self.stat(target)
        return ObjectInfo(target, source.size if match else found.size, found.mtime_ns, found.version)

    async def _copied(self, key: Key) -> None:
        """Wait for a copy that the service carries out in its own time."""
        import trio

        while True:
            state = (await self._call(key, lambda blob: blob.get_blob_properties())).copy.status
            if state == "success":
                return
            if state in ("failed", "aborted"):
                raise StoreFailure(f"{key}: the copy {state}")
            await trio.sleep(0.2)

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        named = expect is not None and expect != ABSENT
        try:
            await self._call(key, lambda blob: blob.delete_blob(**_condition(expect if named else None)))
        except NotFound as exc:
            if named:
                raise VersionChanged(f"{key} is gone") from exc

    async def open_upload(self, key: Key) -> Upload:
        return _BlockUpload(self, key)

    async def aclose(self) -> None:
        """Close the connections."""
        _detach_finalizers(self._fs)
        await self._bridge.call(self._fs.service_client.close)

    def _blob(self, key: Key) -> Any:
        return self._fs.service_client.get_blob_client(self.container, self.prefix + key)

    async def _call(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        return await self._bridge.call(self._run, key, act)

    async def _run(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        with domain_errors(key):
            return await act(self._blob(key))


class _BlockUpload:
    """Staged blocks; what is not committed the service removes after a week."""

    def __init__(self, store: AzureStore, key: Key) -> None:
        self._store = store
        self._key = key
        self._id = secrets.token_hex(8)
        self._blocks: dict[int, list[str]] = {}
        self._sizes: dict[int, int] = {}
        self._committed: list[tuple[int, int, str]] | None = None  # offset, size, id

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        block = self._block(number)
        await self._store._call(self._key, lambda blob: blob.stage_block(block, bytes(data), length=len(data)))
        self._blocks[number], self._sizes[number] = [block], len(data)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        blocks = await self._kept(source, start, length)
        if not blocks:
            blocks = [self._block(number)]
            url = self._store._blob(source.key).url
            options = {"source_etag": _quoted(source.version), "source_match_condition": MatchConditions.IfNotModified}
            await self._store._call(
                self._key, lambda blob: blob.stage_block_from_url(blocks[0], url, start, length, **options)
            )
        self._blocks[number], self._sizes[number] = blocks, length

    def _block(self, number: int) -> str:
        return base64.b64encode(f"{self._id}{number:08}".encode()).decode()  # all ids of a blob have one length

    async def _kept(self, source: ObjectInfo, start: int, length: int) -> list[str]:
        """Return the ids of the committed blocks that are exactly this range, none where there are none."""
        if source.key != self._key:
            return []
        if self._committed is None:
            committed, _ = await self._store._call(self._key, lambda blob: blob.get_block_list("committed"))
            offset, self._committed = 0, []
            for block in committed:
                self._committed.append((offset, block.size, block.id))
                offset += block.size
        inside = [(o, size, block) for o, size, block in self._committed if start <= o and o + size <= start + length]
        return [block for _, _, block in inside] if sum(size for _, size, _ in inside) == length else []

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        blocks = [BlobBlock(block_id=block) for number in numbers for block in self._blocks[number]]
        size = sum(self._sizes[number] for number in numbers)
        options = _condition(expect) | {"content_settings": ContentSettings(content_type=content_type(self._key))}
        answer = await self._store._call(self._key, lambda blob: blob.commit_block_list(blocks, **options))
        return _made(self._key, size, answer)

    async def abort(self) -> None:
        self._blocks.clear()


def _condition(version: Version | None) -> dict[str, Any]:
    if version is None:
        return {}
    if version == ABSENT:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": _quoted(version), "match_condition": MatchConditions.IfNotModified}


def _quoted(version: Version) -> str:
    return f'"{version}"'


def _info(key: Key, size: int, properties: Any) -> ObjectInfo:
    seconds = int(properties.last_modified.timestamp())
    return ObjectInfo(key, size, seconds * 1_000_000_000, Version(properties.etag.strip('"')))


def _made(key: Key, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    seconds = int(answer["last_modified"].timestamp())
    return ObjectInfo(key, size, seconds * 1_000_000_000, Version(answer["etag"].strip('"')))


def _detach_finalizers(filesystem: Any) -> None:
    # adlfs registers finalizers that hold on to the object they are about: they run when the process ends, on a loop
    # that has ended before, and complain. There is no public way to find them.
    for finalizer, info in list(getattr(weakref.finalize, "_registry", {}).items()):
        if info.weakref() is filesystem:
            finalizer.detach()


@contextlib.contextmanager
def domain_errors(what: str) -> Iterator[None]:
    """Turn what a request in the block raises into the classes of `mountd.errors`; `what` is the key or container."""
    try:
        yield
    except azure_errors.HttpResponseError as exc:
        code = str(getattr(exc, "error_code", None) or "")
        code = getattr(getattr(exc, "error_code", None), "value", code)
        status = exc.status_code or 0
        kind = _CODES.get(code) or _STATUS.get(status) or (Unavailable if status >= 500 else StoreFailure)
        raise kind(f"{what}: {code or status}: {(exc.message or '').splitlines()[0] if exc.message else ''}") from exc
    except azure_errors.AzureError as exc:
        raise Unavailable(f"{what}: {exc}") from exc
    except (TimeoutError, OSError) as exc:
        raise Unavailable(f"{what}: {type(exc).__name__}: {exc}") from exc
