"""An upload gathered in a local file, for services that take an object only whole."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import trio

from mountd.errors import Unsupported, from_os_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mountd.objects.interface import Buffer, Key, ObjectInfo, Version


class SpooledUpload:
    """Parts go to their place in a nameless file, which `send` brings to the store when it is complete.

    `send(path, size, expect)` gets a path that is good as long as it runs.
    """

    def __init__(self, key: Key, send: Callable[[str, int, Version | None], Awaitable[ObjectInfo]]) -> None:
        self._key = key
        self._send = send
        self._file = tempfile.TemporaryFile(prefix="mountd-", buffering=0)  # noqa: SIM115  (closed by abort)
        self._ends: dict[int, int] = {}

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        try:
            await trio.to_thread.run_sync(_write_at, self._file.fileno(), data, offset)
        except OSError as exc:
            raise from_os_error(exc) from exc
        self._ends[number] = offset + len(data)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        raise Unsupported("this store cannot copy parts")

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        size = max((self._ends[number] for number in numbers), default=0)
        self._file.truncate(size)
        info = await self._send(f"/proc/self/fd/{self._file.fileno()}", size, expect)
        await self.abort()
        return info

    async def abort(self) -> None:
        await trio.lowlevel.checkpoint()
        self._file.close()


def _write_at(descriptor: int, data: Buffer, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
