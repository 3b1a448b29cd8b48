"""`mount -t mountd STORE DIR`, lines of /etc/fstab, and `umount DIR`: what mount(8) and umount(8) call.

They run a program named after the type of the file system, /sbin/mount.mountd and /sbin/umount.fuse.mountd, with
arguments of their own kind. Source: mount(8) and umount(8), "External helpers".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from mountd.errors import EXIT_CONFIG, MountdError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What mount(8) wants to hear of wrong usage, and of a mount that failed.
MISUSED, FAILED = 1, 32

# Options for mount(8), systemd and the start of the machine, and those that are true of every mount of mountd.
_OF_OTHERS = (
    {"rw", "defaults", "auto", "noauto", "nofail", "_netdev", "nosuid", "nodev", "exec", "async", "silent", "loud"}
    | {"atime", "noatime", "relatime", "norelatime", "nostrictatime", "diratime", "nodiratime", "lazytime"}
    | {"nolazytime", "nouser", "nousers", "nogroup", "noowner"}
)
_PREFIXES_OF_OTHERS = ("x-", "X-", "comment=")
_NAMED = {"ro": ("read_only", "true")}


def parse_options(texts: Iterable[str]) -> dict[str, str]:
    """Return the mount settings, as text, of options as they stand in /etc/fstab.

    `ro` and every setting of mountd, `freshness=30s`, `allow_other`; what is meant for others is left out. A comma
    within a value is written `\\,`. Raises UserError for what nobody knows.
    """
    found: dict[str, str] = {}
    for option in (each for text in texts for each in _split(text)):
        name, given, value = option.partition("=")
        if option in _OF_OTHERS or option.startswith(_PREFIXES_OF_OTHERS):
            continue
        name, value = _NAMED.get(option, (name, value if given else "true"))
        found[name] = _checked(name, value, option)
    return found


def _split(text: str) -> list[str]:
    parts = text.replace("\\,", "\0").split(",")
    return [part.replace("\0", ",") for part in parts if part]


def _checked(name: str, value: str, option: str) -> str:
    from mountd.config import parse_setting

    try:
        parse_setting(name, value)
    except UserError as error:
        raise UserError(f"option {option}: {error}", EXIT_CONFIG) from error
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("store")
@click.argument("mount_point", type=click.Path(path_type=Path))
@click.option("-o", "options", multiple=True, metavar="OPTIONS", help="ro, and mountd's settings: freshness=30s,...")
@click.option("-f", "fake", is_flag=True, help="Check, and mount nothing.")
@click.option("-n", "-s", "-v", "ignored", is_flag=True, help="As for mount(8); nothing to mountd.")
@click.option("-t", "ignored_type", metavar="TYPE", help="As for mount(8); nothing to mountd.")
def mount(store: str, mount_point: Path, options: tuple[str, ...], fake: bool, **ignored: object) -> None:
    """Mount STORE, by name, URI or path, at MOUNT_POINT: what `mount -t mountd` calls."""
    from mountd.commands import mount as commands

    chosen: Mapping[str, str] = parse_options(options)
    if not fake:
        commands.start(store, mount_point, chosen)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("mount_point")
@click.option("-l", "lazy", is_flag=True, help="Take it out of the tree at once; what is pending is stored afterwards.")
@click.option("-f", "-n", "-r", "-v", "-i", "ignored", is_flag=True, help="As for umount(8); nothing to mountd.")
@click.option("-t", "ignored_type", metavar="TYPE", help="As for umount(8); nothing to mountd.")
def unmount(mount_point: str, lazy: bool, **ignored: object) -> None:
    """Unmount what is at MOUNT_POINT, after its pending writes: what `umount` calls."""
    from mountd.commands import mount as commands

    if lazy:
        from mountd.daemon import mountpoint

        return mountpoint.detach(Path(mount_point), lazy=True)
    return commands.stop(mount_point)


def main_mount() -> NoReturn:
    """Be /sbin/mount.mountd."""
    sys.exit(_run(mount, "mount.mountd"))


def main_unmount() -> NoReturn:
    """Be /sbin/umount.fuse.mountd."""
    sys.exit(_run(unmount, "umount.fuse.mountd"))


def _run(command: click.Command, name: str) -> int:
    from mountd.redaction import without_secrets

    try:
        command.main(prog_name=name, standalone_mode=False)
    except (click.ClickException, UserError, MountdError) as error:
        said = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"{name}: error: {' '.join(without_secrets(said).split())}", err=True)
        misused = isinstance(error, click.UsageError) or getattr(error, "exit_code", None) in (2, EXIT_CONFIG)
        return MISUSED if misused else FAILED
    except (click.Abort, KeyboardInterrupt):
        return FAILED
    return 0
