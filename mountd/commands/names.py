"""What shells offer for the arguments of commands. Asked at each Tab, so that nothing heavy may be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from mountd.config import Folders
from mountd.errors import UserError

if TYPE_CHECKING:
    import click


def stores(_context: click.Context, _parameter: click.Parameter, begin: str) -> list[CompletionItem]:
    """Return the names of registered stores."""
    from mountd.settings_file import SettingsFile
    from mountd.stores import entries

    try:
        names = entries.names(SettingsFile(Folders.of_this_user().settings_file).read())
    except UserError:  # whoever runs the command is told
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(begin)]


def mounts(_context: click.Context, _parameter: click.Parameter, begin: str) -> list[CompletionItem]:
    """Return the stores that are mounted, by name, and their mount points."""
    from mountd.mounts import running_mounts

    found = running_mounts()
    names = {mount.store: mount.root for mount in found} | {str(mount.mount_point): mount.root for mount in found}
    return [CompletionItem(name, help=root) for name, root in sorted(names.items()) if name.startswith(begin)]


def flavors(_context: click.Context, _parameter: click.Parameter, begin: str) -> list[CompletionItem]:
    """Return the names of flavors."""
    from mountd.stores.catalogue import FlavorCatalogue

    return [CompletionItem(each.name) for each in FlavorCatalogue().all() if each.name.startswith(begin)]
