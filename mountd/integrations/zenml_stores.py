"""The artifact stores that ZenML knows on this machine, as stores of mountd."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mountd.errors import EXIT_FAILURE, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# ZenML's flavor: ours, and its settings that are options of ours by the same name. Those that are secret are not
# copied, wherever ZenML keeps them.
_FLAVORS: Mapping[str, tuple[str | None, frozenset[str], frozenset[str]]] = {
    "local": ("local", frozenset(), frozenset()),
    "s3": (
        "s3",
        frozenset({"client_kwargs", "config_kwargs", "s3_additional_kwargs"}),
        frozenset({"key", "secret", "token"}),
    ),
    "gcp": ("gcs", frozenset(), frozenset({"token"})),
    "azure": ("azure", frozenset({"account_name"}), frozenset({"account_key", "connection_string", "sas_token"})),
    "mountd": (None, frozenset(), frozenset()),  # what the scheme of its path says
}


@dataclass(frozen=True)
class ZenMLStore:
    """An artifact store of ZenML.

    Attributes:
        name: fit for mountd's registry.
        flavor: mountd's, `None` for what the scheme says.
        options: without secrets.
        withheld: names of options that ZenML has a value for, which is a secret.
        connector: whether ZenML gets its credentials from a service connector.
    """

    name: str
    flavor: str | None
    path: str
    options: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    connector: bool = False


def all_stores() -> Iterator[ZenMLStore]:
    """Yield ZenML's artifact stores, those of flavors that mountd does not know left out. Raises UserError."""
    client = _client()
    from zenml.enums import StackComponentType

    page = client.list_stack_components(type=StackComponentType.ARTIFACT_STORE, size=1000, hydrate=True)
    for component in page.items:
        if component.flavor_name in _FLAVORS:
            yield _described(component)


def active_store() -> ZenMLStore:
    """Return the artifact store of the active stack. Raises UserError, also where its flavor is not known here."""
    client = _client()
    from zenml.enums import StackComponentType

    component = client.active_stack_model.components[StackComponentType.ARTIFACT_STORE][0]
    if component.flavor_name not in _FLAVORS:
        raise UserError(f"mountd does not know ZenML's flavor {component.flavor_name!r} of artifact stores")
    return _described(component)


def _client() -> Any:
    try:
        from zenml.client import Client
    except ImportError as exc:
        raise UserError("ZenML is not installed beside mountd: pip install zenml", EXIT_FAILURE) from exc
    return Client()


def _described(component: Any) -> ZenMLStore:
    flavor, plain, secret = _FLAVORS[component.flavor_name]
    given = {name: value for name, value in component.configuration.items() if value not in (None, "")}
    path = given.get("path") or _default_path(component)
    options = {name: given[name] for name in sorted(plain & given.keys())}
    return ZenMLStore(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", component.name).strip("-.") or "zenml",
        flavor=flavor,
        path=path,
        options={name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()},
        withheld=tuple(sorted(secret & given.keys())),
        connector=component.connector is not None,
    )


def _default_path(component: Any) -> str:
    """Return where ZenML puts a local store that has no path."""
    from zenml.artifact_stores import LocalArtifactStore

    return str(LocalArtifactStore.get_default_local_path(component.id))
