"""Which mounts are running: one small file each, which its daemon keeps locked for as long as it lives.

The lock tells the living from the dead: a pid can be given to another process, a lock goes with its owner. Only the
standard library is needed to read them, because `mountd.path()` does so.

They are read and their locks tried each time that somebody asks, as any could have ended since; only what a text means
is remembered. So an answer is never outdated, and costs a few calls of the kernel for each mount.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import select
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mountd.config import runtime_folder
from mountd.private import open_private, private_folder, require_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class MountRecord:
    """A mount: store name, root URI, where it is mounted, its daemon's process id and control socket."""

    store: str
    root: str
    mount_point: Path
    pid: int
    socket: Path

    @property
    def file(self) -> Path:
        """The record on disk."""
        return self.socket.with_suffix(".json")

    def to_json(self) -> str:
        """Return the record as JSON; `from_json` takes it back."""
        return json.dumps({name: str(value) if name != "pid" else value for name, value in asdict(self).items()})

    @classmethod
    def from_json(cls, text: str) -> MountRecord:
        """Return the record that `to_json` wrote. Raises ValueError."""
        try:
            fields = json.loads(text)
            return cls(
                store=fields["store"],
                root=fields["root"],
                mount_point=Path(fields["mount_point"]),
                pid=int(fields["pid"]),
                socket=Path(fields["socket"]),
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(f"not a record of a mount: {exc}") from exc


# More than any record holds.
_LIMIT = 64 * 1024


def active_mounts() -> list[MountRecord]:
    """Return this user's mounts whose daemon lives, by mount point. Raises UserError where others could write them."""
    return [record for record, alive in _all() if alive]


def dead_mounts() -> list[MountRecord]:
    """Return records that killed daemons have left behind."""
    return [record for record, alive in _all() if not alive]


def _all() -> list[tuple[MountRecord, bool]]:
    found = []
    folder = runtime_folder()
    try:
        require_private(folder)  # what is in it decides whom this user's programs talk to
        names = os.listdir(folder)
    except OSError:  # no mount has ever been
        return []
    for name in names:
        if name.endswith(".json"):
            with contextlib.suppress(OSError, ValueError):
                found.append(_read(f"{folder}/{name}"))
    return sorted(found, key=lambda pair: pair[0].mount_point)


def _read(path: str) -> tuple[MountRecord, bool]:
    """Return a record, and whether its daemon lives. Raises OSError, ValueError."""
    descriptor = open_private(path, os.O_RDONLY)
    try:
        return _parsed(os.read(descriptor, _LIMIT).decode()), not _lock(descriptor)
    finally:
        os.close(descriptor)


_parsed = functools.lru_cache(maxsize=64)(MountRecord.from_json)


def _lock(descriptor: int) -> bool:
    """Try to take the lock that a living daemon holds; it is given back when the file is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def published(record: MountRecord) -> Iterator[None]:
    """Let others find the mount for the length of the block."""
    private_folder(record.file.parent)
    partial = record.file.with_suffix(f".{os.getpid()}")
    partial.unlink(missing_ok=True)
    with open(open_private(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        # Locked before it has its name: nobody ever sees a record that looks dead.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(record.to_json())
        file.flush()
        partial.rename(record.file)
        try:
            yield
        finally:
            record.file.unlink(missing_ok=True)


@contextlib.contextmanager
def watched(record: MountRecord) -> Iterator[Callable[[float], bool]]:
    """Yield what waits for the daemon's end, at most so many seconds, and tells whether it has come.

    Opened while the daemon is known to live, the descriptor stays with that process whoever gets its number next.
    """
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        yield lambda _: True
        return
    try:
        yield lambda timeout: bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)
