"""What `mountd doctor` looks at: whether this machine can mount, and whether a store can be used, and how well."""

from __future__ import annotations

import email.utils
import http.client
import os
import shutil
import stat
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import trio

from mountd import units
from mountd.config import environment_variable
from mountd.daemon import mountpoint, records
from mountd.errors import MountdError, UserError
from mountd.fuse import readahead
from mountd.objects.opening import open_store
from mountd.objects.promises import weaknesses
from mountd.stores.catalogue import FlavorCatalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mountd.config import Folders, MountSettings
    from mountd.stores.flavor import Flavor
    from mountd.stores.store import StoreConfig

# Less than this free where the cache lies, in bytes, and writers soon meet a full disk.
LITTLE = 1024**3
# Seconds between this machine's clock and the service's: S3 refuses requests beyond 15 minutes.
SKEWED, REFUSED = 10.0, 900.0
PATIENCE = 10.0
# What leads a cloud's own tools, and mountd, to another service.
_ELSEWHERE = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gcs": ("STORAGE_EMULATOR_HOST",)}

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend`: what to do about it, empty where nothing is to be done."""

    name: str
    verdict: Verdict
    detail: str
    mend: str = ""


def machine(folders: Folders, settings: MountSettings) -> Iterator[Finding]:
    """Yield what there is to say of this machine."""
    yield _fuse()
    yield _fusermount()
    yield _others(settings)
    yield _disk(folders.state, settings.cache_size)
    yield from _mounts()


def _fuse() -> Finding:
    try:
        mountpoint.require_fuse()
    except UserError as error:
        return Finding("kernel", "fail", str(error), "modprobe fuse; in a container: --device /dev/fuse")
    return Finding("kernel", "ok", f"Linux {os.uname().release}, /dev/fuse can be used")


def _fusermount() -> Finding:
    found = shutil.which("fusermount3")
    if found is None:
        verdict: Verdict = "warn" if os.geteuid() == 0 else "fail"
        return Finding("fusermount3", verdict, "is not installed", "apt install fuse3")
    if os.geteuid() != 0 and not os.stat(found).st_mode & stat.S_ISUID:
        return Finding("fusermount3", "fail", f"{found} is not setuid root", f"chmod u+s {found}, or reinstall fuse3")
    return Finding("fusermount3", "ok", found)


def _others(settings: MountSettings) -> Finding:
    try:
        lines = Path("/etc/fuse.conf").read_text().splitlines()
    except OSError:
        lines = []
    allowed = os.geteuid() == 0 or "user_allow_other" in (line.strip() for line in lines)
    if allowed:
        return Finding("allow_other", "ok", "other users can be let in")
    detail = "only root can let other users in: user_allow_other is not in /etc/fuse.conf"
    verdict: Verdict = "fail" if settings.allow_other else "ok"
    return Finding("allow_other", verdict, detail, "echo user_allow_other >> /etc/fuse.conf" * settings.allow_other)


def _disk(folder: Path, wanted: int) -> Finding:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    detail = f"{units.format_size(free)} free at {there}, the cache may take {units.format_size(wanted)}"
    if not os.access(there, os.W_OK):
        return Finding("disk", "fail", f"{there} cannot be written to", f"chown it, or set XDG_STATE_HOME: {folder}")
    if free < LITTLE:
        return Finding("disk", "fail", detail, "free some space, or move the cache: XDG_STATE_HOME")
    if free < wanted:
        return Finding("disk", "warn", detail, "set a smaller cache_size, or move the cache: XDG_STATE_HOME")
    return Finding("disk", "ok", detail)


def _mounts() -> Iterator[Finding]:
    try:
        dead, alive = records.dead_mounts(), records.active_mounts()
    except UserError as error:
        yield Finding("mounts", "fail", str(error), "chmod 700 that folder, or remove it")
        return
    for record in dead:
        yield Finding(
            "mounts", "warn", f"the daemon of {record.mount_point} was killed", f"mountd unmount {record.mount_point}"
        )
    yield Finding("mounts", "ok", f"{len(alive)} mounted")
    settings = readahead.settings()
    for record in alive:
        setting = settings.get(str(record.mount_point))
        if setting is not None:
            yield from _read_ahead(record.mount_point, setting)


def _read_ahead(mount_point: Path, setting: Path) -> Iterator[Finding]:
    """Look at what root's mounts set by themselves."""
    try:
        size = int(setting.read_text())
    except (OSError, ValueError):  # no /sys in this container, say
        return
    if size >= readahead.WANTED_KB:
        yield Finding("read_ahead", "ok", f"{mount_point}: {size} KiB")
        return
    detail = f"{mount_point}: {size} KiB, so that large files are read in many small pieces"
    yield Finding("read_ahead", "warn", detail, f"as root, after each mount: echo {readahead.WANTED_KB} > {setting}")


def store(config: StoreConfig, settings: MountSettings) -> Iterator[Finding]:
    """Yield what there is to say of a store. It is asked, and told to make nothing that stays."""
    flavor = FlavorCatalogue().get(config.flavor)
    package = flavor.package
    if package is not None and not package.installed:
        yield Finding("package", "fail", f"flavor {flavor.name!r} needs {package.pip}", f"pip install {package.pip}")
        return
    yield Finding("package", "ok", f"flavor {flavor.name!r} has what it needs")
    clock = _clock(flavor, config.options)
    if clock is not None:
        yield clock
    page = f"docs/flavors/{'custom' if flavor.kind == 'fsspec' else flavor.kind}.md"
    yield from _answers(config, settings, page)


def _answers(config: StoreConfig, settings: MountSettings, page: str) -> Iterator[Finding]:
    async def look() -> list[str]:
        async with open_store(config, settings) as opened:
            await opened.store.check()
            return weaknesses(opened.store.capabilities)

    try:
        found = trio.run(look)
    except (MountdError, UserError) as error:
        yield Finding("store", "fail", str(error), f"mountd store describe {config.name}, and {page}")
        return
    except BaseExceptionGroup as group:
        known, other = group.split((MountdError, UserError))
        if other is not None or known is None:
            raise
        yield Finding("store", "fail", str(known.exceptions[0]), page)
        return
    yield Finding("store", "ok", f"{config.root} answers, and the credentials are good")
    for line in found:
        yield Finding("promises", "warn", line, "docs/stores.md says what that means")
    if not found:
        yield Finding("promises", "ok", "the service decides who was first, whatever is changed")


def _clock(flavor: Flavor, options: Mapping[str, object]) -> Finding | None:
    """Compare the clock with the one of the service, which every answer of a web server tells."""
    named = (environment_variable(each) for each in _ELSEWHERE.get(flavor.kind, ()))
    url = (
        str(options.get("endpoint_url", ""))
        or next(filter(None, named), None)
        or {
            "s3": "https://s3.amazonaws.com",
            "gcs": "https://storage.googleapis.com",
            "azure": f"https://{options.get('account_name', 'www')}.blob.core.windows.net",
        }.get(flavor.kind, "")
    )
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return None
    kind: Callable[..., http.client.HTTPConnection] = (
        http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    )
    try:
        connection = kind(parts.hostname, parts.port, timeout=PATIENCE)
        connection.request("HEAD", "/")
        told = connection.getresponse().getheader("Date")
        connection.close()
        skew = time.time() - email.utils.parsedate_to_datetime(told or "").timestamp()
    except (OSError, http.client.HTTPException, ValueError, TypeError) as exc:
        return Finding("clock", "warn", f"{parts.hostname} does not tell the time: {exc or type(exc).__name__}")
    detail = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {parts.hostname}"
    verdict: Verdict = "ok" if abs(skew) < SKEWED else "warn" if abs(skew) < REFUSED else "fail"
    return Finding("clock", verdict, detail, "" if verdict == "ok" else "timedatectl set-ntp true")
