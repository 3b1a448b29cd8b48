"""Accounts of Azure with a hierarchical namespace: directories are real there, and a rename is one step.

Bytes go through the blob service as in other accounts; what is about directories goes through the account's second
endpoint. https://learn.microsoft.com/rest/api/storageservices/datalakestoragegen2/path
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.storage.filedatalake.aio import DataLakeServiceClient

from mountd.errors import NotEmpty, NotFound, VersionChanged
from mountd.objects import azure_values as values
from mountd.objects.azure_errors import domain_errors
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mountd.objects.bridge import Bridge


class AzureFolders:
    """The directories of a container, by keys that end in a slash; keys are relative to `prefix`.

    `service` is the container's `BlobServiceClient`, whose account and credential are used.
    """

    def __init__(self, service: Any, bridge: Bridge, *, container: str, prefix: str) -> None:
        self._bridge = bridge
        self._prefix = prefix
        self._container = container
        self._opened: list[DataLakeServiceClient] = []
        self.use(service)

    def use(self, service: Any) -> None:
        """Send requests with this client's account and credential from now on."""
        url = service.url.replace(".blob.", ".dfs.", 1)
        # Repeating requests is the business of `retry`.
        opened = DataLakeServiceClient(url, credential=_credential(service.credential), retry_total=0)
        self._opened.append(opened)
        self._system = opened.get_file_system_client(self._container)

    async def stat(self, key: Key) -> ObjectInfo:
        """Return a directory as its marker. Raises NotFound."""
        properties = await self._call(key, lambda path: path.get_directory_properties())
        if not values.is_folder(properties.metadata):
            raise NotFound(f"{key} is not a directory")
        return values.info(key, 0, properties)

    async def make(self, key: Key, expect: Version | None) -> ObjectInfo:
        """Make a directory. Raises VersionChanged where it exists and must not."""
        try:
            await self._call(key, lambda path: path.create_directory(match_condition=MatchConditions.IfMissing))
        except VersionChanged:
            if expect == ABSENT:
                raise
        return await self.stat(key)

    async def remove(self, key: Key) -> None:
        """Remove a directory that is empty; one with entries stays, without an error."""
        # The client's own method for directories takes everything below along; the service refuses without `recursive`.
        with contextlib.suppress(NotFound, NotEmpty):
            await self._call(key, lambda path: path._delete(recursive=False))

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None) -> None:
        """Move a file in its version, or a directory with all that is in it.

        Raises VersionChanged where one of the two is not as expected, NotEmpty for a directory with entries.
        """
        if source.key.endswith("/"):
            if not await self._is_empty(target):
                raise NotEmpty(f"{target} is not empty")
            await self.remove(target)
            conditions: dict[str, Any] = {"match_condition": MatchConditions.IfMissing}
        else:
            conditions = values.condition(expect) | {
                "source_etag": values.quoted(source.version),
                "source_match_condition": MatchConditions.IfNotModified,
            }
        name = f"{self._container}/{self._prefix}{target}".rstrip("/")
        rename = "rename_directory" if source.key.endswith("/") else "rename_file"
        await self._call(source.key, lambda path: getattr(path, rename)(name, **conditions))

    async def _is_empty(self, key: Key) -> bool:
        async def first(_: Any) -> bool:
            paths = self._system.get_paths(path=self._path(key), recursive=False, max_results=1)
            async for _path in paths:
                return False
            return True

        try:
            return bool(await self._call(key, first))
        except NotFound:
            return True

    async def aclose(self) -> None:
        """Close the connections."""
        for opened in self._opened:
            await self._bridge.call(opened.close)

    def _path(self, key: Key) -> str:
        return (self._prefix + key).rstrip("/")

    async def _call(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        return await self._bridge.call(self._run, key, act)

    async def _run(self, key: Key, act: Callable[[Any], Awaitable[Any]]) -> Any:
        client = self._system.get_directory_client if key.endswith("/") else self._system.get_file_client
        with domain_errors(key):
            return await act(client(self._path(key)))


def _credential(found: Any) -> Any:
    """Return the blob client's credential as one that the other client takes: an account's key is wrapped in there."""
    if not hasattr(found, "account_key"):
        return found
    return {"account_name": found.account_name, "account_key": found.account_key}
