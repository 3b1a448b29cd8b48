"""One daemon per store and user: the store's folder of local state is locked while it is in use."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from mountd.errors import EXIT_BUSY, UserError
from mountd.private import open_private, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold `folder` for the length of the block. Raises UserError (EXIT_BUSY) naming the process that has it."""
    private_folder(folder.parent)
    private_folder(folder)
    with open(open_private(folder / "lock", os.O_RDWR | os.O_CREAT), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"another daemon (process {holder}) holds the store; its local data is in {folder}", EXIT_BUSY
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
