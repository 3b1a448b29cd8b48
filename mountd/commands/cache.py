"""`mountd cache`: what a store has on local disk, whether it is mounted or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mountd import units
from mountd.commands import names, waiting
from mountd.commands.chosen import meant
from mountd.commands.output import print_fields, print_json
from mountd.config import Folders
from mountd.daemon import client
from mountd.daemon.records import MountRecord
from mountd.errors import EXIT_FAILURE
from mountd.stores.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

_store = click.argument("store", required=False, metavar="[STORE_OR_MOUNTPOINT]", shell_complete=names.stores)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(short_help="Show, clear or verify what lies on local disk.")
def cache() -> None:
    """Show, clear or verify what a store has on local disk, mounted or not; the active store by default."""


@cache.command()
@_store
@_as_json
def info(store: str | None, as_json: bool) -> None:
    """Show where the cache lies, how many files and bytes are in it, and how many may be."""
    found = _ask(store, "cache-info")
    if as_json:
        return print_json(found)
    size = f"{units.format_size(found['bytes'])} of {units.format_size(found['limit'])}"
    return print_fields([("folder", found["folder"]), ("size", size), ("files", str(found["files"]))])


@cache.command()
@_store
@_as_json
def clear(store: str | None, as_json: bool) -> None:
    """Delete what the store has, too. What is not stored yet stays, and what is in use at this moment."""
    found = _ask(store, "cache-clear")
    if as_json:
        return print_json(found)
    left = f"; {units.format_size(found['left'])} stay, not stored yet or in use" if found["left"] else ""
    return click.echo(f"Freed {units.format_size(found['freed'])}{left}")


@cache.command()
@_store
@_as_json
def verify(store: str | None, as_json: bool) -> int:
    """Compare all that is on local disk with its checksums.

    What is damaged and in the store is dropped, to be fetched again when it is read. Damaged bytes that are not in the
    store yet are reported, a line for each file, and the exit code is 1: they are never uploaded.
    """
    with waiting.progress("Verifying") as show:
        found = _ask(store, "cache-verify", show)
    if as_json:
        print_json(found)
        return EXIT_FAILURE if found["damaged"] else 0
    for each in found["dropped"]:
        click.echo(f"{each['path']}: {units.format_size(each['bytes'])} were damaged and will be fetched again")
    for each in found["damaged"]:
        amount = units.format_size(each["bytes"])
        click.echo(f"{each['path']}: {amount} that are not in the store are damaged: write it again, or remove it")
    click.echo(f"Verified {units.format_size(found['bytes'])} in {found['files']} files")
    return EXIT_FAILURE if found["damaged"] else 0


def _ask(store: str | None, do: str, progress: Callable[[Any], None] = lambda _: None) -> dict[str, Any]:
    """Return what the daemon of the store answers, or what is found without one."""
    found = meant(store)
    if isinstance(found, MountRecord):
        answer: dict[str, Any] = client.ask(found, do, progress=progress)
        return answer
    from mountd.daemon.cache import unmounted  # here: trio is slow to import

    folders = Folders.of_this_user()
    limit = Registry(folders).mount_settings(found, {}).cache_size
    return unmounted(folders.state / found.state_name, limit, do, progress)
