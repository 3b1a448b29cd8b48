"""From what a store is registered as to something that answers requests."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from mountd.objects.bridge import open_bridge
from mountd.objects.limit import SMALL_REQUESTS, LimitedStore
from mountd.objects.retry import RetryingStore
from mountd.stores import credentials
from mountd.stores.catalogue import FlavorCatalogue

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable, Mapping

    from mountd.config import MountSettings
    from mountd.objects.bridge import Bridge
    from mountd.objects.interface import ObjectStore
    from mountd.stores.flavor import Flavor
    from mountd.stores.store import StoreConfig


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that answers.

    Attributes:
        store: with limits, deadlines and retries.
        requests: how many requests of each name have been sent so far; grows.
    """

    store: ObjectStore
    requests: Counter[str]


@contextlib.asynccontextmanager
async def open_store(
    config: StoreConfig,
    settings: MountSettings,
    *,
    catalogue: FlavorCatalogue | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[OpenStore]:
    """Open a store for the length of the block; nothing is sent yet, `check()` does that.

    `report` gets one line for each request that failed for good. Raises UserError where options or packages are
    missing.
    """
    flavor = (catalogue or FlavorCatalogue()).get(config.flavor)
    options = credentials.resolve(config.options, {option.name: option for option in flavor.known})
    async with open_bridge() as bridge:
        inner = await trio.to_thread.run_sync(_implementation, flavor, config.root, options, settings, bridge)
        limited = LimitedStore(inner, deadline=settings.request_deadline)
        try:
            yield OpenStore(RetryingStore(limited, budget=settings.retry_budget, report=report), limited.requests)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                await inner.aclose()


def _implementation(
    flavor: Flavor, root: str, options: Mapping[str, Any], settings: MountSettings, bridge: Bridge
) -> ObjectStore:
    """Return what speaks to the service. Runs in a thread: the cloud libraries take a second to import."""
    if flavor.kind == "local":
        from mountd.objects.local import LocalStore

        return LocalStore(root, read_only=settings.read_only)
    if flavor.kind == "s3":
        return _s3(flavor, root, options, settings, bridge)
    if flavor.kind == "gcs":
        return _gcs(flavor, root, options, settings, bridge)
    if flavor.kind == "azure":
        return _azure(flavor, root, options, settings, bridge)
    from mountd.objects.fsspec_store import FsspecStore

    filesystem = flavor.filesystem(root, options, asynchronous=True, loop=bridge.loop)
    return FsspecStore(filesystem, bridge, root=filesystem._strip_protocol(root), read_only=settings.read_only)


def _s3(flavor: Flavor, root: str, options: Mapping[str, Any], settings: MountSettings, bridge: Bridge) -> ObjectStore:
    from mountd.objects.s3 import S3Store

    # Repeats are ours (`retry`), and a connection for each request that may be under way.
    config = {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": SMALL_REQUESTS,
        "read_timeout": settings.request_deadline,
        # Of a range there is no checksum; some services send that of the whole object, which then does not match.
        "response_checksum_validation": "when_required",
        **options.get("config_kwargs", {}),
    }
    filesystem = flavor.filesystem(root, {**options, "config_kwargs": config}, asynchronous=True, loop=bridge.loop)
    bucket, prefix, _ = filesystem.split_path(root)
    return S3Store(
        filesystem, bridge, bucket=bucket, prefix=prefix + "/" if prefix else "", read_only=settings.read_only
    )


def _gcs(flavor: Flavor, root: str, options: Mapping[str, Any], settings: MountSettings, bridge: Bridge) -> ObjectStore:
    from mountd.objects.gcs import GcsStore

    filesystem = flavor.filesystem(root, options, asynchronous=True, loop=bridge.loop)
    bucket, prefix, _ = filesystem.split_path(root)
    return GcsStore(
        filesystem, bridge, bucket=bucket, prefix=prefix + "/" if prefix else "", read_only=settings.read_only
    )


def _azure(
    flavor: Flavor, root: str, options: Mapping[str, Any], settings: MountSettings, bridge: Bridge
) -> ObjectStore:
    from mountd.objects.azure import AzureStore

    filesystem = flavor.filesystem(root, options, asynchronous=True, loop=bridge.loop)
    container, _, prefix = filesystem._strip_protocol(root).partition("/")
    return AzureStore(
        filesystem, bridge, container=container, prefix=prefix + "/" if prefix else "", read_only=settings.read_only
    )
