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

from mountd.errors import Unavailable
from mountd.objects.bridge import in_thread
from mountd.objects.s3_obstore import MAX_PUT, NotUnderstood, ObstoreBucket, puts, takes
from mountd.objects.s3_route import Route, adds_arguments, obstacle, obstacle_to_obstore, route_of
from mountd.objects.s3_wire import Elsewhere, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mountd.objects.bridge import Bridge
    from mountd.objects.described import Description
    from mountd.objects.interface import Buffer, Chunk, Key, Version

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
        self._obstore: ObstoreBucket | None = None
        self._puts = False
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
        # Without a signature nobody would compare the bytes that arrive with those that were sent.
        self._puts = route.signed and not adds_arguments(self._fs, client.put_object)
        config = client.meta.config
        timeouts = {"timeout": config.read_timeout, "connect_timeout": config.connect_timeout}
        try:
            self._obstore = await in_thread(ObstoreBucket, route, self._bridge, **timeouts)
        except (BaseError, OSError, ValueError) as exc:
            log.debug("ranges are read through botocore's client: %s", exc)

    async def call(self, method: str, arguments: dict[str, Any], *, known: bytes = b"") -> Any:
        """Send one request and return its answer, `None` where botocore's client has to be asked.

        `known`: see `parse_listing`.

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
            return await wire.call(method, arguments, known=known)
        except Elsewhere as exc:
            log.debug("the bucket is not where it was: %s", exc)
            self._forget()
            return None

    def _forget(self) -> None:
        """Look again, with the next listing, where requests go."""
        self._wire = self._obstore = None
        self._looked = False

    async def read(self, key: Key, name: str, start: int, length: int, version: Version | None) -> Chunk | None:
        """Return a range of the object called `name` in the bucket, `None` where botocore's client has to be asked.

        Raises botocore's ClientError, VersionChanged, Unavailable.
        """
        bucket = self._at_work(name)
        if bucket is None or length < 1:
            return None
        try:
            return await bucket.read(key, name, start, length, version)
        except NotUnderstood as exc:
            self._rest(exc)
            return None

    async def put(self, name: str, data: Buffer, described: Description, expect: Version | None) -> Version | None:
        """Store a small object and return its version, `None` where botocore's client has to be asked.

        Raises botocore's ClientError; Unavailable where it may have been stored.
        """
        bucket = self._at_work(name)
        if bucket is None or not self._puts or len(data) > MAX_PUT or not puts(described):
            return None
        try:
            return await bucket.put(name, data, described, expect)
        except NotUnderstood as exc:
            self._rest(exc)
            if exc.refused:
                return None
            raise Unavailable(f"{name}: {exc}") from exc

    def _at_work(self, name: str) -> ObstoreBucket | None:
        return self._obstore if takes(name) and time.monotonic() >= self._resting_until else None

    def _rest(self, reason: NotUnderstood) -> None:
        log.debug("botocore's client is used for a while: %s", reason)
        self._resting_until = time.monotonic() + REST
