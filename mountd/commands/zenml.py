"""Registering stores that ZenML knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mountd import locate
from mountd.errors import EXIT_FAILURE, UserError

if TYPE_CHECKING:
    from mountd.integrations.zenml_stores import ZenMLStore
    from mountd.stores.registry import Registry
    from mountd.stores.store import StoreConfig


def import_all(registry: Registry) -> None:
    """Register all stores that are not, and say of each what became of it.

    Raises UserError at the end where one could not be registered.
    """
    from mountd.integrations.zenml_stores import all_stores  # ZenML is slow to import

    found = list(all_stores())
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
        click.echo(f"ZenML's store {found.name!r} is not registered: {error}", err=True)
        return False
    return True


def _registered(registry: Registry, found: ZenMLStore) -> StoreConfig | None:
    """Return the store that has the same root, whatever it is called here."""
    catalogue = registry.catalogue
    flavor = catalogue.get(found.flavor) if found.flavor else catalogue.for_path(found.path)
    place = locate.Root.parse(flavor.normalise(found.path))
    return next((store for store in registry.all() if locate.Root.parse(store.root) == place), None)


def _register(registry: Registry, found: ZenMLStore) -> StoreConfig:
    """Register a store, and say what is left to do. Raises UserError."""
    # On a new machine, both have a store `default`, which are not the same.
    taken = any(store.name == found.name for store in registry.all())
    name = f"zenml-{found.name}" if taken else found.name
    added = registry.register(
        name, path=found.path, flavor=found.flavor, options=found.options, description="from ZenML"
    )
    click.echo(f"Registered store {name!r}: {added.flavor}, {added.root}")
    for option in found.withheld:
        click.echo(f"  its {option} stays with ZenML; where it is needed: {_way_to_give(name, option)}")
    if found.source:
        click.echo(
            f"  ZenML has its credentials from {found.source}; mountd uses the cloud's default chain, or what "
            f"`mountd flavor describe {added.flavor}` names"
        )
    return added


def _way_to_give(store: str, option: str) -> str:
    outer, _, inner = option.partition(".")
    if inner:
        return f"put a reference (env:NAME, file:PATH) for {inner} into its {outer} with mountd store update {store}"
    return f"mountd store update {store} --option {outer}=env:NAME (or file:PATH)"
