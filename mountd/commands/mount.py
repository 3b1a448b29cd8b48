"""`mountd mount`, `unmount`, `status` and `sync`: what is done with running mounts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mountd import units
from mountd.commands import names, waiting
from mountd.commands.chosen import mounted
from mountd.commands.output import print_json, print_table
from mountd.config import Folders, ServiceManager
from mountd.daemon import client, launch, mountpoint, records, shared
from mountd.errors import EXIT_BUSY, UserError
from mountd.mounts import running_mounts, serving, sync_mount, to_sync
from mountd.redaction import without_secrets
from mountd.stores.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mountd.config import MountSettings
    from mountd.daemon.records import MountRecord
    from mountd.stores.store import StoreConfig

DEFAULT_TIMEOUT = 60.0
# Lines of `mountd status` about what is pending, for each mount.
PENDING_SHOWN = 20


@click.command(short_help="Mount a store at a local path.")
@click.argument("store", required=False, metavar="[STORE_OR_URI]", shell_complete=names.stores)
@click.argument("mount_point", required=False, metavar="[MOUNTPOINT]", type=click.Path(path_type=Path))
@click.option("--foreground", is_flag=True, help="Stay in this process, log to standard error: for systemd.")
@click.option("--zenml", is_flag=True, help="Mount the artifact store of ZenML's active stack.")
@click.option("--if-needed", is_flag=True, help="Succeed when the store is mounted already.")
@click.option("--read-only", is_flag=True, default=None, help="Refuse every change.")
@click.option("--freshness", metavar="SECONDS", help="How long what is known of the store counts (1; 0; inf).")
@click.option("--cache-size", metavar="SIZE", help="Local disk space for the cache, such as 20GiB.")
@click.option("--allow-other", is_flag=True, default=None, help="Let other users of this machine in.")
@click.option("--uid", metavar="ID", help="Owner of files that name none.")
@click.option("--gid", metavar="ID", help="Group of files that name none.")
@click.option("--umask", metavar="OCTAL", help="Permission bits taken from files that name none.")
@click.option("--attributes", type=click.Choice(["on", "off"]), help="Keep modes, links and the like in the store.")
@click.option("--xattrs", type=click.Choice(["on", "off"]), help="Off: a write(2) is one request less.")
@click.option(
    "--write-back", is_flag=True, default=None, help="close() returns once the change is safe on this machine."
)
@click.option("--write-back-limit", metavar="SIZE", help="Bytes not yet stored that slow writers down (10GiB).")
@click.option("--drain-timeout", metavar="SECONDS", help="How long unmounting waits for pending writes (60).")
@click.option("--on-conflict", type=click.Choice(units.ON_CONFLICT), help="When somebody else changed the object.")
@click.option(
    "--exclusive", type=click.Choice(units.EXCLUSIVE), help="Who decides O_EXCL: among all machines, or here."
)
@click.option("--debug", is_flag=True, default=None, help="Log every request.")
def mount(
    store: str | None, mount_point: Path | None, zenml: bool, foreground: bool, if_needed: bool, **chosen: Any
) -> None:
    """Mount a store, by name, URI or path; the active one by default. Returns when it can be used.

    \b
    Examples:
      mountd mount                          the active store, at ~/mountd/NAME
      mountd mount prod /mnt/prod
      mountd mount s3://bucket/prefix --read-only
      mountd mount --zenml                  the artifact store of ZenML's active stack
    """
    if zenml:
        from mountd.commands import zenml as integration

        if mount_point is not None:
            raise UserError(f"--zenml says which store; leave out {store!r}, or leave out --zenml")
        mount_point = Path(store) if store else None
        store = integration.active(Registry(Folders.of_this_user())).name
    try:
        config, target, settings = _order(store, mount_point, chosen)
    except _MountedAlready as exc:
        if not if_needed:
            raise
        return click.echo(str(exc))
    if foreground:
        return _serve(config, target, settings)
    shared.forget(Folders.of_this_user().runtime / f"{config.state_name}.users")
    with waiting.progress(f"Mounting {target}") as show:
        record = launch.start(config, target, settings, progress=show)
    _welcome(record)
    state = client.ask(record, "status")
    for line in [*state["recovered"], *state["weaknesses"]]:
        click.echo(f"Note: {line}")
    if settings.write_back and not state["write_back"]:
        click.echo("Note: write-back changes nothing here: the store's folder is on this machine")
    return None


class _MountedAlready(UserError):
    """The store that is to be mounted has a mount."""


def _order(
    store: str | None, mount_point: Path | None, chosen: Mapping[str, object]
) -> tuple[StoreConfig, Path, MountSettings]:
    """Return what is to be mounted where and how. Raises UserError."""
    folders = Folders.of_this_user()
    registry = Registry(folders)
    config = registry.resolve(store)
    settings = registry.mount_settings(config, chosen)
    running = serving(config)
    if running is not None:
        raise _MountedAlready(f"store {config.name!r} is mounted at {running.mount_point} already", EXIT_BUSY)
    return config, Path(os.path.abspath(mount_point or folders.default_mount_point(config.name))), settings


def start(store: str, mount_point: Path, chosen: Mapping[str, object]) -> None:
    """Mount a store, and say nothing. Raises UserError."""
    launch.start(*_order(store, mount_point, chosen))


def _serve(config: StoreConfig, target: Path, settings: MountSettings) -> None:
    from mountd.daemon import limits, logs
    from mountd.daemon.order import MountOrder

    limits.seldom_collect()
    from mountd.daemon import service  # the heavy ones: trio, pyfuse3

    logs.to_stderr(debug=settings.debug)
    service.run(MountOrder(config, target, settings), _welcome, manager=ServiceManager.of_this_process())


def _welcome(record: MountRecord) -> None:
    click.echo(f"Mounted {record.root} at {record.mount_point}")
    click.echo(f"Try:  echo hello > {record.mount_point}/hello.txt && ls -l {record.mount_point}")
    click.echo(f"      mountd status; mountd unmount {record.store}")


@click.command(short_help="Unmount a store, after its pending writes.")
@click.argument("store", required=False, metavar="[STORE_OR_MOUNTPOINT]", shell_complete=names.mounts)
@click.option("--all", "everything", is_flag=True, help="Unmount all mounts of this user.")
@click.option("--timeout", metavar="SECONDS", default=str(DEFAULT_TIMEOUT), help="How long to wait for pending writes.")
def unmount(store: str | None, everything: bool, timeout: str) -> None:
    """Unmount a store, by name, URI or mount point; the active one by default.

    Waits until everything written is in the store. When time runs out first, the mount stays, and the exit code is 7.
    Cleans up after daemons that were killed.
    """
    seconds = _seconds(timeout)
    cleared = _clear_dead(None if everything else store)
    chosen = running_mounts() if everything else _chosen(store, required=not cleared)
    failures = []
    for record in chosen:
        try:
            _stop(record, seconds)
            click.echo(f"Unmounted {record.root} from {record.mount_point}")
        except UserError as failure:  # of one mount of many; the others are unmounted all the same
            failures.append(failure)
    if failures:
        raise UserError("; ".join(map(str, failures)), failures[0].exit_code)
    if everything and not chosen and not cleared:
        click.echo("Nothing is mounted")


def _chosen(store: str | None, *, required: bool) -> Sequence[MountRecord]:
    try:
        return [mounted(store)]
    except UserError:
        if required:
            raise
        return []


def _stop(record: MountRecord, seconds: float) -> None:
    with waiting.progress(f"Unmounting {record.mount_point}") as show:
        launch.stop(record, timeout=seconds, progress=show)


def stop(mount_point: str) -> None:
    """Unmount what is at a mount point, after its pending writes, and say nothing. Raises UserError."""
    if not _clear_dead(mount_point):
        _stop(mounted(mount_point), DEFAULT_TIMEOUT)


@click.command(short_help="Show what is mounted and how it is doing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--prometheus", is_flag=True, help="Print metrics, as for the textfile collector of node_exporter.")
def status(as_json: bool, prometheus: bool) -> None:
    """Show every mount: store, mount point, process, uptime, cache, pending uploads and the last errors."""
    if prometheus:
        from mountd.commands.prometheus import text

        return click.echo(text(client.ask(record, "metrics") for record in running_mounts()), nl=False)
    found = [client.ask(record, "status") for record in running_mounts()]
    dead = [str(record.mount_point) for record in records.dead_mounts()]
    if as_json:
        return print_json({"mounts": found, "dead": dead})
    if not found and not dead:
        return click.echo("Nothing is mounted; to mount the active store: mountd mount")
    columns = ("STORE", "ROOT", "MOUNT POINT", "PID", "UPTIME", "CACHE", "PENDING", "ERRORS")
    print_table(columns, [_row(each) for each in found])
    for each in found:
        _details(each)
    for point in dead:
        click.echo(f"{point}: its daemon is dead; clean up with: mountd unmount {point}")
    return None


@click.command(short_help="Wait until everything written is in the store.")
@click.argument("path", required=False, type=click.Path())
@click.option("--timeout", metavar="SECONDS", default="inf", help="How long to wait (for ever).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sync(path: str | None, timeout: str, as_json: bool) -> int:
    """Return when everything below PATH, or on every mount, is in the store; fails where it cannot be.

    With --json, what failed is in the answer and not on standard error; the exit code is the same.
    """
    seconds = _seconds(timeout)
    failures = []
    results = []
    for record, below in to_sync(path):
        failure = _store(record, below, seconds)
        results.append(_stored(record, below, failure))
        failures += [failure] if failure is not None else []
    if as_json:
        print_json(results)
    elif failures:
        raise UserError("; ".join(map(str, failures)), failures[0].exit_code)
    return failures[0].exit_code if failures else 0


def _store(record: MountRecord, below: str, seconds: float) -> UserError | None:
    """Wait until one mount has stored what is there; return why it could not, and the others are asked all the same."""
    try:
        with waiting.progress(f"Storing {record.mount_point / below}") as show:
            sync_mount(record, below, timeout=seconds, progress=show)
    except UserError as failure:
        return failure
    return None


def _stored(record: MountRecord, below: str, failure: UserError | None) -> dict[str, Any]:
    return {
        "store": record.store,
        "root": record.root,
        "mount_point": str(record.mount_point),
        "path": str(record.mount_point / below),
        "stored": failure is None,
        "error": without_secrets(str(failure)) if failure is not None else None,
    }


def _clear_dead(store: str | None) -> bool:
    """Clean up after killed daemons, all of them or the one that is meant; tell whether there was one."""
    point = Path(os.path.abspath(store)) if store else None
    cleared = False
    for record in records.dead_mounts():
        if store is None or store == record.store or point == record.mount_point:
            launch.clear(record)
            click.echo(f"Cleaned up {record.mount_point}, whose daemon was killed")
            cleared = True
    # A mount whose record is gone, too: after a restart of the machine's runtime folder, say.
    if point is not None and not cleared and mountpoint.clear_dead(point):
        click.echo(f"Cleaned up {point}, whose daemon was killed")
        cleared = True
    return cleared


def _seconds(text: str) -> float:
    try:
        return units.parse_duration(text)
    except ValueError as exc:
        raise UserError(f"--timeout: {exc}") from exc


def _row(state: dict[str, Any]) -> tuple[str, ...]:
    cache = state["cache"]
    return (
        state["store"],
        state["root"],
        state["mount_point"],
        str(state["pid"]),
        f"{state['uptime']:.0f} s",
        f"{units.format_size(cache['bytes'])} of {units.format_size(cache['limit'])}",
        str(state["pending_changes"]),
        str(len(state["errors"])),
    )


def _details(state: dict[str, Any]) -> None:
    for line in state["recovered"]:
        click.echo(f"{state['store']}: {line}")
    for pending in state["pending"][:PENDING_SHOWN]:
        error = f": {pending['error']}" if pending["error"] else ""
        what = {"put": "", "copy": " (copy)", "delete": " (removal)"}[pending["change"]]
        click.echo(f"{state['store']}: not in the store yet: {pending['path']}{what}{error}")
    if state["pending_changes"] > PENDING_SHOWN:
        size = units.format_size(state["pending_bytes"])
        click.echo(f"{state['store']}: {state['pending_changes']} changes ({size}) are not in the store yet")
    for failure in state["errors"][-5:]:
        click.echo(f"{state['store']}: error: {failure['message']}")
