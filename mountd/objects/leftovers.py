"""What uploads hold in the store until they are complete: noted on local disk, for the mount after one that was killed.

Services keep the parts of an upload that nobody completes or aborts, and bill for them; and no listing tells whose they
are. So each upload is noted before its first part is sent, in the store's state folder, which one daemon has to itself:
what the next mount finds there is ours, and nobody uses it any more. A note is a small file. It is not synced, since a
killed daemon loses no file; what a crash of the machine loses is left to the lifecycle rules of the bucket.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, TextIO

import trio

from mountd.errors import MountdError, NotFound, UserError
from mountd.private import open_private, private_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

# A mount does not wait longer for the removal of what an earlier one left, in seconds; the next one has another go.
PATIENCE = 20.0
AT_ONCE = 16


class Leftovers:
    """The notes of one mount, in `folder` where there is one. A disk that is full costs the note, not the upload."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def note(self, key: str, token: str) -> None:
        """The upload of `key` that the service knows by `token` begins to hold something."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                private_folder(self._folder)
                with open(open_private(_path(self._folder, token), os.O_WRONLY | os.O_CREAT), "w") as file:
                    file.write(json.dumps([key, token]))

    def forget(self, token: str) -> None:
        """The upload holds nothing any more."""
        if self._folder is not None:
            with contextlib.suppress(OSError):  # then it is given up once more, which does no harm
                _path(self._folder, token).unlink(missing_ok=True)

    async def abandon(self, remove: Callable[[str, str], Awaitable[None]]) -> None:
        """Call `remove(key, token)` for each upload that is noted; to be called before the first one begins.

        What cannot be removed, or not in time, stays noted.
        """
        limiter = trio.CapacityLimiter(AT_ONCE)

        async def give_up(key: str, token: str) -> None:
            with contextlib.suppress(MountdError):
                async with limiter:
                    with contextlib.suppress(NotFound):
                        await remove(key, token)
                self.forget(token)

        found = await trio.to_thread.run_sync(self._noted)
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for key, token in found:
                    nursery.start_soon(give_up, key, token)

    def _noted(self) -> list[tuple[str, str]]:
        found = []
        with contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()) if self._folder is not None else ():
                with contextlib.suppress(OSError, ValueError, UserError), _opened(path) as file:  # or none of ours
                    key, token = json.loads(file.read())
                    found.append((str(key), str(token)))
        return found


def _opened(path: Path) -> TextIO:
    return open(open_private(path, os.O_RDONLY))


def _path(folder: Path, token: str) -> Path:
    return folder / hashlib.sha256(token.encode()).hexdigest()[:32]
