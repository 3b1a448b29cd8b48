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

import trio
from azure.core import MatchConditions
from azure.core import exceptions as azure_errors
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobPrefix

from mountd.errors import (
    Denied,
    NotFound,
    StoreFailure,
    Unavailable,
    Unsupported,
    VersionChanged,
)
from mountd.objects import azure_values as values
from mountd.objects import checksums
from mountd.objects.azure_errors import domain_errors
from mountd.objects.azure_upload import BlockUpload, copy_in_blocks
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
from mountd.objects.sessions import send_changes_once

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mountd.objects.azure_folders import AzureFolders
    from mountd.objects.bridge import Bridge

_INVALID_RANGE = 416
_NEVER = Version("0x0")  # the version of a blob that never was


class AzureStore(Basic):
    """The blobs under `prefix` (empty, or ending in a slash) of a container.

    `filesystem` is an asynchronous `adlfs.AzureBlobFileSystem` on the bridge's loop.
    """

    def __init__(self, filesystem: Any, bridge: Bridge, *, container: str, prefix: str, read_only: bool) -> None:
        self._opened: list[Any] = []
        self._folders: AzureFolders | None = None  # until `check` has found out
        self.use(filesystem)
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
        properties = await self.call(key, lambda blob: blob.get_blob_properties())
        if self._folders is not None and values.is_folder(properties.metadata):
            raise NotFound(f"{key} is a directory")
        found = values.info(key, properties.size, properties)
        self._described.remember(key, found.version, values.description(properties))
        return found

    async def _ask_description(self, key: Key, version: Version) -> Description:
        return values.description(
            await self.call(key, lambda blob: blob.get_blob_properties(**values.condition(version)))
        )

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
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000
    ) -> ListPage:
        page = await self._bridge.call(self._list_page, prefix, recursive, cursor, limit)
        if self._folders is None or not prefix or cursor or page.objects or page.prefixes:
            return page
        with contextlib.suppress(NotFound):  # nothing is below, so the directory itself has to be asked for
            return ListPage([await self._folders.stat(prefix)], (), None)
        return page

    async def _list_page(self, prefix: Key, recursive: bool, cursor: str | None, limit: int) -> ListPage:
        client = self._fs.service_client.get_container_client(self.container)
        find = client.list_blobs if recursive else client.walk_blobs
        # Only the metadata tells directories of a hierarchical namespace from files.
        options = {"include": ["metadata"]} if self._folders is not None else {}
        pages = find(name_starts_with=self.prefix + prefix, results_per_page=limit, **options).by_page(cursor)
        skip = len(self.prefix)
        objects: list[ObjectInfo] = []
        prefixes: list[Key] = []
        with domain_errors(self.container):
            await self._connect()
            async for item in await anext(pages):
                name = item.name[skip:]
                if isinstance(item, BlobPrefix):
                    prefixes.append(Key(name))
                elif self._folders is not None and values.is_folder(item.metadata):
                    if recursive:
                        objects.append(values.info(Key(name + "/"), 0, item))
                    else:
                        prefixes.append(Key(name + "/"))
                elif name:
                    objects.append(values.info(Key(name), item.size, item))
        return ListPage(objects, prefixes, pages.continuation_token or None)

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        options = values.condition(version)

        async def read(blob: Any) -> tuple[Chunk, str | None]:
            """Return bytes, and the checksum of the whole blob where the answer brings one."""
            try:
                stream = await blob.download_blob(offset=start, length=length, max_concurrency=1, **options)
                data: bytes = await stream.readall()
            except azure_errors.HttpResponseError as exc:
                if exc.status_code != _INVALID_RANGE:
                    raise
                properties = await blob.get_blob_properties(**options)
                return Chunk(b"", values.info(key, properties.size, properties)), None
            size = int(str(stream.properties.content_range or f"/{len(data)}").rpartition("/")[2])
            if len(data) != max(0, min(length, size - start)):
                raise Unavailable(f"{key}: the body ended after {len(data)} bytes")
            return Chunk(data, values.info(key, size, stream.properties)), values.checksum(stream.properties)

        chunk: Chunk
        whole: str | None
        chunk, whole = await self.call(key, read)
        if whole is not None and len(chunk.data) == chunk.info.size:
            ours = await trio.to_thread.run_sync(checksums.md5, chunk.data)
            checksums.require_received(key, ours, whole)
        return chunk

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        if self._folders is not None and key.endswith("/"):
            return await self._folders.make(key, expect)
        described = await self._description(key, expect)
        options: dict[str, Any] = (
            {"overwrite": expect != ABSENT} | (values.condition(expect) if expect else {}) | described
        )
        # Kept with the blob by the service, which also refuses a body that was damaged on its way.
        options["headers"] = {"Content-MD5": await trio.to_thread.run_sync(checksums.md5, data)}
        answer = await self.call(key, lambda blob: blob.upload_blob(bytes(data), length=len(data), **options))
        return self.made(key, len(data), answer, described)

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
        url = self.blob(source.key).url
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
            await self.call(key, lambda blob: blob.delete_blob(**values.condition(named)))
        return None

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

    def blob(self, key: Key) -> Any:
        """Return the client of one blob."""
        return self._fs.service_client.get_blob_client(self.container, self.prefix + key)

    async def call(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Do something with the client of a blob. Raises the classes of `mountd.errors`."""
        return await self._bridge.call(self._run, key, act)

    async def _run(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        with domain_errors(key):
            await self._connect()
            return await act(self.blob(key))

    async def _connect(self) -> None:
        """Open the session that all clients share, should it not be open yet."""
        client: Any = self._fs.service_client
        transport: Any = client._pipeline._transport
        if transport.session is None:
            await transport.open()
            session: Any = transport.session
            send_changes_once(session)


def _detach_finalizers(filesystem: Any) -> None:
    # adlfs registers finalizers that hold on to the object they are about: they run when the process ends, on a loop
    # that has ended before, and complain. There is no public way to find them. A copy, as a garbage collection, also
    # one that making a list of items begins, takes some away.
    for finalizer, info in getattr(weakref.finalize, "_registry", {}).copy().items():
        if info.weakref() is filesystem:
            finalizer.detach()
