"""Registering stores that ZenML knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mountd import locate

if TYPE_CHECKING:
    from mountd.integrations.zenml_stores import ZenMLStore
    from mountd.stores.registry import Registry
    from mountd.stores.store import StoreConfig


def register(registry: Registry, found: ZenMLStore) -> None:
    """Register a store, and say what is left to do. Raises UserError."""
    added = registry.register(
        found.name, path=found.path, flavor=found.flavor, options=found.options, description="from ZenML"
    )
    click.echo(f"Registered store {added.name!r}: {added.flavor}, {added.root}")
    for name in found.withheld:
        click.echo(
            f"  its {name} stays with ZenML; where it is needed: mountd store update {added.name} "
            f"--option {name}=env:NAME (or file:PATH)"
        )
    if found.connector:
        click.echo("  ZenML has its credentials from a service connector; mountd uses the cloud's default chain")


def active(registry: Registry) -> StoreConfig:
    """Return the artifact store of ZenML's active stack, registered if nobody has done that. Raises UserError."""
    from mountd.integrations.zenml_stores import active_store

    found = active_store()
    place = locate.Root.parse(registry.resolve(found.path).root)
    for store in registry.all():
        if locate.Root.parse(store.root) == place:
            return store
    register(registry, found)
    return registry.get(found.name)
