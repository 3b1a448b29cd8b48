"""Credentials in files that somebody else renews: a refusal is the moment to look whether there are newer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from mountd.errors import Denied, UserError
from mountd.objects.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from mountd.objects.interface import ObjectStore

    Options = Mapping[str, Any]

T = TypeVar("T")


class RenewingStore(Layer):
    """Sends a request that was refused once more, where the files that the options refer to have changed.

    Args:
        opened_with: the options in use, secrets in place.
        read: returns them as they are now; raises UserError where a file is missing.
        reopen: has `inner` use others from now on.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        opened_with: Options,
        read: Callable[[], Options],
        reopen: Callable[[Options], None],
    ) -> None:
        super().__init__(inner)
        self._used = opened_with
        self._read = read
        self._reopen = reopen
        self._lock = trio.Lock()

    async def _request(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        used = self._used
        try:
            return await send()
        except Denied:
            if not await self._renewed(used):
                raise
        return await send()

    async def _renewed(self, used: Options) -> bool:
        """Tell whether other options than `used` are in use now."""
        async with self._lock:
            if self._used is used:
                try:
                    found = await trio.to_thread.run_sync(self._read)
                except UserError:  # being replaced just now, or gone
                    return False
                if found == used:
                    return False
                await trio.to_thread.run_sync(self._reopen, found)
                self._used = found
            return True
