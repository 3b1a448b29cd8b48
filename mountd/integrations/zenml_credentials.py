"""Where ZenML has the credentials of an artifact store from, in options of ours. What is secret of them stays there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mountd.stores.credentials import is_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Keys of a secret that an artifact store names, by its flavor, as options of ours.
_SECRETS: Mapping[str, Mapping[str, str]] = {
    "s3": {
        "aws_access_key_id": "key",
        "access_key_id": "key",
        "aws_secret_access_key": "secret",
        "secret_access_key": "secret",
        "aws_session_token": "token",
        "session_token": "token",
    },
    "gcp": {"token": "token"},
    "azure": {
        name: name
        for name in (
            *("account_name", "account_key", "sas_token", "connection_string"),
            *("client_id", "client_secret", "tenant_id"),
        )
    },
}
# What service connectors of a type and method are made of. Other methods assume a role or exchange a token: there is
# no option for that, only the cloud's default chain.
_CONNECTORS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("gcp", "service-account"): {"service_account_json": "token"},
    ("gcp", "user-account"): {"user_account_json": "token"},
    ("gcp", "oauth2-token"): {"token": "token"},
    ("azure", "implicit"): {"storage_account": "account_name"},
    ("azure", "service-principal"): {
        "storage_account": "account_name",
        "client_id": "client_id",
        "client_secret": "client_secret",
        "tenant_id": "tenant_id",
    },
}
# Names of things, without which the secrets say nothing, and which by themselves open nothing.
_PLAIN = frozenset({"account_name", "client_id", "tenant_id"})


@dataclass(frozen=True)
class Held:
    """Credentials that ZenML holds for a store.

    Attributes:
        where: in words; empty where it holds none.
        options: what of them is no secret.
        withheld: options of ours that the secret ones would be.
        variables: names of what ZenML sets in the environment of steps for this store.
    """

    where: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


def held_for(component: Any) -> Held:
    """Return the credentials of one of ZenML's artifact stores. What cannot be read there is only not told."""
    where, given = _given(component)
    plain = {name: value for name, value in given.items() if name in _PLAIN and isinstance(value, str)}
    return Held(
        where=where,
        options={name: value for name, value in plain.items() if value and not is_reference(value)},
        withheld=tuple(name for name in given if name not in _PLAIN),
        variables=tuple(sorted(_variables(component))),
    )


def _given(component: Any) -> tuple[str, Mapping[str, Any]]:
    """Return what holds the credentials, and them by our options, in the order that ZenML looks for them."""
    connector = component.connector
    if connector is not None:
        keys = _CONNECTORS.get((connector.type, connector.auth_method), {})
        values = dict(connector.configuration) if keys else {}
        # Secret parts are not always shown, but are always there.
        found = {ours: values.get(theirs) for theirs, ours in keys.items() if theirs in values or ours not in _PLAIN}
        return f"its service connector {connector.name!r}", found
    name = component.configuration.get("authentication_secret")
    if not name:
        return "", {}
    keys = _SECRETS.get(component.flavor_name, {})
    secret = _secret(name)
    if secret is None:
        return f"its secret {name!r}, which ZenML does not show here", {}
    return f"its secret {name!r}", {
        keys[key]: value and value.get_secret_value() for key, value in secret.values.items() if key in keys
    }


def _secret(name: str) -> Any:
    """Return a secret by its name, which may be in another secret: `{{NAME.KEY}}`. `None` where it is not to be had."""
    from zenml.client import Client
    from zenml.utils.secret_utils import is_secret_reference, parse_secret_reference

    def by_name(name: str) -> Any:
        return Client().get_secret_by_name_and_private_status(name)

    try:
        if is_secret_reference(name):
            outer, key = parse_secret_reference(name)
            name = by_name(outer).secret_values[key]
        return by_name(name)
    except Exception:  # gone, not for this user, or no server of secrets: it could not be used, and need not be
        return None


def _variables(component: Any) -> Iterable[str]:
    from zenml.client import Client

    yield from component.environment
    for secret in component.secrets:
        try:
            yield from Client().get_secret(secret).values
        except Exception:  # as above; ZenML itself goes on without it, too
            continue
