"""From what a store is registered as to something that answers requests."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from mountd.errors import BadCredentials, UserError
from mountd.objects.account import Account, AccountingStore
from mountd.objects.bridge import open_bridge
from mountd.objects.leftovers import Leftovers
from mountd.objects.limit import DATA_REQUESTS, SMALL_REQUESTS, LimitedStore
from mountd.objects.local import LocalStore
from mountd.objects.renewal import RenewingStore
from mountd.objects.retry import RetryingStore
from mountd.redaction import without_secrets
from mountd.stores.catalogue import FlavorCatalogue
from mountd.stores.credentials import refers_to_files, secret_values
from mountd.stores.options import open_options

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from mountd.config import MountSettings
    from mountd.metrics import Timings
    from mountd.objects.bridge import Bridge
    from mountd.objects.interface import Key, ObjectStore
    from mountd.objects.native import NativeFolder
    from mountd.stores.flavor import Flavor
    from mountd.stores.store import StoreConfig


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that answers.

    Attributes:
        store: with limits, deadlines and retries.
        account: returns what an object has cost so far.
        requests: how many requests of each name have been sent so far; grows.
        traffic: bytes of objects `sent` and `received` so far; grows.
        timings: how long requests took, by name; grows.
        folder: what speaks to the folder that the store is, `None` for other stores.
    """

    store: ObjectStore
    account: Callable[[Key], Account]
    requests: Counter[str]
    traffic: Counter[str]
    timings: Timings
    folder: LocalStore | None = None

    @property
    def native(self) -> NativeFolder | None:
        """What the store's folder keeps by itself, known after `check`; `None` for other stores."""
        return self.folder.native if self.folder is not None else None


@contextlib.asynccontextmanager
async def open_store(
    config: StoreConfig,
    settings: MountSettings,
    *,
    data: Path | None = None,
    catalogue: FlavorCatalogue | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[OpenStore]:
    """Open a store for the length of the block; nothing is sent yet, `check()` does that.

    `data` is the store's state folder, where uploads are noted until they are complete; nobody else uses it during the
    block. `report` gets one line for each request that failed for good. Raises UserError where options or packages are
    missing.
    """
    flavor = (catalogue or FlavorCatalogue()).get(config.flavor)
    options = open_options(flavor, config)
    async with open_bridge() as bridge:
        leftovers = Leftovers(data / "uploads" if data else None)
        inner = await trio.to_thread.run_sync(
            _implementation, flavor, config.root, options, settings, bridge, leftovers
        )
        bodies = max(2, min(DATA_REQUESTS, settings.buffer_limit // max(1, settings.part_size)))
        limited = LimitedStore(inner, deadline=settings.request_deadline, data_requests=bodies)
        try:
            renewing = _renewing(limited, inner, flavor, config, settings, bridge, options)
            retrying = RetryingStore(renewing, budget=settings.retry_budget, report=report)
            folder = inner if isinstance(inner, LocalStore) else None
            accounting = AccountingStore(retrying)
            yield OpenStore(accounting, accounting.account, limited.requests, limited.traffic, limited.timings, folder)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                await inner.aclose()


def _renewing(
    limited: LimitedStore,
    inner: Any,
    flavor: Flavor,
    config: StoreConfig,
    settings: MountSettings,
    bridge: Bridge,
    options: Mapping[str, Any],
) -> ObjectStore:
    """Return the store with a look at files that options refer to, where they do and `inner` can be given others."""
    if flavor.kind not in ("s3", "gcs", "azure") or not refers_to_files(config.options):
        return limited

    def reopen(found: Mapping[str, Any]) -> None:
        inner.use(_filesystem(flavor, config.root, _arguments(flavor, found, settings), bridge))

    return RenewingStore(limited, opened_with=options, read=lambda: open_options(flavor, config), reopen=reopen)


def _arguments(flavor: Flavor, options: Mapping[str, Any], settings: MountSettings) -> Mapping[str, Any]:
    """Return the options with mountd's own settings of the client."""
    if flavor.kind != "s3":
        return options
    return {**options, "config_kwargs": _client_config(settings) | options.get("config_kwargs", {})}


def _implementation(
    flavor: Flavor,
    root: str,
    options: Mapping[str, Any],
    settings: MountSettings,
    bridge: Bridge,
    leftovers: Leftovers,
) -> ObjectStore:
    """Return what speaks to the service. Runs in a thread: the cloud libraries take a second to import."""
    if flavor.kind == "local":
        return LocalStore(root, read_only=settings.read_only, native=settings.attributes)
    filesystem = _filesystem(flavor, root, _arguments(flavor, options, settings), bridge)
    path: str = filesystem._strip_protocol(root)
    bucket, _, inside = path.partition("/")
    prefix = inside.strip("/") + "/" if inside.strip("/") else ""
    if flavor.kind == "s3":
        from mountd.objects.s3 import S3Store

        return S3Store(
            filesystem,
            bridge,
            bucket=bucket,
            prefix=prefix,
            read_only=settings.read_only,
            max_copy=settings.copy_limit,
            leftovers=leftovers,
        )
    if flavor.kind == "gcs":
        from mountd.objects.gcs import GcsStore

        return GcsStore(
            filesystem, bridge, bucket=bucket, prefix=prefix, read_only=settings.read_only, leftovers=leftovers
        )
    if flavor.kind == "azure":
        from mountd.objects.azure import AzureStore

        return AzureStore(filesystem, bridge, container=bucket, prefix=prefix, read_only=settings.read_only)
    from mountd.objects.fsspec_store import FsspecStore

    return FsspecStore(filesystem, bridge, root=path, read_only=settings.read_only)


def _filesystem(flavor: Flavor, root: str, options: Mapping[str, Any], bridge: Bridge) -> Any:
    """Return the library's file system. Raises BadCredentials where its constructor refuses what it is given.

    Some look for credentials at once; what they raise is of any class.
    """
    try:
        return flavor.filesystem(root, options, asynchronous=True, loop=bridge.loop)
    except UserError:
        raise
    except Exception as exc:
        known = {option.name: option for option in flavor.options(root)}
        reason = without_secrets(" ".join(str(exc).split()), secret_values(options, known))
        raise BadCredentials(f"{root}: the credentials or options cannot be used: {reason}") from exc


def _client_config(settings: MountSettings) -> dict[str, Any]:
    """Return the settings of botocore's client: repeats are ours (`retry`), and so is the number of requests."""
    with _absent("httpx2", "httpx"):  # aiobotocore would import what is not used here, a tenth of the time to mount
        from mountd.objects.sessions import BotocoreSession

    return {
        "http_session_cls": BotocoreSession,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": SMALL_REQUESTS,
        "read_timeout": settings.request_deadline,
        # Of a range there is no checksum; some services send that of the whole object, which then does not match.
        "response_checksum_validation": "when_required",
    }


@contextlib.contextmanager
def _absent(*modules: str) -> Iterator[None]:
    """Have modules that are not imported yet not be found during the block."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # what None means there is documented
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
