"""The settings file: read as a whole, changed as a whole, never seen half written.

Keys that this version does not know survive a change; comments do not, because TOML writers drop them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from mountd.errors import EXIT_CONFIG, UserError
from mountd.private import make_folder, open_private

if TYPE_CHECKING:
    from collections.abc import Iterator


class SettingsFile:
    """`config.toml`, which need not exist. Threads and processes exclude each other while they change it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """Return the settings, empty where there is no file.

        Raises UserError (EXIT_CONFIG) where they cannot be read.
        """
        try:
            return tomllib.loads(self.path.read_bytes().decode())
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError) as error:  # tomllib's own, and those of what it is made of
            raise UserError(f"{self.path} is not valid TOML: {error}", EXIT_CONFIG) from error
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}", EXIT_CONFIG) from error

    def open_to_others(self) -> bool:
        """Tell whether other users of this machine may read the file."""
        try:
            return bool(stat.S_IMODE(self.path.stat().st_mode) & 0o077)
        except OSError:
            return False

    @contextlib.contextmanager
    def change(self) -> Iterator[dict[str, Any]]:
        """Yield the settings to be changed in place; they are written when the block ends, and only without an
        exception.

        Other processes that change the file wait, so no change is lost. Raises UserError (EXIT_CONFIG).
        """
        try:
            make_folder(self.path.parent)
            beside = self.path.with_name(self.path.name + ".lock")
            with open(open_private(beside, os.O_WRONLY | os.O_CREAT), "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released with the descriptor, also when the process is killed
                settings = self.read()
                yield settings
                self._write(settings)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}", EXIT_CONFIG) from error

    def _write(self, settings: dict[str, Any]) -> None:
        # A link (people keep their settings in a repository) stays a link: its target is replaced.
        target = Path(os.path.realpath(self.path))
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                tomli_w.dump(settings, file)
                file.flush()
                os.fsync(descriptor)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
        _sync_folder(target.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
