"""Which processes use a mount, as fuser(1) tells it. Only links below /proc are read: nothing is asked of the mount."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# So many are named in a message; there may be hundreds.
NAMED = 5


@dataclass(frozen=True, slots=True)
class User:
    """A process with an open or mapped file, or its working directory, at `path`."""

    pid: int
    command: str
    path: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) with {self.path}"


def users_of(mount_point: Path) -> list[User]:
    """Return the processes that use a mount, each with the first thing found, as far as this user may see them."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            path = next(_paths_below(folder, str(mount_point)), None)
            if path is not None:
                found.append(User(int(folder.name), _command(folder), path))
    return sorted(found, key=lambda user: user.pid)


def named(users: list[User]) -> str:
    """Return a list of users for a message, empty for none."""
    more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
    return ", ".join(map(str, users[:NAMED])) + more


def _paths_below(process: Path, mount_point: str) -> Iterator[str]:
    for path in (*_links(process), *_mapped(process)):
        if path == mount_point or path.startswith(mount_point.rstrip("/") + "/"):
            yield path


def _links(process: Path) -> Iterator[str]:
    links = [process / "cwd", process / "root", process / "exe"]
    with contextlib.suppress(OSError):
        links += (process / "fd").iterdir()
    for link in links:
        with contextlib.suppress(OSError):
            yield os.readlink(link)


def _mapped(process: Path) -> Iterator[str]:
    with contextlib.suppress(OSError), (process / "maps").open(errors="surrogateescape") as lines:
        for line in lines:
            *_, path = line.rstrip("\n").split(maxsplit=5)
            yield path


def _command(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "comm").read_text(errors="replace").strip()
    return "?"
