"""Requests to S3 that are sent past botocore's layers, once it has shown where they go.

The layers take milliseconds for each request, most of the time that a small one needs. Where a setting asks for
something that is not done here, and wherever something does not go as usual, botocore's client is used.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError

from mountd.objects.bridge import in_thread
from mountd.objects.s3_ranges import NotUnderstood, RangeReader, takes
from mountd.objects.s3_route import Route, obstacle, obstacle_to_obstore, route_of
from mountd.objects.s3_wire import Elsewhere, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mountd.objects.bridge import Bridge
    from mountd.objects.interface import Chunk, Key, Version

log = logging.getLogger("mountd.objects")

# Seconds for which botocore's client is used after something went wrong that only it knows to name.
REST = 5.0
_SHOWS = "list_objects_v2"  # the first request of a mount
_EVENT = "before-send.s3.ListObjectsV2"


class Shortcut:
    """What one s3fs file system is used for without its client.

    Args:
        bridge: to the loop that the file system runs on.
    """

    def __init__(self, filesystem: Any, bridge: Bridge) -> None:
        self._fs = filesystem
        self._bridge = bridge
        self._looked = False
        self._wire: Wire | None = None
        self._reader: RangeReader | None = None
        self._resting_until = 0.0

    @contextlib.asynccontextmanager
    async def watching(self, method: str) -> AsyncIterator[None]:
        """Learn, from a request that botocore's client sends in the block, where requests go."""
        if self._looked or method != _SHOWS:
            yield
            return
        client = await self._fs.set_session()
        routes: list[Route | None] = []

        def see(request: Any, **_: Any) -> None:
            routes.append(route_of(request, client))

        client.meta.events.register(_EVENT, see)
        try:
            yield
        finally:
            client.meta.events.unregister(_EVENT, see)
        # The last one: botocore follows the service to where a bucket really is.
        await self._take(client, routes[-1] if routes else None)

    async def _take(self, client: Any, route: Route | None) -> None:
        self._looked = True
        reason = "it is no common one" if route is None else obstacle(self._fs, client)
        if route is None or reason is not None:
            log.debug("requests to S3 go through botocore's client: %s", reason)
            return
        self._wire = Wire(route)
        reason = obstacle_to_obstore(self._fs, route)
        if reason is not None:
            log.debug("ranges are read through botocore's client: %s", reason)
            return
        config = client.meta.config
        timeouts = {"timeout": config.read_timeout, "connect_timeout": config.connect_timeout}
        try:
            self._reader = await in_thread(RangeReader, route, self._bridge, **timeouts)
        except (BaseError, OSError, ValueError) as exc:
            log.debug("ranges are read through botocore's client: %s", exc)

    async def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """Send one request and return its answer, `None` where botocore's client has to be asked.

        Raises botocore's ClientError and what its HTTP session raises.
        """
        wire = self._wire
        if wire is None:
            return None
        client = await self._fs.set_session()
        if client is not wire.route.client:  # its connections had been closed, and s3fs has made another one
            self._forget()
            return None
        if self._fs.s3_additional_kwargs or self._fs.req_kw:
            arguments = self._fs._get_s3_method_kwargs(getattr(client, method), **arguments)
        if not wire.takes(method, arguments):
            return None
        try:
            return await wire.call(method, arguments)
        except Elsewhere as exc:
            log.debug("the bucket is not where it was: %s", exc)
            self._forget()
            return None

    def _forget(self) -> None:
        """Look again, with the next listing, where requests go."""
        self._wire = self._reader = None
        self._looked = False

    async def read(self, key: Key, name: str, start: int, length: int, version: Version | None) -> Chunk | None:
        """Return a range of the object called `name` in the bucket, `None` where botocore's client has to be asked.

        Raises botocore's ClientError, VersionChanged, Unavailable.
        """
        reader = self._reader
        if reader is None or length < 1 or not takes(name) or time.monotonic() < self._resting_until:
            return None
        try:
            return await reader.read(key, name, start, length, version)
        except NotUnderstood as exc:
            log.debug("a range is read through botocore's client: %s", exc)
            self._resting_until = time.monotonic() + REST
            return None
