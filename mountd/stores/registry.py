"""The stores of this user: registered in the settings file, changed there, found by name or by URI."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mountd import locate
from mountd.config import MountSettings
from mountd.errors import EXIT_BUSY, EXIT_CONFIG, UserError
from mountd.settings_file import SettingsFile
from mountd.stores import credentials, entries
from mountd.stores.catalogue import FlavorCatalogue
from mountd.stores.flavor import split_scheme
from mountd.stores.options import parse_options
from mountd.stores.store import StoreConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mountd.config import Folders
    from mountd.stores.flavor import Flavor, Option


class Registry:
    """Stores by name, over the settings file. Every change is written before the call returns, or nothing is.

    On a new machine there is one store, `default`, a folder among the user's data, and it is active. It needs no
    entry in the file and cannot be deleted.
    """

    def __init__(self, folders: Folders, *, catalogue: FlavorCatalogue | None = None) -> None:
        self._default_root = str(folders.default_store)
        self._file = SettingsFile(folders.settings_file)
        self.catalogue = catalogue or FlavorCatalogue()

    def all(self) -> list[StoreConfig]:
        """Return the stores as they are written, `default` first, the others by name."""
        settings = self._file.read()
        return [self._written(settings, name) for name in entries.names(settings)]

    def get(self, name: str) -> StoreConfig:
        """Return the store called `name`.

        Raises UserError where there is none, or it cannot be used as it is written.
        """
        settings = self._file.read()
        entries.require(settings, name)
        return self._usable(self._written(settings, name))

    def active_name(self) -> str:
        """Return the name of the active store."""
        return entries.active_name(self._file.read())

    def active(self) -> StoreConfig:
        """Return the active store. Raises UserError as `get` does."""
        return self.get(self.active_name())

    def mount_settings(self, store: StoreConfig, chosen: Mapping[str, object]) -> MountSettings:
        """Return how to mount `store`: `chosen` (a command line) over the store's own settings over `[mount]`."""
        return MountSettings.merge(entries.table(self._file.read(), "mount"), store.mount, chosen)

    def resolve(self, store_or_uri: str | None = None) -> StoreConfig:
        """Return the store meant: a name, a URI or path, or the active one.

        A URI that is exactly some store's root means that store; any other one describes a store of its own, without
        options and with a name made from the URI, the same every time.
        """
        if store_or_uri is None:
            return self.active()
        settings = self._file.read()
        plain = (
            not split_scheme(store_or_uri)[0] and "/" not in store_or_uri and not store_or_uri.startswith(("~", "."))
        )
        if plain or store_or_uri in entries.names(settings):
            return self.get(store_or_uri)
        flavor = self.catalogue.for_path(store_or_uri)
        root = flavor.normalise(store_or_uri)
        place = locate.Root.parse(root)
        for store in self.all():
            if locate.Root.parse(store.root) == place:
                return self._usable(store)
        return StoreConfig(entries.derived_name(root), flavor.name, root, registered=False)

    def register(
        self, name: str, *, path: str, flavor: str | None = None, options: Mapping[str, str], description: str = ""
    ) -> StoreConfig:
        """Add a store; without `flavor`, the scheme of `path` decides.

        Raises UserError, and then nothing has changed.
        """
        entries.require_valid_name(name)
        kind = self.catalogue.get(flavor) if flavor else self.catalogue.for_path(path)
        root = kind.normalise(path)
        store = StoreConfig(name, kind.name, root, parse_options(kind, root, options), description=description)
        _require_fit(kind, root, store.options)
        with self._file.change() as settings:
            if name in entries.names(settings):
                raise UserError(f"there is a store {name!r} already; change it with `mountd store update {name}`")
            entries.write_store(settings, store)
        return store

    def update(
        self,
        name: str,
        *,
        mounted: Callable[[StoreConfig], bool],
        path: str | None = None,
        options: Mapping[str, str],
        unset: Sequence[str] = (),
        description: str | None = None,
    ) -> StoreConfig:
        """Change a store's path, options or description; its flavor stays.

        Raises UserError where the store is unknown, an option to unset is not set, or the store is mounted (EXIT_BUSY).
        """
        with self._file.change() as settings:
            entries.require(settings, name)
            store = self._written(settings, name)
            _require_unmounted(store, mounted)
            kind = self.catalogue.get(store.flavor)
            root = kind.normalise(path) if path is not None else store.root
            kept = _without(store.options, unset, store=name) | parse_options(kind, root, options)
            _require_fit(kind, root, kept)
            note = store.description if description is None else description
            changed = replace(store, root=root, options=kept, description=note)
            entries.write_store(settings, changed)
        return changed

    def delete(self, name: str, *, mounted: Callable[[StoreConfig], bool]) -> None:
        """Forget a store; nothing in it is touched. Refused for `default`, the active store and a mounted one."""
        with self._file.change() as settings:
            entries.require(settings, name)
            if name == entries.DEFAULT:
                raise UserError("the store 'default' is always there and cannot be deleted")
            if name == entries.active_name(settings):
                raise UserError(f"store {name!r} is active; first make another one active: mountd store set", EXIT_BUSY)
            _require_unmounted(self._written(settings, name), mounted)
            del settings["stores"][name]

    def set_active(self, name: str) -> None:
        """Make a store the active one. Raises UserError where it is unknown."""
        with self._file.change() as settings:
            entries.require(settings, name)
            settings["active"] = name

    def shown_options(self, store: StoreConfig) -> dict[str, Any]:
        """Return the store's options fit to be shown: references as they are, literal secrets hidden."""
        return credentials.masked(store.options, self._described(store.flavor))

    def _written(self, settings: Mapping[str, Any], name: str) -> StoreConfig:
        store = entries.read_store(settings, name, default_root=self._default_root)
        if self._file.open_to_others() and any(
            credentials.literal_secrets(store.options, self._described(store.flavor))
        ):
            raise UserError(
                f"{self._file.path} holds secrets and others may read it: chmod 600 {self._file.path}", EXIT_CONFIG
            )
        return store

    def _usable(self, store: StoreConfig) -> StoreConfig:
        try:
            return replace(store, root=self.catalogue.get(store.flavor).normalise(store.root))
        except UserError as error:
            raise UserError(f"store {store.name!r} in {self._file.path}: {error}", EXIT_CONFIG) from error

    def _described(self, flavor: str) -> dict[str, Option]:
        try:
            return {option.name: option for option in self.catalogue.get(flavor).known}
        except UserError:  # its package is gone or broken: then names alone tell what is secret
            return {}


def _require_unmounted(store: StoreConfig, mounted: Callable[[StoreConfig], bool]) -> None:
    if mounted(store):
        raise UserError(f"store {store.name!r} is mounted; first run: mountd unmount {store.name}", EXIT_BUSY)


def _require_fit(flavor: Flavor, root: str, options: Mapping[str, Any]) -> None:
    if complaint := flavor.misfit(root, options):
        raise UserError(complaint)


def _without(options: Mapping[str, Any], unset: Sequence[str], *, store: str) -> dict[str, Any]:
    for name in unset:
        if name not in options:
            raise UserError(f"store {store!r} has no option {name!r} to unset")
    return {name: value for name, value in options.items() if name not in unset}
