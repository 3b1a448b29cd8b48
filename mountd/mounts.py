"""Which running mount holds an artifact, and mounts for the length of a block: what is behind the Python API.

Cheap until something is mounted: the records of running mounts are small files, read with the standard library.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mountd import locate
from mountd.errors import EXIT_BUSY, EXIT_PENDING, NotMounted, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mountd.daemon.records import MountRecord
    from mountd.stores.store import StoreConfig


# How many open files `sync` has the kernel hand over at a time.
OPENED_AT_ONCE = 16


def running_mounts() -> Sequence[MountRecord]:
    """Return the records of this user's running mounts."""
    from mountd.daemon.records import active_mounts  # here, so that this module needs no daemon to be tested

    return active_mounts()


def path_of(uri: str, mounts: Sequence[MountRecord]) -> Path:
    """Return the path of the artifact `uri` under that one of `mounts` whose root is closest above it.

    Raises UserError naming the roots where there is none.
    """
    holder = holder_of(uri, mounts)
    return locate.to_path(holder.root, holder.mount_point, uri)


def holder_of(uri: str, mounts: Sequence[MountRecord]) -> MountRecord:
    """Return that one of `mounts` whose root is closest above `uri`.

    Raises UserError naming the roots, NotMounted where none holds it.
    """
    try:
        place = locate.Root.parse(uri)
    except UserError as error:
        raise UserError(f"{error} {_mounted_roots(mounts)}") from error
    roots = {mount.root: locate.Root.parse(mount.root) for mount in mounts}
    holding = [mount for mount in mounts if place.below(roots[mount.root]) is not None]
    if not holding:
        raise NotMounted(
            f"no mounted store holds {uri} {_mounted_roots(mounts)}; to mount it: mountd mount {_store_for(place, uri)}"
        )
    return max(holding, key=lambda mount: len(roots[mount.root].components))


def uri_of(path: str | os.PathLike[str], mounts: Sequence[MountRecord]) -> str:
    """Return the URI of what is at `path` under one of `mounts`. Raises UserError naming the mount points."""
    found = _over(path, mounts)
    if found is None:
        points = ", ".join(str(mount.mount_point) for mount in mounts)
        raise UserError(f"{path} is not under a mount ({f'mounted: {points}' if points else 'nothing is mounted'})")
    mount, absolute = found
    return locate.to_uri(mount.root, mount.mount_point, absolute)


def _over(path: str | os.PathLike[str], mounts: Sequence[MountRecord]) -> tuple[MountRecord, Path] | None:
    """Return that one of `mounts` whose mount point is closest above `path`, and the path as it leads there."""
    absolute = Path(os.path.abspath(path))
    for candidate in (absolute, absolute.parent.resolve() / absolute.name):
        # As written first: resolving links asks the file system, and a mount may be slow or stuck.
        holding = [mount for mount in mounts if candidate.is_relative_to(mount.mount_point)]
        if holding:
            return max(holding, key=lambda mount: len(mount.mount_point.parts)), candidate
    return None


def mount_at(named: str | None, mounts: Sequence[MountRecord]) -> MountRecord | None:
    """Return the running mount that a mount point or a store's name means."""
    if named is None:
        return None
    point = Path(os.path.abspath(named))
    return next((mount for mount in mounts if mount.mount_point == point or mount.store == named), None)


def mount_of(store: StoreConfig, mounts: Sequence[MountRecord]) -> MountRecord | None:
    """Return the running mount of `store`, whatever it was called when it was mounted."""
    place = locate.Root.parse(store.root)
    same_root = [mount for mount in mounts if locate.Root.parse(mount.root) == place]
    return next((mount for mount in same_root if mount.store == store.name), None) or next(iter(same_root), None)


def serving(store: StoreConfig) -> MountRecord | None:
    """Return the mount of `store` whose daemon serves it, or hangs; the end of one that was killed is waited for."""
    from mountd.daemon import client

    running = mount_of(store, running_mounts())
    return running if running is not None and client.goes_on(running) else None


@contextmanager
def mounted(
    store_or_uri: str | None, mount_point: str | os.PathLike[str] | None, options: Mapping[str, object]
) -> Iterator[Path]:
    """Yield the root of the store's mount; see `mountd.mounted`."""
    from mountd.config import Folders
    from mountd.daemon import launch
    from mountd.daemon.shared import SharedUse
    from mountd.stores.registry import Registry

    folders = Folders.of_this_user()
    registry = Registry(folders)
    store = registry.resolve(store_or_uri)
    settings = registry.mount_settings(store, options)
    target = Path(os.path.abspath(mount_point)) if mount_point else None
    users = folders.runtime / f"{store.state_name}.users"

    def enter() -> tuple[MountRecord, SharedUse | None]:
        while True:
            use = SharedUse.join(users)
            running = serving(store)
            if running is not None:
                return running, use
            if use is None:
                break
            use.leave(unmounted=True)  # the last one has just left
        record = launch.start(store, target or folders.default_mount_point(store.name), settings)
        return record, SharedUse.begin(users)

    record, use = enter()
    try:
        if target not in (None, record.mount_point):
            raise UserError(f"store {store.name!r} is mounted at {record.mount_point} already", EXIT_BUSY)
        yield record.mount_point
    finally:
        if use is not None:
            last = use.is_last()
            try:
                if last and mount_of(store, running_mounts()) == record:
                    launch.stop(record, timeout=settings.drain_timeout)
            finally:
                use.leave(unmounted=last)


def sync(path: str | os.PathLike[str] | None, timeout: float | None) -> None:
    """Return when the store has everything at and below `path`; see `mountd.sync`."""
    for record, below in to_sync(path):
        sync_mount(record, below, timeout=math.inf if timeout is None else timeout)


def sync_mount(
    record: MountRecord, below: str, *, timeout: float, progress: Callable[[Any], None] = lambda _: None
) -> None:
    """Return when the store has everything at and below a path of a mount, what is not closed yet included.

    Raises UserError (EXIT_PENDING) when time is up, or the store does not take it.
    """
    from mountd.daemon import client

    end = time.monotonic() + timeout
    open_files = client.ask(record, "writing", path=below)
    if open_files:
        _hand_over([record.mount_point / path for path in open_files], timeout)
        timeout = max(0.0, round(end - time.monotonic(), 1))  # as messages tell it
    client.ask(record, "sync", path=below, timeout=timeout, progress=progress)


def _hand_over(paths: Sequence[Path], timeout: float) -> None:
    """Have the kernel give the daemon what programs have written to files that they have open.

    The kernel does so, and waits for it, when a descriptor of the file is closed; syncfs(2) no longer waits (seen with
    Linux 6.18). To the daemon the close of a descriptor that only reads means nothing while others write. In threads,
    because an open asks the store about what was not heard of lately, and a store that is away does not answer.

    Raises UserError (EXIT_PENDING).
    """
    from concurrent.futures import ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(OPENED_AT_ONCE)
    handed = {pool.submit(_open_and_close, path): path for path in paths}
    done, late = wait(handed, None if timeout == math.inf else timeout)
    pool.shutdown(wait=False, cancel_futures=True)
    for each in late:
        raise UserError(f"after {timeout:g} s {handed[each]} is not stored: the store does not answer", EXIT_PENDING)
    for each in done:
        each.result()


def _open_and_close(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return  # closed and removed, or renamed, meanwhile
    except OSError as exc:
        raise UserError(f"{path}: what programs have written is not stored: {exc.strerror}", EXIT_PENDING) from exc


def warm(path: str | os.PathLike[str], progress: Callable[[Any], None] = lambda _: None) -> dict[str, Any]:
    """Bring what is at and below `path`, a path under a mount or a URI, here; see `mountd.warm`."""
    from mountd.daemon import client

    text = os.fspath(path)
    place = path_of(text, running_mounts()) if "://" in text else text
    ((record, below),) = to_sync(place)
    found: dict[str, Any] = client.ask(record, "warm", path=below, progress=progress)
    return found


def to_sync(path: str | os.PathLike[str] | None) -> Sequence[tuple[MountRecord, str]]:
    """Return the mounts that hold `path`, or all, each with the path below its mount point.

    Raises UserError where none does.
    """
    running = running_mounts()
    if path is None:
        return [(record, "") for record in running]
    found = _over(path, running)
    if found is None:
        raise UserError(f"{path} is not under a mount (see mountd status)")
    record, absolute = found
    below = absolute.relative_to(record.mount_point)
    return [(record, "" if below == Path() else str(below))]


def _mounted_roots(mounts: Sequence[MountRecord]) -> str:
    roots = ", ".join(f"{mount.root} at {mount.mount_point}" for mount in mounts)
    return f"(mounted: {roots})" if roots else f"(nothing is mounted; {_active_root()})"


def _active_root() -> str:
    from mountd import active_store

    try:
        store = active_store()
    except UserError as error:
        return str(error)
    return f"the active store {store.name!r} has the root {store.root}"


def _store_for(place: locate.Root, uri: str) -> str:
    """Return what to give to `mountd mount` to reach `place`: a store that holds it, else its bucket or folder."""
    from mountd.config import Folders
    from mountd.stores.registry import Registry

    for store in Registry(Folders.of_this_user()).all():
        if place.below(locate.Root.parse(store.root)) is not None:
            return store.name
    if place.scheme == "file":
        return "/" + "/".join(place.components[:-1])
    return f"{uri.partition('://')[0]}://{''.join(place.components[:1])}"
