"""Options of a store: taken from a command line, checked against what its flavor takes, opened with their secrets."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mountd.errors import UserError
from mountd.stores import credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mountd.stores.flavor import Flavor, Option
    from mountd.stores.store import StoreConfig


def parse_options(flavor: Flavor, root: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return `given` in the types that the flavor's options have; references stay references.

    Raises UserError for an option that the flavor does not take, a value of the wrong type, and a secret given
    literally, whose value the message does not repeat.
    """
    if not given:
        return {}
    known = _described(flavor, root, given)
    parsed = {name: _parse(flavor, name, value, known=known) for name, value in given.items()}
    for name in credentials.literal_secrets(parsed, known):
        outer, _, inner = name.partition(".")
        variable = (outer in known and known[outer].variable) or (inner or outer).rpartition(".")[2].upper()
        example = f'{{"{inner}": "env:{variable}"}}' if inner else f"env:{variable}"
        raise UserError(f"option {name} is a secret: give a reference, such as --option {outer}={example} or file:PATH")
    return parsed


def _parse(flavor: Flavor, name: str, value: str, *, known: Mapping[str, Option]) -> Any:
    option = known.get(name)
    if option is None and not flavor.any_option:
        close = get_close_matches(name, known, n=3) or sorted(known)
        hint = f"did you mean {' or '.join(close)}?" if known else "it takes none"
        raise UserError(f"flavor {flavor.name} has no option {name!r}; {hint}")
    option = option or credentials.undescribed(name)
    if credentials.is_reference(value):
        return value
    try:
        parsed = option.parse(value)
    except ValueError as error:
        shown = "" if option.secret else f": {error}"
        raise UserError(f"option {name} must be of type {option.type}{shown}") from None
    if _holds_null(parsed):
        raise UserError(f"option {name} holds null, which the settings file cannot; leave that key out")
    return parsed


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_null(each) for each in value.values())
    return any(_holds_null(each) for each in value) if isinstance(value, list) else value is None


def open_options(flavor: Flavor, store: StoreConfig) -> credentials.Resolved:
    """Return the options to open `store` with, secrets in place: for `flavor.arguments` or `flavor.filesystem`.

    Call it as late as possible and keep nothing of it. Raises UserError naming a variable or file that is missing.
    """
    return credentials.resolve(store.options, _described(flavor, store.root, store.options))


def _described(flavor: Flavor, root: str, given: Mapping[str, Any]) -> Mapping[str, Option]:
    """Return the flavor's options by name. Its library, a second of import, is asked only for what it alone knows."""
    known = {option.name: option for option in flavor.known}
    return known if given.keys() <= known.keys() else {option.name: option for option in flavor.options(root)}
