"""Asking a running daemon, from another process. Standard library only."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

from mountd.errors import EXIT_FAILURE, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mountd.daemon.records import MountRecord

# A daemon that works says something at least this often (seconds): progress, or the answer.
SILENCE = 60.0


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
