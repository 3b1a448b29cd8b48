"""Asking a running daemon, from another process. Standard library only."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

from mountd.daemon.records import watched
from mountd.errors import EXIT_FAILURE, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mountd.daemon.records import MountRecord

# A daemon that works says something at least this often (seconds): progress, or the answer.
SILENCE = 60.0
# How long one that was killed may take until its last thread has ended, once it has not answered for so long.
ENDING = 5.0


def ask(record: MountRecord, do: str, *, progress: Callable[[Any], None] = lambda _: None, **arguments: Any) -> Any:
    """Return the daemon's answer. Raises UserError with its message, or when it does not answer."""
    with _connected(record) as connection:
        connection.sendall(json.dumps(arguments | {"do": do}).encode() + b"\n")
        for line in _lines(connection, record):
            answer = json.loads(line)
            if answer["kind"] == "progress":
                progress(answer["value"])
            elif answer["kind"] == "error":
                raise UserError(answer["message"], answer["exit_code"])
            else:
                return answer["value"]
    raise UserError(f"the daemon of {record.mount_point} (process {record.pid}) ended without an answer", EXIT_FAILURE)


def goes_on(record: MountRecord) -> bool:
    """Tell whether a daemon that holds its lock goes on; the end of one that was killed is waited for.

    The lock is held until the last of its threads has ended. One that hangs goes on.
    """
    with watched(record) as ended:
        try:
            with _connected(record) as connection:
                connection.settimeout(ENDING)
                connection.sendall(b'{"do": "status"}\n')
                if connection.recv(65536):
                    return True
        except (UserError, OSError):
            pass  # nobody listens, or nobody did in time: the kernel takes a connection for who was killed, too
        return not ended(ENDING)


def _connected(record: MountRecord) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SILENCE)
    try:
        _connect(connection, record.socket)
    except OSError as exc:
        connection.close()
        raise UserError(
            f"the daemon of {record.mount_point} (process {record.pid}) does not answer: {exc.strerror or exc}",
            EXIT_FAILURE,
        ) from exc
    return connection


def _connect(connection: socket.socket, path: Path) -> None:
    # Through the folder's descriptor: socket addresses have room for 107 bytes only.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _lines(connection: socket.socket, record: MountRecord) -> Iterator[bytes]:
    left = b""
    while True:
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            raise UserError(
                f"the daemon of {record.mount_point} (process {record.pid}) has said nothing for {SILENCE:g} s",
                EXIT_FAILURE,
            ) from None
        if not piece:
            return
        *lines, left = (left + piece).split(b"\n")
        yield from lines
