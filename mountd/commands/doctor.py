"""`mountd doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mountd.commands import names
from mountd.commands.output import print_json
from mountd.config import Folders
from mountd.errors import EXIT_FAILURE, UserError
from mountd.redaction import without_secrets
from mountd.stores.registry import Registry

if TYPE_CHECKING:
    from mountd.daemon.health import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(short_help="Find out what is wrong, and how to mend it.")
@click.argument("store", required=False, metavar="[STORE_OR_URI]", shell_complete=names.stores)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(store: str | None, as_json: bool) -> int:
    """Look at this machine and at a store, the active one by default: one line for each thing, and how to mend it.

    \b
    Examples:
      mountd doctor
      mountd doctor prod
      mountd doctor s3://my-bucket/artifacts --json

    The store is asked: one key is listed, and it is found out what the service and the credentials allow, with
    requests that make nothing. The exit code is 1 where something fails; warnings are no failure.
    """
    found: list[Finding] = []
    for each in _look(store):
        found.append(each)
        if not as_json:
            _tell(each)
    if as_json:
        print_json([asdict(each) for each in found])
    return EXIT_FAILURE if any(each.verdict == "fail" for each in found) else 0


def _look(store: str | None) -> list[Finding]:
    from mountd.config import MountSettings
    from mountd.daemon import health  # here: trio and the stores' libraries are slow to import

    folders = Folders.of_this_user()
    registry = Registry(folders)
    try:
        config = registry.resolve(store)
        settings = registry.mount_settings(config, {})
    except UserError as error:
        trouble = health.Finding("settings", "fail", str(error), f"see {folders.settings_file}")
        return [*health.machine(folders, MountSettings()), trouble]
    return [*health.machine(folders, settings), *health.store(config, settings)]


def _tell(found: Finding) -> None:
    mark = click.style(f"{found.verdict:<4}", fg=_COLOURS[found.verdict]) if sys.stdout.isatty() else found.verdict
    click.echo(without_secrets(f"{mark} {found.name}: {found.detail}"))
    if found.mend and found.verdict != "ok":
        click.echo(f"     to mend it: {found.mend}")
