"""The artifact stores that ZenML knows on this machine, as stores of mountd."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mountd.errors import EXIT_FAILURE, UserError
from mountd.integrations.zenml_credentials import held_for
from mountd.stores import credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# ZenML's flavor: ours, and its settings that are options of ours by the same name. Those that are secret are not
# copied, wherever ZenML keeps them.
_FLAVORS: Mapping[str, tuple[str | None, frozenset[str], frozenset[str]]] = {
    "local": ("local", frozenset(), frozenset()),
    "s3": (
        "s3",
        frozenset({"client_kwargs", "config_kwargs", "s3_additional_kwargs"}),
        frozenset({"key", "secret", "token"}),
    ),
    "gcp": ("gcs", frozenset(), frozenset()),
    "azure": ("azure", frozenset(), frozenset()),
    "mountd": (None, frozenset(), frozenset()),  # what the scheme of its path says
}


@dataclass(frozen=True)
class ZenMLStore:
    """An artifact store of ZenML.

    Attributes:
        name: fit for mountd's registry.
        title: what ZenML calls it.
        flavor: mountd's, `None` for what the scheme says.
        options: without secrets.
        withheld: names of options, of parts of one with dots, that ZenML has a value for, which is a secret.
        source: what in ZenML holds its credentials, in words; empty where nothing does.
        variables: names of what ZenML sets in the environment of steps for it.
    """

    name: str
    title: str
    flavor: str | None
    path: str
    options: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    source: str = ""
    variables: tuple[str, ...] = ()


def all_stores() -> Sequence[ZenMLStore]:
    """Return ZenML's artifact stores, those of flavors that mountd does not know left out. Raises UserError."""
    with _asking():
        from zenml.client import Client
        from zenml.enums import StackComponentType

        page = Client().list_stack_components(type=StackComponentType.ARTIFACT_STORE, size=1000, hydrate=True)
        return [_described(component) for component in page.items if component.flavor_name in _FLAVORS]


def active_store() -> ZenMLStore:
    """Return the artifact store of the active stack. Raises UserError, also where its flavor is not known here."""
    with _asking():
        from zenml.client import Client
        from zenml.enums import StackComponentType

        component = Client().active_stack_model.components[StackComponentType.ARTIFACT_STORE][0]
        if component.flavor_name in _FLAVORS:
            return _described(component)
    raise UserError(f"mountd does not know ZenML's flavor {component.flavor_name!r} of artifact stores")


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
    held = held_for(component)
    return ZenMLStore(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", component.name).strip("-.") or "zenml",
        title=component.name,
        flavor=flavor,
        path=path,
        options={**_as_text(options), **held.options},
        withheld=(*sorted(secret & given.keys()), *nested, *held.withheld),
        source=held.where,
        variables=held.variables,
    )


def _as_text(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}


def _without_secrets(options: Mapping[str, Any], above: str = "") -> tuple[dict[str, Any], list[str]]:
    """Return options without the secrets in them, and the full names of those."""
    kept: dict[str, Any] = {}
    withheld: list[str] = []
    for name, value in options.items():
        if isinstance(value, dict):
            inner, names = _without_secrets(value, f"{above}{name}.")
            kept |= {name: inner} if inner else {}
            withheld += names
        elif _is_secret(name, value):
            withheld.append(f"{above}{name}")
        else:
            kept[name] = value
    return kept, withheld


def _is_secret(name: str, value: Any) -> bool:
    """Tell whether a value is a secret, or refers to one: in ZenML's way, `{{NAME.KEY}}`, or by chance in ours."""
    return any(credentials.literal_secrets({name: value}, {})) or "{{" in str(value) or credentials.is_reference(value)


def _default_path(component: Any) -> str:
    """Return where ZenML puts a local store that has no path."""
    from zenml.artifact_stores import LocalArtifactStore

    return str(LocalArtifactStore.get_default_local_path(component.id))
