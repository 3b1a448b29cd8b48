"""How stores are written in the settings file: `active`, and one table `[stores.NAME]` each.

Pure: tables in, values out.
"""

from __future__ import annotations

import hashlib
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mountd import locate
from mountd.errors import EXIT_CONFIG, UserError
from mountd.stores.store import StoreConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def require_valid_name(name: str) -> None:
    """Raise UserError where `name` cannot name a store."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a store: use up to 64 letters, digits, '.', '_' and '-', a letter or digit first"
        )


def table(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the table under `key`, empty where there is none. Raises UserError where it is something else."""
    value = settings.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"the settings' {key!r} must be a table, not {value!r}", EXIT_CONFIG)
    return value


def names(settings: Mapping[str, Any]) -> list[str]:
    """Return the names of all stores, `default` first, the others sorted."""
    return [DEFAULT, *sorted(table(settings, "stores").keys() - {DEFAULT})]


def active_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the active store, which need not exist when somebody edited the file."""
    return str(settings.get("active", DEFAULT))


def require(settings: Mapping[str, Any], name: str) -> None:
    """Raise UserError where no store is called `name`."""
    known = names(settings)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        raise UserError(f"unknown store {name!r}; {hint}")


def read_store(settings: Mapping[str, Any], name: str, *, default_root: str) -> StoreConfig:
    """Return the store called `name` as it is written. Raises UserError where its table is not one of a store."""
    entry = table(table(settings, "stores"), name)
    if name == DEFAULT:
        entry = {"flavor": "local", "path": default_root} | entry
    for key in ("flavor", "path"):
        if not isinstance(entry.get(key), str):
            raise UserError(f'store {name!r} in the settings needs a line {key} = "..."', EXIT_CONFIG)
    if entry["flavor"] == "local" and not entry["path"].startswith(("/", "~", "file:")):
        raise UserError(f"store {name!r} in the settings: path {entry['path']!r} must be absolute", EXIT_CONFIG)
    return StoreConfig(
        name=name,
        flavor=entry["flavor"],
        root=entry["path"],
        options=table(entry, "options"),
        mount=table(entry, "mount"),
        description=str(entry.get("description", "")),
    )


def write_store(settings: MutableMapping[str, Any], store: StoreConfig) -> None:
    """Put `store` into the settings, over what is there; keys that this version does not know stay."""
    entry: dict[str, Any] = settings.setdefault("stores", {}).setdefault(store.name, {})
    entry |= {"flavor": store.flavor, "path": store.root}
    for key, value in (("description", store.description), ("options", dict(store.options))):
        if value:
            entry[key] = value
        else:
            entry.pop(key, None)


def derived_name(root: str) -> str:
    """Return a name for a store that only its root describes: readable, safe as a folder name, always the same."""
    place = locate.Root.parse(root)
    identity = "\0".join((place.scheme, *place.components))
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(place.components)).strip("-")[:40].rstrip("-")
    return f"{readable or place.scheme}-{digest}"
