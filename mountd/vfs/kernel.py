"""What the kernel is told without having asked: names to be forgotten, and looked up anew when they are used next."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mountd.vfs.nodes import Directory, Ino


class Kernel:
    """The kernel's side of one mount.

    Attributes:
        drop: has it forget a name in a directory. Raises OSError. `None` while there is no kernel.
    """

    def __init__(self) -> None:
        self.drop: Callable[[Ino, bytes], None] | None = None
        self._wrong: list[tuple[Ino, bytes]] = []
        self._wake = trio.Event()

    async def forget(self, names: Sequence[tuple[Ino, bytes]]) -> None:
        """Have it forget names: numbers of directories, and names in them.

        That happens in a thread, because the kernel may have to wait for an answer of ours first; so no handler may
        wait for it.
        """
        if names and self.drop is not None:
            await trio.to_thread.run_sync(self._drop_all, names, abandon_on_cancel=True)

    def _drop_all(self, names: Sequence[tuple[Ino, bytes]]) -> None:
        for directory, name in names:
            drop = self.drop
            if drop is None:  # the mount has ended meanwhile
                return
            with contextlib.suppress(OSError):  # it has forgotten that by itself
                drop(directory, name)

    def forget_soon(self, places: Iterable[tuple[Directory, bytes]]) -> None:
        """Have it forget names that lead to something else than it takes them for, once the handlers are done."""
        self._wrong += [(directory.ino, name) for directory, name in places]
        self._wake.set()

    async def run(self) -> None:
        """Do what `forget_soon` asks for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            wrong, self._wrong = self._wrong, []
            await self.forget(wrong)
