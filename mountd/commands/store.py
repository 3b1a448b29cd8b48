"""`mountd store`: register stores, look at them, change them, choose the active one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from mountd.commands import names
from mountd.commands.output import print_fields, print_json, print_table
from mountd.config import Folders
from mountd.errors import UserError
from mountd.stores.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.stores.store import StoreConfig


def _options(_context: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Take `KEY=VALUE` apart. What has no `=` is not repeated: it may be a secret that lost its key."""
    if not all("=" in pair and pair[0] != "=" for pair in pairs):
        raise click.BadParameter("write it KEY=VALUE")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


_option_pairs = click.option(
    "--option",
    "-o",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_options,
    help="Option of the flavor (see `mountd flavor describe`); repeatable. VALUE may be env:NAME or file:PATH, "
    "and must be for secrets.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(short_help="Register stores and choose the active one.")
def store() -> None:
    """Register artifact stores and choose the active one, which `mountd mount` mounts.

    On a new machine there is the store `default`, a folder of yours.
    """


@store.command()
@click.argument("name")
@click.option(
    "--flavor", "-f", shell_complete=names.flavors, help="Kind of store; by default what the scheme of the path says."
)
@click.option("--path", "-p", required=True, metavar="URI", help="Root of the store: a folder or a URI.")
@_option_pairs
@click.option("--description", default="", help="A note for people.")
def register(name: str, flavor: str | None, path: str, options: dict[str, str], description: str) -> None:
    """Register a store under NAME.

    \b
    Examples:
      mountd store register scratch --path ~/artifacts
      mountd store register prod -f s3 --path s3://my-bucket/artifacts
      mountd store register lab --path s3://bucket --option endpoint_url=http://minio:9000 \\
          --option key=lab --option secret=env:LAB_SECRET
      mountd store register old --path sftp://host/data --option username=me --option password=file:~/.old

    Nothing is contacted yet, and nothing is created in the store.
    """
    registry = _registry()
    added = registry.register(name, path=path, flavor=flavor, options=options, description=description)
    click.echo(f"Registered store {added.name!r}: {added.flavor}, {added.root}")
    click.echo(f"Mount it with: mountd mount {added.name}")


@store.command("list")
@_as_json
def list_stores(as_json: bool) -> None:
    """List all stores; the active one is marked."""
    registry = _registry()
    active, stores = registry.active_name(), registry.all()
    if as_json:
        print_json([_shown(registry, each, active=active) for each in stores])
        return
    rows = [
        ("*" if each.name == active else "", each.name, each.flavor, each.root, each.description) for each in stores
    ]
    print_table(("ACTIVE", "NAME", "FLAVOR", "PATH", "DESCRIPTION"), rows)


@store.command()
@click.argument("name", required=False, shell_complete=names.stores)
@_as_json
def describe(name: str | None, as_json: bool) -> None:
    """Describe the store NAME, or the active one.

    "weaker" lines say what the service does not decide, and what that means for those who write; docs/stores.md has
    more. Some of it is found out at mount: what an S3 service can do, and what the credentials allow.
    """
    registry = _registry()
    active = registry.active_name()
    chosen = registry.get(name or active)
    shown = _shown(registry, chosen, active=active) | _promises(chosen)
    if as_json:
        print_json(shown)
        return
    fields = [(key, _text(shown[key])) for key in ("name", "flavor", "path", "active", "description", "mount_point")]
    fields += [(f"option {key}", _text(value)) for key, value in shown["options"].items()]
    fields += [(f"mount {key}", _text(value)) for key, value in shown["mount"].items()]
    fields.append(("mounted", _text(shown["mounted"])))
    fields += [("weaker", line) for line in _weaker(shown["weaknesses"], mounted=shown["mounted"])]
    print_fields(fields)


@store.command()
@click.argument("name", shell_complete=names.stores)
@click.option("--path", "-p", metavar="URI", help="New root; it must fit the store's flavor.")
@_option_pairs
@click.option("--unset", "-u", multiple=True, metavar="KEY", help="Option to remove; repeatable.")
@click.option("--description", help="A note for people.")
def update(
    name: str, path: str | None, options: dict[str, str], unset: tuple[str, ...], description: str | None
) -> None:
    """Change the path, options or description of the store NAME, which must not be mounted.

    \b
    Examples:
      mountd store update prod --path s3://other-bucket
      mountd store update lab --option region=eu-central-1 --unset endpoint_url
    """
    if path is None and description is None and not options and not unset:
        raise UserError("nothing to change: give --path, --option, --unset or --description")
    changed = _registry().update(
        name, mounted=_mounted, path=path, options=options, unset=unset, description=description
    )
    click.echo(f"Updated store {changed.name!r}: {changed.flavor}, {changed.root}")


@store.command()
@click.argument("name", shell_complete=names.stores)
def delete(name: str) -> None:
    """Forget the store NAME. Its artifacts stay where they are.

    The active store, a mounted one and `default` cannot be deleted.
    """
    _registry().delete(name, mounted=_mounted)
    click.echo(f"Deleted store {name!r}; its artifacts are untouched")


@store.command("set")
@click.argument("name", shell_complete=names.stores)
def set_active(name: str) -> None:
    """Make the store NAME the active one."""
    _registry().set_active(name)
    click.echo(f"Store {name!r} is active now")


@store.command("import-zenml")
def import_zenml() -> None:
    """Register the artifact stores of ZenML, those of flavors that mountd does not know left out.

    ZenML has to be installed beside mountd, and connected to its server where it has one. Paths, options and the names
    of accounts are taken over; secrets are not: each is named with the command that gives a reference to it. A store
    whose root is registered already stays as it is; one whose name is taken by another is called zenml-NAME. What
    cannot be taken over is refused in a line each, with what to do.
    """
    from mountd.commands import zenml

    zenml.import_all(_registry())


def _registry() -> Registry:
    return Registry(Folders.of_this_user())


def _mounted(store: StoreConfig) -> bool:
    from mountd.mounts import running_mounts  # only commands that change a store ask

    return any(mount.store == store.name for mount in running_mounts())


def _shown(registry: Registry, store: StoreConfig, *, active: str) -> dict[str, Any]:
    return {
        "name": store.name,
        "flavor": store.flavor,
        "path": store.root,
        "active": store.name == active,
        "description": store.description,
        "mount_point": str(Folders.of_this_user().default_mount_point(store.name)),
        "options": registry.shown_options(store),
        "mount": dict(store.mount),
    }


def _promises(store: StoreConfig) -> dict[str, Any]:
    """Return whether the store is mounted and what it promises less: found out by the mount, else what is foreseen."""
    from mountd.daemon import client
    from mountd.mounts import mount_of, running_mounts
    from mountd.objects.promises import foreseen
    from mountd.stores.catalogue import FlavorCatalogue

    running = mount_of(store, running_mounts())
    if running is not None:
        with contextlib.suppress(UserError):  # a daemon that does not answer is no reason not to describe the store
            return {"mounted": True, "weaknesses": client.ask(running, "status")["weaknesses"]}
    kind = FlavorCatalogue().get(store.flavor).kind
    return {"mounted": running is not None, "weaknesses": foreseen(kind, store.options)}


def _weaker(lines: Sequence[str] | None, *, mounted: bool) -> list[str]:
    if lines is None:
        return ["found out at mount"]
    return list(lines) or ["nothing" if mounted else "nothing, as far as the credentials allow everything"]


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
