"""`mountd flavor`: which kinds of stores there are, and what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mountd.commands import names
from mountd.commands.output import print_fields, print_json, print_table
from mountd.stores.catalogue import BrokenFlavor, FlavorCatalogue

if TYPE_CHECKING:
    from mountd.stores.flavor import Flavor, Option


@click.group(short_help="Show the kinds of stores there are.")
def flavor() -> None:
    """Show the kinds of stores there are, and the options that each takes.

    Python packages add flavors of their own through the entry point group `mountd.flavors`.
    """


@flavor.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_flavors(as_json: bool) -> None:
    """List all flavors: schemes, package, and what is wrong with broken ones."""
    found = FlavorCatalogue().all()
    if as_json:
        print_json([_summary(each) for each in found])
        return
    print_table(("NAME", "SCHEMES", "NEEDS", "DESCRIPTION"), [_row(each) for each in found])


@flavor.command()
@click.argument("name", shell_complete=names.flavors)
@click.option("--path", help="For flavor fsspec: show the options of this URI's protocol.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def describe(name: str, path: str | None, as_json: bool) -> None:
    """Describe the flavor NAME and its options.

    \b
    Examples:
      mountd flavor describe s3
      mountd flavor describe fsspec --path sftp://host
    """
    found = FlavorCatalogue().get(name)
    options = found.options(found.normalise(path) if path else None)
    if as_json:
        print_json(_summary(found) | {"options": [_option(each) for each in options]})
        return
    _, schemes, needs, description = _row(found)
    print_fields([("name", name), ("description", description), ("schemes", schemes), ("needs", needs)])
    click.echo()
    print_table(
        ("OPTION", "TYPE", "DESCRIPTION"),
        [(each.name, "secret" if each.secret else each.type, each.description) for each in options],
    )


def _summary(found: Flavor | BrokenFlavor) -> dict[str, Any]:
    if isinstance(found, BrokenFlavor):
        return {"name": found.name, "source": found.source, "error": found.reason}
    package = found.package
    return {
        "name": found.name,
        "description": found.description,
        "schemes": list(found.all_schemes()),
        "package": package and {"name": package.pip, "installed": package.installed},
        "error": None,
    }


def _row(found: Flavor | BrokenFlavor) -> tuple[str, str, str, str]:
    if isinstance(found, BrokenFlavor):
        return found.name, "", found.source, f"BROKEN: {found.reason}"
    schemes = ", ".join(f"{scheme}://" for scheme in found.schemes) or "any other that fsspec knows"
    needs = "" if found.package is None else found.package.pip
    missing = found.package is not None and not found.package.installed
    return found.name, schemes, f"{needs} (not installed)" if missing else needs, found.description


def _option(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "type": option.type,
        "secret": option.secret,
        "description": option.description,
    }
