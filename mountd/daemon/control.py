"""The daemon's control socket: one JSON line asks, JSON lines answer.

Answers have a `kind`: any number of `progress` and one `result`, each with a `value`, or an `error` with `message` and
`exit_code`. The socket is in a folder that only its owner can enter, and the peer's user id is looked at on top.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import trio

from mountd import units
from mountd.errors import EXIT_FAILURE, EXIT_USAGE, MountdError, UserError, exit_code_of
from mountd.private import private_folder
from mountd.redaction import without_secrets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    Command = Callable[[Mapping[str, Any], Callable[[Any], Awaitable[None]]], Awaitable[Any]]

log = logging.getLogger(__name__)

MAX_REQUEST = 65536
# Whoever connects has something to ask: a client gets this many seconds to say it.
PATIENCE = 10.0
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Control:
    """Serves the socket. `commands` maps names to functions of the request's arguments and of what sends progress."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands

    async def serve(
        self,
        path: Path,
        *,
        answers: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take requests until cancelled; `answers` runs what answers them, and may do so for longer."""
        with listening(path) as listener:
            task_status.started()
            await trio.serve_listeners(self.answer, [trio.SocketListener(listener)], handler_nursery=answers)

    async def answer(self, stream: trio.SocketStream) -> None:
        """Read one request and answer it; whatever it is, the caller goes on."""
        if _peer(stream) not in (os.geteuid(), 0):
            return
        request = b""
        try:
            with trio.move_on_after(PATIENCE):
                request = await _read_line(stream)
            if request:
                await self._run(stream, request)
        except* _GONE:
            pass  # a client that goes away in the middle is no failure of ours

    async def _run(self, stream: trio.SocketStream, request: bytes) -> None:
        async def say(kind: str, **fields: Any) -> None:
            await stream.send_all(json.dumps(fields | {"kind": kind}).encode() + b"\n")

        try:
            asked = json.loads(request)
            command = self._commands[asked["do"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return await say("error", message="the daemon does not know this request", exit_code=EXIT_USAGE)
        try:
            result = await command(asked, lambda value: say("progress", value=value))
        except UserError as exc:
            return await say("error", message=without_secrets(str(exc)), exit_code=exc.exit_code)
        except MountdError as exc:
            return await say("error", message=without_secrets(str(exc)), exit_code=exit_code_of(exc))
        except _GONE:
            raise
        except Exception as exc:
            if isinstance(exc, ExceptionGroup) and exc.split(_GONE)[1] is None:
                raise
            log.exception("bug: the request %r failed", asked["do"])
            return await say("error", message="internal error; the log has the details", exit_code=EXIT_FAILURE)
        return await say("result", value=result)


def path_in(request: Mapping[str, Any]) -> str | None:
    """Return the path that a request names. Raises UserError for what is none."""
    path = request.get("path")
    if path is None or (isinstance(path, str) and "\0" not in path and _is_name(path)):
        return path
    raise UserError("a request's path must be a path")


def _is_name(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def timeout_in(request: Mapping[str, Any]) -> float:
    """Return the time limit of a request in seconds. Raises UserError for what is none."""
    try:
        return units.parse_duration(request.get("timeout"))
    except ValueError as exc:
        raise UserError(f"a request's timeout: {exc}") from exc


async def _read_line(stream: trio.SocketStream) -> bytes:
    """Return the client's request, nothing where it is too long or the client has gone."""
    line = b""
    while not line.endswith(b"\n"):
        piece = await stream.receive_some(MAX_REQUEST)
        if not piece or len(line) > MAX_REQUEST:
            return b""
        line += piece
    return line


def _peer(stream: trio.SocketStream) -> int:
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


@contextlib.contextmanager
def listening(path: Path) -> Iterator[trio.socket.SocketType]:
    """Yield a socket that listens at `path`, which is removed afterwards."""
    private_folder(path.parent)
    path.unlink(missing_ok=True)
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with short_path(path) as short:
            raw = socket.socket(fileno=os.dup(listener.fileno()))
            with raw:
                raw.bind(short)
        path.chmod(0o600)
        listener.listen(8)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield another spelling of a socket's path: addresses have room for 107 bytes, folders can be longer."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
