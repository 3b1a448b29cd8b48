"""`mountd logs`: what a store's daemon has logged."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import click

from mountd.commands import names
from mountd.config import Folders
from mountd.errors import EXIT_FAILURE, UserError
from mountd.mounts import mount_at, running_mounts
from mountd.stores.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Seconds between looks at a log that is followed.
INTERVAL = 0.2


@click.command(short_help="Show what a daemon has logged.")
@click.argument("store", required=False, metavar="[STORE_OR_MOUNTPOINT]", shell_complete=names.stores)
@click.option("--lines", "-n", default=50, show_default=True, type=click.IntRange(min=0), help="How many of the last.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def logs(store: str | None, lines: int, follow: bool) -> None:
    """Show the last lines that the daemon of a store has logged, mounted or not; the active store by default.

    \b
    Examples:
      mountd logs -n 20
      mountd logs prod -f

    A mount in the foreground logs to standard error instead: under systemd, journalctl -u mountd@prod has it.
    """
    path = _file(store)
    if not path.exists():
        raise UserError(f"there is no log at {path}: the store was never mounted in the background", EXIT_FAILURE)
    last, end = _last(path, lines)
    for line in last:
        click.echo(line, nl=False)
    if follow:  # from where the last lines ended: others may have come while they were printed
        for text in _following(path, end):
            click.echo(text, nl=False)


def _file(store: str | None) -> Path:
    record = mount_at(store, running_mounts())
    registry = Registry(Folders.of_this_user())
    config = registry.resolve(record.store if record is not None and record.store in _names(registry) else store)
    return Folders.of_this_user().state / config.state_name / "mountd.log"


def _names(registry: Registry) -> set[str]:
    return {each.name for each in registry.all()}


def _last(path: Path, count: int) -> tuple[deque[str], int]:
    """Return the last lines, the older ones from the file that was full before, and the position where they end."""
    found: deque[str] = deque(maxlen=count)
    end = 0
    for each in (path.with_name(path.name + ".1"), path):
        if each.exists():
            with each.open(errors="replace") as file:
                found.extend(file)
                end = file.tell()
    return found, end


def _following(path: Path, at: int) -> Iterator[str]:
    """Yield what is logged from position `at` on; a log that is full is followed by a new one of the same name."""
    while True:
        with path.open(errors="replace") as file:
            inode = path.stat().st_ino
            file.seek(at)
            while True:
                text = file.read()
                if text:
                    yield text
                elif path.exists() and path.stat().st_ino != inode:
                    break
                else:
                    time.sleep(INTERVAL)
            yield file.read()  # what came between the last look and the change of files
        at = 0
