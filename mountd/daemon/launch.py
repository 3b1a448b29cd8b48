"""Starting and stopping the daemon of a mount from another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mountd
from mountd.daemon import client, logs, mountpoint, records
from mountd.daemon.order import MountOrder
from mountd.daemon.records import MountRecord
from mountd.errors import EXIT_FAILURE, EXIT_PENDING, UserError
from mountd.private import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mountd.config import MountSettings
    from mountd.stores.store import StoreConfig

# After the mount is gone the daemon has only to write its index and to end.
LAST_STEPS = 30.0


def start(
    store: StoreConfig,
    mount_point: Path,
    settings: MountSettings,
    *,
    progress: Callable[[Any], None] = lambda _: None,
) -> MountRecord:
    """Mount a store in a process of its own and return once the mount can be used.

    What an earlier daemon has left half done is finished first; `progress` hears how much is left of that.

    Raises UserError with the daemon's reason when it cannot be mounted; then nothing is left running.
    """
    order = MountOrder(store, mount_point, settings)
    private_folder(order.data.parent)
    private_folder(order.data)
    reading, writing = os.pipe()
    with os.fdopen(reading) as report:
        try:
            process = _spawn(order, writing)
        finally:
            os.close(writing)
        process.wait()  # it only starts the daemon, which then belongs to nobody
        answer = {}
        for line in report:  # to the end: where there is an error, nothing is left running then
            answer = json.loads(line)
            if "progress" in answer:
                progress(answer["progress"])
    if "error" not in answer and "ready" not in answer:
        raise UserError(f"the daemon has died; its log: {order.data / 'mountd.log'}", EXIT_FAILURE)
    if "error" in answer:
        raise UserError(answer["error"], answer["exit_code"])
    return MountRecord.from_json(answer["ready"])


def _spawn(order: MountOrder, writing: int) -> subprocess.Popen[str]:
    with open(logs.opened(order.data / "mountd.log"), "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mountd.daemon", str(writing)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[writing],
            cwd=Path(mountd.__file__).parent.parent,  # so that the same mountd is found, installed or not
            start_new_session=True,  # the terminal's Ctrl-C and hang-up are not for the daemon
            text=True,
        )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(order.to_json())
    return process


def stop(record: MountRecord, *, timeout: float, progress: Callable[[Any], None] = lambda _: None) -> None:
    """Unmount after everything written is in the store, and return when the daemon has ended.

    Raises UserError when time runs out first (EXIT_PENDING) or the mount is in use (EXIT_BUSY): then it goes on.
    """
    with records.watched(record) as ended:
        client.ask(record, "unmount", progress=progress, timeout=timeout)
        if ended(LAST_STEPS):
            return
        raise UserError(f"{record.mount_point} is unmounted, but process {record.pid} is still at work", EXIT_PENDING)


def clear(record: MountRecord) -> None:
    """Remove what a killed daemon has left: its mount and its record."""
    mountpoint.clear_dead(record.mount_point)
    record.file.unlink(missing_ok=True)
    record.socket.unlink(missing_ok=True)
