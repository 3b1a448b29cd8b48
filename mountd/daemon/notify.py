"""Telling the service manager how the daemon is doing, in systemd's protocol: ready, alive, stopping.

Source: sd_notify(3). A watchdog that is not told in time kills the process, and the unit starts it anew.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mountd.config import ServiceManager


class Notifier:
    """What a daemon says to the manager that has started it; to nobody where that is `None`."""

    def __init__(self, manager: ServiceManager | None) -> None:
        self._manager = manager

    def tell(self, **variables: str) -> None:
        """Send assignments such as `READY="1"`. A manager that has gone away is no failure."""
        if self._manager is None:
            return
        address = self._manager.address
        text = "\n".join(f"{name}={value}" for name, value in variables.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
            sending.settimeout(1.0)
            try:
                sending.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
            except OSError:
                return

    async def keep_alive(self, mount_point: Path, *, is_mounted: Callable[[], bool]) -> None:
        """Tell the watchdog, where there is one, for as long as the mount answers; cancelled at the end.

        The question goes through the kernel, so that it tells of the whole way there and back. The store is not asked:
        no restart mends that.
        """
        if self._manager is None or self._manager.watchdog is None:
            return
        one = trio.CapacityLimiter(1)  # a question that was never answered keeps further ones from being asked
        while True:
            with trio.move_on_after(self._manager.watchdog / 2):
                if is_mounted():
                    await _ask(mount_point, one)
                self.tell(WATCHDOG="1")
                await trio.sleep_forever()


async def _ask(mount_point: Path, limiter: trio.CapacityLimiter) -> None:
    try:
        await trio.to_thread.run_sync(os.statvfs, mount_point, abandon_on_cancel=True, limiter=limiter)
    except OSError:  # an answer as well: it is being unmounted
        return
