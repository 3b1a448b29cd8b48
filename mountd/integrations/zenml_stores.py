"""The artifact stores that ZenML knows on this machine, as stores of mountd."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mountd.errors import EXIT_FAILURE, UserError
from mountd.stores import credentials

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
        withheld: names of options, of parts of one with dots, that ZenML has a value for, which is a secret.
        source: where else ZenML has its credentials from, in words; empty where nowhere.
    """

    name: str
    flavor: str | None
    path: str
    options: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    source: str = ""


def all_stores() -> Iterator[ZenMLStore]:
    """Yield ZenML's artifact stores, those of flavors that mountd does not know left out. Raises UserError."""
    with _asking():
        from zenml.client import Client
        from zenml.enums import StackComponentType

        page = Client().list_stack_components(type=StackComponentType.ARTIFACT_STORE, size=1000, hydrate=True)
    for component in page.items:
        if component.flavor_name in _FLAVORS:
            yield _described(component)


def active_store() -> ZenMLStore:
    """Return the artifact store of the active stack. Raises UserError, also where its flavor is not known here."""
    with _asking():
        from zenml.client import Client
        from zenml.enums import StackComponentType

        component = Client().active_stack_model.components[StackComponentType.ARTIFACT_STORE][0]
    if component.flavor_name not in _FLAVORS:
        raise UserError(f"mountd does not know ZenML's flavor {component.flavor_name!r} of artifact stores")
    return _described(component)


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except ImportError as exc:
        raise UserError(f"ZenML is not installed beside mountd ({exc}): pip install zenml", EXIT_FAILURE) from exc
    except Exception as exc:  # of its database, its server, its settings: whatever kind it is, it is ZenML's
        raise UserError(f"ZenML does not say what its stores are: {type(exc).__name__}: {exc}", EXIT_FAILURE) from exc


def _described(component: Any) -> ZenMLStore:
    flavor, plain, secret = _FLAVORS[component.flavor_name]
    given = {name: value for name, value in component.configuration.items() if value not in (None, "")}
    path = given.get("path") or _default_path(component)
    options, nested = _without_secrets({name: given[name] for name in sorted(plain & given.keys())})
    return ZenMLStore(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", component.name).strip("-.") or "zenml",
        flavor=flavor,
        path=path,
        options={name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()},
        withheld=(*sorted(secret & given.keys()), *nested),
        source=_source(component, given),
    )


def _without_secrets(options: Mapping[str, Any], above: str = "") -> tuple[dict[str, Any], list[str]]:
    """Return options without the secrets in them, and the full names of those.

    For secret counts what ZenML refers to one for as well: `{{NAME.KEY}}`.
    """
    kept: dict[str, Any] = {}
    withheld: list[str] = []
    for name, value in options.items():
        if isinstance(value, dict):
            inner, names = _without_secrets(value, f"{above}{name}.")
            kept |= {name: inner} if inner else {}
            withheld += names
        elif any(credentials.literal_secrets({name: value}, {})) or "{{" in str(value):
            withheld.append(f"{above}{name}")
        else:
            kept[name] = value
    return kept, withheld


def _source(component: Any, given: Mapping[str, Any]) -> str:
    if component.connector is not None:
        return "a service connector"
    secret = given.get("authentication_secret")
    return f"its secret {secret!r}" if secret else ""


def _default_path(component: Any) -> str:
    """Return where ZenML puts a local store that has no path."""
    from zenml.artifact_stores import LocalArtifactStore

    return str(LocalArtifactStore.get_default_local_path(component.id))
