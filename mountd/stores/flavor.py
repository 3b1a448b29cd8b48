"""What a kind of store is: the base class of all flavors, built in and custom.

A custom flavor is a subclass in any package that names it in its entry points:

    [project.entry-points."mountd.flavors"]
    dvc = "my_package.flavors:DvcFlavor"

Asking a flavor for its description must be cheap: it imports its library in `filesystem` and `options` only.
"""

from __future__ import annotations

import importlib.util
import json
import re
from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mountd.errors import EXIT_FAILURE, UserError
from mountd.units import parse_bool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OptionType = Literal["str", "int", "bool", "json", "auto"]
Kind = Literal["local", "s3", "gcs", "azure", "fsspec"]


@dataclass(frozen=True, slots=True)
class Option:
    """Something a store can be opened with.

    Attributes:
        name: as in `--option NAME=VALUE`.
        description: one line for people.
        secret: the value must be a reference (`env:NAME`, `file:PATH`) and is never shown.
        type: what the text on a command line is turned into; `auto` takes it as JSON where it is a number, a truth
        value,
            a list or an object in JSON, and as it is otherwise.
        harmless: for a secret option, a regular expression of the literal values that give nothing away.
        variable: the environment variable that customarily holds it, for examples.
    """

    name: str
    description: str
    secret: bool = False
    type: OptionType = "str"
    harmless: str | None = None
    variable: str | None = None

    def parse(self, value: object) -> Any:
        """Return `value` in this option's type; what is of that type already is kept. Raises ValueError."""
        if not isinstance(value, str):
            return value
        if self.type == "bool":
            return parse_bool(value)
        if self.type == "int":
            return int(value)
        if self.type == "json":
            return json.loads(value)
        return _guess(value) if self.type == "auto" else value


def _guess(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if value is None else value


@dataclass(frozen=True, slots=True)
class Package:
    """A library that a flavor needs: `pip` is what to install, `module` what is imported then."""

    pip: str
    module: str

    @property
    def installed(self) -> bool:
        """Whether it can be imported, found out without importing it."""
        return importlib.util.find_spec(self.module) is not None


class Flavor(ABC):
    """A kind of store. Instances are stateless.

    Attributes:
        name: how users call it.
        description: one line for people.
        schemes: its URI schemes; a store of this flavor has a root with one of them.
        kind: which implementation of the object store speaks to it; custom flavors are `fsspec`.
        package: the library it needs beyond mountd's own.
        known: the options it describes, all secret ones among them; showing a store must not import the library.
        needs_bucket: whether a root has to name a bucket (or container) first.
        any_option: whether the library takes options beyond those it declares, so that unknown ones pass.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""
    schemes: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[Kind] = "fsspec"
    package: ClassVar[Package | None] = None
    known: ClassVar[tuple[Option, ...]] = ()
    needs_bucket: ClassVar[bool] = True
    any_option: ClassVar[bool] = False

    def accepts(self, scheme: str) -> bool:
        """Tell whether a root may have this scheme; it is empty for a plain path."""
        return scheme in self.schemes

    def all_schemes(self) -> Sequence[str]:
        """Return every scheme that `accepts` says yes to; longer than `schemes` only where they are not all its own."""
        return self.schemes

    def options(self, root: str | None = None) -> Sequence[Option]:
        """Return `known` and what the library declares beyond it, which may depend on the root.

        May import the library.
        """
        return self.known

    def normalise(self, path: str) -> str:
        """Return the root URI meant by `path`: scheme in lower case, no trailing slash. Raises UserError."""
        scheme, rest = split_scheme(path)
        if not self.accepts(scheme):
            raise UserError(self._wrong_scheme(path))
        rest = rest.removesuffix("/")
        complaint = _complaint(rest, needs_bucket=self.needs_bucket)
        if complaint:
            raise UserError(f"{complaint}; write it like {scheme}://{'bucket' if self.needs_bucket else 'host'}/prefix")
        return f"{scheme}://{rest}"

    def misfit(self, root: str, options: Mapping[str, Any]) -> str | None:
        """Say why options, which may be references, cannot be meant for a root; `None` where they can."""
        return None

    def arguments(self, root: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the library's file system class for `options`, whose references are resolved."""
        return dict(options)

    def filesystem(self, root: str, options: Mapping[str, Any], **more: Any) -> Any:
        """Return an fsspec file system for the store, opened with resolved `options`.

        `more`, the loop to run on, goes to it as it is where the file system is asynchronous. Without listing or
        instance caches: freshness is decided elsewhere. Raises UserError where the library is missing.
        """
        self.require_package()
        from fsspec import get_filesystem_class  # here, so that listing flavors stays cheap
        from fsspec.core import url_to_fs

        try:
            kind = get_filesystem_class(split_scheme(root)[0])
        except ImportError as error:
            raise UserError(str(error), EXIT_FAILURE) from error
        # Others may hand on what they do not know to the library below, which then refuses it.
        more = {"use_listings_cache": False, **more} if kind.async_impl else {}
        filesystem = url_to_fs(root, **self.arguments(root, options), skip_instance_cache=True, **more)[0]
        if getattr(filesystem, "dircache", None) is not None:
            filesystem.dircache.use_listings_cache = False
        return filesystem

    def require_package(self) -> None:
        """Raise UserError, saying what to install, where the library is missing."""
        if self.package and not self.package.installed:
            raise UserError(
                f"flavor {self.name} needs the package {self.package.pip}: pip install {self.package.pip}", EXIT_FAILURE
            )

    def _wrong_scheme(self, path: str) -> str:
        scheme = split_scheme(path)[0]
        allowed = " or ".join(f"{each}://" for each in self.schemes)
        given = f"{scheme}:// is not one of its schemes" if scheme else f"{path!r} has no scheme"
        return f"flavor {self.name} takes paths that begin with {allowed}; {given}"


def split_scheme(path: str) -> tuple[str, str]:
    """Return scheme, in lower case, and the rest; the scheme is empty for a plain path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return (match[1].lower(), path[match.end() :]) if match else ("", path)


def _complaint(rest: str, *, needs_bucket: bool) -> str | None:
    """Say what is wrong with what follows `scheme://`. The text itself is not repeated where it may hold a password."""
    authority, *parts = rest.split("/")
    if re.search(r":[^/]*@", authority):
        return "a path must not hold a password: give it as an option"
    if "?" in rest or "::" in rest:
        return f"{rest!r} holds a query or a chain of protocols, which a root must not"
    if needs_bucket and not authority:
        return "the path names no bucket"
    if any(part in ("", ".", "..") for part in parts) or authority in (".", ".."):
        return f"{rest!r} holds an empty, '.' or '..' component"
    if any(character.isspace() for character in authority) or "\0" in rest:
        return f"{rest!r} is not a bucket and a prefix"
    return None
