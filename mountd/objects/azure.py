"""Azure Blob Storage, through adlfs' client: its account, credentials and their refresh.

ETags are the versions. Uploads are staged blocks; those of the object's present state that do not change are named
again instead of sent. https://learn.microsoft.com/rest/api/storageservices/understanding-block-blobs--append-blobs--and-page-blobs
"""

from __future__ import annotations

import contextlib
import secrets
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio
from azure.core import MatchConditions
from azure.core import exceptions as azure_errors
from azure.storage.blob import ContentSettings

from mountd.errors import (
    Denied,
    NotFound,
    StoreFailure,
    Unavailable,
    Unsupported,
    VersionChanged,
)
from mountd.objects import azure_listing as listing
from mountd.objects import azure_values as values
from mountd.objects import checksums
from mountd.objects.azure_errors import domain_errors
from mountd.objects.azure_upload import BlockUpload, copy_in_blocks
from mountd.objects.azure_wire import Wire
from mountd.objects.base import Basic
from mountd.objects.checking import list_one
from mountd.objects.described import Description, Descriptions
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
from mountd.objects.media import content_type, retyped
from mountd.objects.preconditions import deleting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mountd.objects.azure_folders import AzureFolders
    from mountd.objects.bridge import Bridge

_INVALID_RANGE = 416
_SETTINGS = "content_settings"
# The service takes more in one piece, Azure's client sends what is larger in blocks.
_MAX_PUT = 64 * MiB
_NEVER = Version("0x0")  # the version of a blob that never was


class AzureStore(Basic):
    """The blobs under `prefix` (empty, or ending in a slash) of a container.

    `filesystem` is an asynchronous `adlfs.AzureBlobFileSystem` on the bridge's loop.
    """

    def __init__(self, filesystem: Any, bridge: Bridge, *, container: str, prefix: str, read_only: bool) -> None:
        self._opened: list[Any] = []
        self._folders: AzureFolders | None = None  # until `check` has found out
        self._bridge = bridge
        self.container = container
        self.prefix = prefix
        self.use(filesystem)
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
            min_part=1,
            max_part=4000 * MiB,
            max_copy_part=5 * 1024 * 1024 * MiB,
            max_parts=50_000,
        )
        self._described = Descriptions(self._ask_description)

    def use(self, filesystem: Any) -> None:
        """Send requests through this file system from now on."""
        # Repeating requests is the business of `retry`; the client would wait for 15 s before its first repeat. adlfs
        # passes nothing on to the client that it makes.
        filesystem.service_client._config.retry_policy.total_retries = 0
        self._opened.append(filesystem)
        self._fs = filesystem
        self._wire = Wire(filesystem.service_client)
        self._address: str = filesystem.service_client.get_container_client(self.container).url
        if self._folders is not None:
            self._folders.use(filesystem.service_client)

    async def check(self) -> None:
        """List one key. Raises NotFound without the container, BadCredentials, Denied, Unavailable."""
        where = f"abfs://{self.container}/{self.prefix}"
        await list_one(self, where=where, missing=f"container {self.container!r}", right="permission List")
        if await self._bridge.call(self._is_hierarchical):
            await self._use_folders()
        if not self.capabilities.read_only:
            await self._find_out_rights()

    async def _is_hierarchical(self) -> bool:
        """Ask whether the account has a hierarchical namespace; where that is not told, it is used without."""
        try:
            told = await self._fs.service_client.get_container_client(self.container).get_account_information()
        except azure_errors.AzureError:
            return False
        return bool(told.get("is_hns_enabled"))

    async def _use_folders(self) -> None:
        from mountd.objects.azure_folders import AzureFolders  # with a library that only such accounts need

        self._folders = AzureFolders(
            self._fs.service_client, self._bridge, container=self.container, prefix=self.prefix
        )
        self.capabilities = replace(self.capabilities, folders=True)

    async def _find_out_rights(self) -> None:
        """Find out what the credentials allow: changes of a version of a blob that never was change nothing."""
        probe = Key(f".mountd-probe-{secrets.token_hex(8)}")

        async def denied(act: Callable[[Any], Awaitable[Any]]) -> bool:
            try:
                await self.call(probe, act)
            except Denied:
                return True
            except (NotFound, VersionChanged, Unsupported, StoreFailure):
                return False
            return False

        writing = await denied(lambda blob: blob.upload_blob(b"", overwrite=True, **values.condition(_NEVER)))
        deleting_ = await denied(lambda blob: blob.delete_blob(**values.condition(_NEVER)))
        self.capabilities = replace(self.capabilities, read_only=writing, denied_writing=writing, deletes=not deleting_)

    async def stat(self, key: Key) -> ObjectInfo:
        if self._folders is not None and key.endswith("/"):
            return await self._folders.stat(key)
        properties = await self._bridge.call(self._properties, key)
        if self._folders is not None and values.is_folder(properties.metadata):
            raise NotFound(f"{key} is a directory")
        found = values.info(key, properties.size, properties)
        self._described.remember(key, found.version, values.description(properties))
        return found

    async def _properties(self, key: Key, version: Version | None = None) -> Any:
        with domain_errors(key):
            answer = await self._wire.send("HEAD", self.url(key), key, headers=values.condition_headers(version))
            if answer is None:
                return await self.blob(key).get_blob_properties(**values.condition(version))
            return values.properties_of(answer.headers, int(answer.headers.get("Content-Length", "")))

    async def _ask_description(self, key: Key, version: Version) -> Description:
        return values.description(await self._bridge.call(self._properties, key, version))

    async def _description(self, key: Key, replaces: Version | None) -> Description:
        """Return what a blob is to carry that replaces a version, or is new, as arguments of its upload."""
        described = await self._described.of(key, replaces)
        if described is None:
            return {"content_settings": ContentSettings(content_type=content_type(key))}
        return await self._with_tags(key, described)

    async def _with_tags(self, key: Key, described: Description) -> Description:
        """Return a description with the tags themselves, of which properties tell only how many there are."""
        carried = {name: value for name, value in described.items() if name != "tag_count"}
        if described.get("tag_count"):
            carried["tags"] = await self.call(key, lambda blob: blob.get_blob_tags())
        return carried

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        page = await self._bridge.call(self._list_page, prefix, recursive, cursor, limit, known)
        if self._folders is None or not prefix or cursor or page.objects or page.prefixes:
            return page
        with contextlib.suppress(NotFound):  # nothing is below, so the directory itself has to be asked for
            return ListPage([await self._folders.stat(prefix)], (), None)
        return page

    async def _list_page(self, prefix: Key, recursive: bool, cursor: str | None, limit: int, known: bytes) -> ListPage:
        with domain_errors(self.container):
            if self._folders is None:
                asked = listing.query(self.prefix + prefix, recursive=recursive, cursor=cursor, limit=limit)
                answer = await self._wire.send("GET", self._address, self.container, params=asked)
                if answer is not None:
                    return listing.parse(answer.body, len(self.prefix), known)
            await self._wire.connect()
            client = self._fs.service_client.get_container_client(self.container)
            folders, skip = self._folders is not None, len(self.prefix)
            return await listing.by_client(
                client, self.prefix + prefix, skip, recursive=recursive, cursor=cursor, limit=limit, folders=folders
            )

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        chunk, whole = await self._bridge.call(self._read_range, key, start, length, version)
        if whole is not None and len(chunk.data) == chunk.info.size:
            ours = await checksums.md5_of(chunk.data)
            checksums.require_received(key, ours, whole)
        return chunk

    async def _read_range(self, key: Key, start: int, length: int, version: Version | None) -> tuple[Chunk, str | None]:
        """Return bytes, and the checksum of the whole blob where the answer brings one."""
        with domain_errors(key):
            wanted = {"x-ms-range": f"bytes={start}-{start + length - 1}"} | values.condition_headers(version)
            answer = await self._wire.send("GET", self.url(key), key, headers=wanted)
            if answer is None:
                return await self._read_range_by_client(self.blob(key), key, start, length, version)
            size = _size_of(answer.headers.get("Content-Range"), answer.body)
            properties = values.properties_of(answer.headers, size)
            return _chunk(key, answer.body, start, length, size, properties), values.checksum(properties)

    async def _read_range_by_client(
        self, blob: Any, key: Key, start: int, length: int, version: Version | None
    ) -> tuple[Chunk, str | None]:
        options = values.condition(version)
        try:
            stream = await blob.download_blob(offset=start, length=length, max_concurrency=1, **options)
            data: bytes = await stream.readall()
        except azure_errors.HttpResponseError as exc:
            if exc.status_code != _INVALID_RANGE:
                raise
            properties = await blob.get_blob_properties(**options)
            return Chunk(b"", values.info(key, properties.size, properties)), None
        size = _size_of(stream.properties.content_range, data)
        return _chunk(key, data, start, length, size, stream.properties), values.checksum(stream.properties)

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        if self._folders is not None and key.endswith("/"):
            return await self._folders.make(key, expect)
        described = await self._description(key, expect)
        # Kept with the blob by the service, which also refuses a body that was damaged on its way.
        checksum = {"Content-MD5": await checksums.md5_of(data)}
        answer = await self._bridge.call(self._put, key, data, expect, described, checksum)
        return self.made(key, len(data), answer, described)

    async def _put(
        self, key: Key, data: Buffer, expect: Version | None, described: Description, checksum: dict[str, str]
    ) -> Mapping[str, Any]:
        with domain_errors(key):
            if len(data) <= _MAX_PUT and not any(value for name, value in described.items() if name != _SETTINGS):
                content = values.put_headers(described[_SETTINGS]) | values.condition_headers(expect)
                answer = await self._wire.send("PUT", self.url(key), key, headers=content | checksum, data=data)
                if answer is not None:
                    modified = values.moment(answer.headers.get("Last-Modified", ""))
                    return {"etag": answer.headers.get("ETag"), "last_modified": modified}
            await self._wire.connect()
            options: dict[str, Any] = values.condition(expect) | described | {"overwrite": expect != ABSENT}
            found: Mapping[str, Any] = await self.blob(key).upload_blob(
                bytes(data), length=len(data), headers=checksum, **options
            )
            return found

    def made(self, key: Key, size: int, answer: Mapping[str, Any], described: Description) -> ObjectInfo:
        """Return what a write has made, and remember what it carries."""
        made = values.made(key, size, answer)
        kept = {name: value for name, value in described.items() if name != "tags"}
        self._described.remember(key, made.version, kept | {"tag_count": len(described.get("tags", ()))})
        return made

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if self._folders is not None and target.endswith("/"):
            return await self._folders.make(target, expect)
        options = values.condition(expect)
        described = await self._described.of(source.key, source.version if match else None) or {}
        if described.get("encryption_scope"):  # a copy does not take it over, and cannot be told to
            carried = await self._with_tags(source.key, described)
            return await copy_in_blocks(BlockUpload(self, target, carried), source, expect=expect)
        if described.get("standard_blob_tier"):
            options["standard_blob_tier"] = described["standard_blob_tier"]
        if described.get("tag_count"):
            options["tags"] = (await self._with_tags(source.key, described))["tags"]
        if match:
            options |= {
                "source_etag": values.quoted(source.version),
                "source_match_condition": MatchConditions.IfNotModified,
            }
        url = self.url(source.key)
        answer = await self.call(target, lambda blob: blob.start_copy_from_url(url, **options))
        if answer.get("copy_status", "success") != "success":
            await self._copied(target)
        settings = described.get("content_settings")
        kind = retyped(settings.content_type, source.key, target) if settings is not None else None
        if settings is not None and kind is not None:
            await self._retype(target, settings, kind)
        found = await self.stat(target)
        return ObjectInfo(target, source.size if match else found.size, found.mtime_ns, found.version)

    async def _retype(self, key: Key, settings: ContentSettings, kind: str) -> None:
        """Give a copy another content type; a copy always begins with that of its source."""
        changed = values.settings(settings, content_type=kind)
        await self.call(key, lambda blob: blob.set_http_headers(changed))

    async def _copied(self, key: Key) -> None:
        """Wait for a copy that the service carries out in its own time."""
        while True:
            state = (await self.call(key, lambda blob: blob.get_blob_properties())).copy.status
            if state == "success":
                return
            if state in ("failed", "aborted"):
                raise StoreFailure(f"{key}: the copy {state}")
            await trio.sleep(0.2)

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        if self._folders is not None and key.endswith("/"):
            return await self._folders.remove(key)
        async with deleting(key, expect) as named:
            await self._bridge.call(self._delete, key, named)
        return None

    async def _delete(self, key: Key, expect: Version | None) -> None:
        with domain_errors(key):
            headers = values.condition_headers(expect)
            if await self._wire.send("DELETE", self.url(key), key, headers=headers) is None:
                await self.blob(key).delete_blob(**values.condition(expect))

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None = None) -> ObjectInfo:
        if self._folders is None:
            return await super().rename(source, target, expect=expect)
        await self._folders.rename(source, target, expect=expect)
        return await self.stat(target)

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        return BlockUpload(self, key, await self._description(key, replaces))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._folders is not None:
            await self._folders.aclose()
        for filesystem in self._opened:
            _detach_finalizers(filesystem)
            await self._bridge.call(filesystem.service_client.close)

    def url(self, key: Key) -> str:
        """Return the address of a blob, as its client would have it; to make one takes as long as half a request."""
        container, mark, signature = self._address.partition("?")
        return f"{container}/{quote(self.prefix + key, safe='~/')}{mark}{signature}"

    def blob(self, key: Key) -> Any:
        """Return the client of one blob."""
        return self._fs.service_client.get_blob_client(self.container, self.prefix + key)

    async def call(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Do something with the client of a blob. Raises the classes of `mountd.errors`."""
        return await self._bridge.call(self._run, key, act)

    async def _run(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        with domain_errors(key):
            await self._wire.connect()
            return await act(self.blob(key))


def _size_of(content_range: str | None, data: bytes) -> int:
    """Return the size of a blob of which `data` is a range, or all."""
    return int((content_range or f"/{len(data)}").rpartition("/")[2])


def _chunk(key: Key, data: bytes, start: int, length: int, size: int, properties: Any) -> Chunk:
    if len(data) != max(0, min(length, size - start)):
        raise Unavailable(f"{key}: the body ended after {len(data)} bytes")
    return Chunk(data, values.info(key, size, properties))


def _detach_finalizers(filesystem: Any) -> None:
    # adlfs registers finalizers that hold on to the object they are about: they run when the process ends, on a loop
    # that has ended before, and complain. There is no public way to find them. A copy, as a garbage collection, also
    # one that making a list of items begins, takes some away.
    for finalizer, info in getattr(weakref.finalize, "_registry", {}).copy().items():
        if info.weakref() is filesystem:
            finalizer.detach()
