"""Which flavors there are: the built-in ones, and those that installed packages name as entry points."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from mountd.errors import UserError
from mountd.stores.builtin import BUILT_IN, FsspecFlavor, LocalFlavor
from mountd.stores.flavor import Flavor, split_scheme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint, EntryPoints

GROUP = "mountd.flavors"


@dataclass(frozen=True, slots=True)
class BrokenFlavor:
    """An entry point that yields no flavor, and one line that says why."""

    name: str
    source: str
    reason: str


class FlavorCatalogue:
    """Flavors by name and by scheme.

    Custom ones are imported when they are asked for, and harm nobody when they break.
    """

    def __init__(self) -> None:
        self._built_in: dict[str, Flavor] = {flavor.name: flavor() for flavor in BUILT_IN}

    def get(self, name: str) -> Flavor:
        """Return the flavor called `name`. Raises UserError where there is none or where its package is broken."""
        if name in self._built_in:
            return self._built_in[name]
        for entry in _named().select(name=name):
            flavor = _load(entry)
            if isinstance(flavor, BrokenFlavor):
                raise UserError(f"flavor {name} of {flavor.source} is broken: {flavor.reason}")
            return flavor
        raise UserError(f"unknown flavor {name!r}; {self._suggestion(name)}")

    def for_path(self, path: str) -> Flavor:
        """Return the flavor that the scheme of `path` decides. Raises UserError where none does."""
        scheme, _ = split_scheme(path)
        if not scheme:
            return self._built_in[LocalFlavor.name]
        # fsspec knows nearly every scheme, so it comes last.
        special = [flavor for flavor in self._built_in.values() if flavor.name != FsspecFlavor.name]
        for flavor in (*special, *self._custom(), self._built_in[FsspecFlavor.name]):
            if flavor.accepts(scheme):
                return flavor
        raise UserError(f"no flavor has the scheme {scheme}://; see `mountd flavor list`")

    def all(self) -> list[Flavor | BrokenFlavor]:
        """Return every flavor, the built-in ones first, and what is left of the broken ones."""
        found: list[Flavor | BrokenFlavor] = list(self._built_in.values())
        for entry in _named():
            if entry.name in self._built_in:
                found.append(BrokenFlavor(entry.name, entry.value, "the name belongs to a built-in flavor"))
            else:
                found.append(_load(entry))
        return found

    def _custom(self) -> Iterator[Flavor]:
        for entry in _named():
            if entry.name not in self._built_in and isinstance(flavor := _load(entry), Flavor):
                yield flavor

    def _suggestion(self, name: str) -> str:
        names = [*self._built_in, *(entry.name for entry in _named())]
        close = get_close_matches(name, names, n=1)
        return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"


def _named() -> EntryPoints:
    """Return the entry points of installed packages that name flavors."""
    from importlib.metadata import entry_points  # 20 ms of each command, most of which ask for built-in flavors

    return entry_points(group=GROUP)


def _load(entry: EntryPoint) -> Flavor | BrokenFlavor:
    try:
        found = entry.load()
        flavor = found() if inspect.isclass(found) else found
        if not isinstance(flavor, Flavor):
            return BrokenFlavor(entry.name, entry.value, "it is not a subclass of mountd.stores.flavor.Flavor")
        if getattr(flavor, "name", None) != entry.name:
            return BrokenFlavor(entry.name, entry.value, f"its attribute `name` is not {entry.name!r}")
    except Exception as error:  # another package's mistake, reported where flavors are listed
        return BrokenFlavor(entry.name, entry.value, f"{type(error).__name__}: {error}".splitlines()[0])
    return flavor
