"""Files with bytes that were acknowledged and that the store does not have yet.

A file of the spool never changes. It is a second name of the backing file where all bytes of a file are in that, so
nothing is written twice; the backing file is copied before it is written to the next time (see `Content`).
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from mountd import crash
from mountd.data import disk
from mountd.errors import Corrupt, from_os_error
from mountd.private import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Spool:
    """The files of one mount, in `folder`. Methods block on the disk, and raise NoSpace and its like."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        private_folder(folder)

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self._folder / name

    def link(self, file: Path) -> str:
        """Take a file of the same disk by a second name, durably, and return that."""
        name = secrets.token_hex(16)
        try:
            os.link(file, self.path(name))
            crash.point("spool-linked")
            _sync(self.path(name))
            _sync(self._folder)
        except OSError as exc:
            self.remove([name])
            raise from_os_error(exc) from exc
        return name

    def begin(self, size: int) -> tuple[str, int]:
        """Make a file of `size` bytes without blocks; return its name, and a descriptor for `finish`."""
        name = secrets.token_hex(16)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path(name), flags, 0o600)
            os.ftruncate(descriptor, size)
        except OSError as exc:
            raise from_os_error(exc) from exc
        return name, descriptor

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Put bytes into a file that was begun."""
        try:
            disk.write_all(descriptor, data, offset)
        except OSError as exc:
            raise from_os_error(exc) from exc

    def finish(self, descriptor: int) -> None:
        """Make a file durable and close it."""
        try:
            crash.point("spool-written")
            os.fsync(descriptor)
            _sync(self._folder)
        except OSError as exc:
            raise from_os_error(exc) from exc
        finally:
            os.close(descriptor)

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return bytes of a file. Raises Corrupt where somebody has removed or cut it."""
        try:
            descriptor = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise Corrupt(f"{self.path(name)} is gone: somebody has removed it") from None
        except OSError as exc:
            raise from_os_error(exc) from exc
        try:
            return disk.read_all(descriptor, start, end)
        except OSError as exc:
            raise from_os_error(exc) from exc
        finally:
            os.close(descriptor)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        for name in names:
            if name:
                self.path(name).unlink(missing_ok=True)

    def sweep(self, known: set[str]) -> None:
        """Remove what no change needs: a crash came before the change was acknowledged, or after it had arrived."""
        for path in list(self._folder.iterdir()):
            if path.name not in known:
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
