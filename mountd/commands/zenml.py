"""Registering stores that ZenML knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mountd import locate
from mountd.errors import EXIT_FAILURE, UserError
from mountd.stores.credentials import is_reference

if TYPE_CHECKING:
    from mountd.integrations.zenml_stores import ZenMLStore
    from mountd.stores.registry import Registry
    from mountd.stores.store import StoreConfig


def import_all(registry: Registry) -> None:
    """Register all stores that are not, and say of each what became of it.

    Raises UserError at the end where one could not be registered.
    """
    from mountd.integrations.zenml_stores import all_stores  # ZenML is slow to import

    found = all_stores()
    if not found:
        click.echo("ZenML has no artifact store of a flavor that mountd knows")
    failed = [each.name for each in found if not _imported(registry, each)]
    if failed:
        raise UserError(f"not registered: {', '.join(failed)}; the reasons are above", EXIT_FAILURE)


def active(registry: Registry) -> StoreConfig:
    """Return the artifact store of ZenML's active stack, registered if nobody has done that. Raises UserError."""
    from mountd.integrations.zenml_stores import active_store

    found = active_store()
    return _registered(registry, found) or _register(registry, found)


def _imported(registry: Registry, found: ZenMLStore) -> bool:
    try:
        known = _registered(registry, found)
        if known is None:
            _register(registry, found)
        else:
            click.echo(f"Store {known.name!r} is registered already: {known.root}")
    except UserError as error:
        click.echo(f"ZenML's store {found.title!r} is not registered: {error}", err=True)
        return False
    return True


def _registered(registry: Registry, found: ZenMLStore) -> StoreConfig | None:
    """Return the store that has the same root, whatever it is called here.

    Raises UserError where the path cannot be a root, and where the same root is in another storage account.
    """
    catalogue = registry.catalogue
    flavor = catalogue.get(found.flavor) if found.flavor else catalogue.for_path(found.path)
    try:
        place = locate.Root.parse(flavor.normalise(found.path))
    except UserError as error:
        raise UserError(f"{error}; in ZenML: zenml artifact-store update {found.title!r} --path=URI") from error
    known = next((store for store in registry.all() if locate.Root.parse(store.root) == place), None)
    if known is not None:
        _require_same_account(known, found)
    return known


def _require_same_account(known: StoreConfig, found: ZenMLStore) -> None:
    ours, theirs = (str(each.options.get("account_name", "")) for each in (known, found))
    if ours and theirs and ours != theirs and not is_reference(ours):
        raise UserError(
            f"the store {known.name!r} has the root {known.root} in the account {ours!r}, and ZenML's is in "
            f"{theirs!r}, which no URI tells apart: have one of them here, after mountd store delete {known.name}"
        )


def _register(registry: Registry, found: ZenMLStore) -> StoreConfig:
    """Register a store, and say what is left to do. Raises UserError."""
    added = registry.register(
        _free_name(registry, found),
        path=found.path,
        flavor=found.flavor,
        options=found.options,
        description="from ZenML",
    )
    click.echo(f"Registered store {added.name!r}: {added.flavor}, {added.root}")
    where = f", in {found.source}" if found.source else ""
    for option in found.withheld:
        click.echo(f"  its {option} stays with ZenML{where}; where it is needed: {_way_to_give(added.name, option)}")
    if found.source and not found.withheld:
        click.echo(
            f"  ZenML has its credentials from {found.source}; mountd uses the cloud's default chain, or what "
            f"`mountd flavor describe {added.flavor}` names"
        )
    if found.variables:
        click.echo(f"  ZenML sets {', '.join(found.variables)} for its steps; set the same for mountd mount")
    return added


def _free_name(registry: Registry, found: ZenMLStore) -> str:
    # On a new machine, both have a store `default`, which are not the same.
    taken = {store.name for store in registry.all()}
    for name in (found.name, f"zenml-{found.name}"):
        if name not in taken:
            return name
    raise UserError(
        f"{found.name!r} and {name!r} are other stores: give it a name yourself, "
        f"mountd store register NAME --path={found.path}"
    )


def _way_to_give(store: str, option: str) -> str:
    outer, _, inner = option.partition(".")
    if inner:
        return f"put a reference (env:NAME, file:PATH) for {inner} into its {outer} with mountd store update {store}"
    return f"mountd store update {store} --option {outer}=env:NAME (or file:PATH)"
