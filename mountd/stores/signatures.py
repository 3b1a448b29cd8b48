"""Options that a library's file system class declares, read from its constructor."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING

from mountd.stores.flavor import Option, OptionType

if TYPE_CHECKING:
    from collections.abc import Sequence

# Belongs to the process, not to a store: the event loop and the session are mountd's own, and so are its caches.
_INTERNAL = frozenset(
    {"self", "args", "kwargs", "loop", "asynchronous", "session", "fo", "fs", "batch_size", "use_listings_cache"}
)
_SECRET = re.compile(
    r"secret|passw|passphrase|token|credential|private_key|account_key|connection_string|api_?key|(?:^|_)sas(?:_|$)"
)


def looks_secret(name: str) -> bool:
    """Tell whether an option of this name holds a secret, for options that no flavor describes."""
    return _SECRET.search(name.lower()) is not None


def declared_options(module: str, name: str, *, known: Sequence[Option]) -> tuple[Option, ...]:
    """Return `known`, then what the class `name` of `module` declares beyond it, nothing where it is missing."""
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), name).__init__).parameters
    except Exception:  # whatever a third party's import raises; to describe a flavor is not the moment to fail
        return tuple(known)
    described = {option.name for option in known} | _INTERNAL
    extra = [
        Option(each.name, f"argument of {name}", secret=looks_secret(each.name), type=_type(each.default))
        for each in parameters.values()
        if each.name not in described and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]
    return (*known, *extra)


def _type(default: object) -> OptionType:
    if isinstance(default, bool):
        return "bool"
    if isinstance(default, int):
        return "int"
    return "str" if isinstance(default, str) else "auto"
