"""Secrets: referred to in the settings, resolved only when a store is opened, never shown.

A value `env:NAME` stands for an environment variable, `file:PATH` for the contents of a file (one trailing newline is
not part of them). Both work for every option, at any depth of a nested one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mountd.config import environment_variable
from mountd.errors import EXIT_CONFIG, UserError
from mountd.redaction import MASK
from mountd.stores.flavor import Option
from mountd.stores.signatures import looks_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REFERENCE = re.compile(r"(env|file):(.+)", re.DOTALL)
_URL_PASSWORD = re.compile(r"(://[^/@:\s]*:)[^/@\s]+@")


class Resolved(dict[str, Any]):
    """Options with their secrets in place. What is printed of it by mistake gives nothing away."""

    def __repr__(self) -> str:
        return f"Resolved({', '.join(self)})"

    __str__ = __repr__


def is_reference(value: object) -> bool:
    """Tell whether `value` is `env:NAME` or `file:PATH`."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def refers_to_files(options: Mapping[str, Any]) -> bool:
    """Tell whether an option, or a part of a nested one, is `file:PATH`."""
    return any(_refers_to_file(value) for value in options.values())


def _refers_to_file(value: Any) -> bool:
    if isinstance(value, dict):
        return refers_to_files(value)
    if isinstance(value, list):
        return any(_refers_to_file(each) for each in value)
    return is_reference(value) and value.startswith("file:")


def resolve(options: Mapping[str, Any], known: Mapping[str, Option]) -> Resolved:
    """Return `options` with references replaced by what they stand for, in the types that `known` gives them.

    Raises UserError (EXIT_CONFIG) naming the option and the variable or file that is missing, never a value.
    """
    resolved = Resolved()
    for name, value in options.items():
        option = known.get(name) or undescribed(name)
        try:
            resolved[name] = option.parse(_replaced(value, name))
        except ValueError:
            # From None: the parser's own message may quote the secret.
            raise UserError(f"option {name}: the value is not of type {option.type}", EXIT_CONFIG) from None
    return resolved


def undescribed(name: str) -> Option:
    """Return how to take an option that its flavor does not describe."""
    return Option(name, "", secret=looks_secret(name), type="str" if looks_secret(name) else "auto")


def _replaced(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(each, f"{name}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, name) for each in value]
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    return _variable(match[2], name) if match[1] == "env" else _contents(match[2], name)


def _variable(variable: str, name: str) -> str:
    value = environment_variable(variable)
    if value is None:
        raise UserError(f"option {name} refers to the environment variable {variable}, which is not set", EXIT_CONFIG)
    return value


def _contents(path: str, name: str) -> str:
    try:
        return Path(path).expanduser().read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(
            f"option {name} refers to the file {path}, which cannot be read: {reason}", EXIT_CONFIG
        ) from error


def literal_secrets(options: Mapping[str, Any], known: Mapping[str, Option]) -> Iterator[str]:
    """Yield the names of the options, nested ones with dots, whose literal values are secrets."""
    for name, value in options.items():
        yield from _literal(name, value, known.get(name) or undescribed(name))


def _literal(name: str, value: Any, option: Option) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _literal(f"{name}.{key}", each, undescribed(key))
    elif isinstance(value, list):
        for each in value:
            yield from _literal(name, each, option)
    elif not is_reference(value) and _gives_away(value, option):
        yield name


def _gives_away(value: Any, option: Option) -> bool:
    if not isinstance(value, str):
        return option.secret and not isinstance(value, bool) and value is not None
    if option.secret:
        return not (option.harmless and re.fullmatch(option.harmless, value))
    return _URL_PASSWORD.search(value) is not None


def secret_values(resolved: Mapping[str, Any], known: Mapping[str, Option]) -> Iterator[str]:
    """Yield the texts that options with their secrets in place hold, and that nobody should see."""
    for name, value in resolved.items():
        option = known.get(name) or undescribed(name)
        if isinstance(value, dict):
            yield from secret_values(value, {})
        elif isinstance(value, str) and option.secret:
            yield value


def masked(options: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, Any]:
    """Return `options` fit to be shown: references as they are, literal secrets hidden."""
    return {name: _masked(value, known.get(name) or undescribed(name)) for name, value in options.items()}


def _masked(value: Any, option: Option) -> Any:
    if isinstance(value, dict):
        return {key: _masked(each, undescribed(key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, option) for each in value]
    if is_reference(value) or not _gives_away(value, option):
        return value
    return MASK if option.secret else _URL_PASSWORD.sub(rf"\1{MASK}@", value)
