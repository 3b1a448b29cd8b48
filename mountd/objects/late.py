"""Requests that were given up, and may arrive all the same.

What was not answered in time can still be on its way: in a buffer of the network, or in the queue of the service. Its
condition keeps it from doing harm while there is another version than it was sent for. But versions come back: a name
is as free as before once its object was removed, and where versions are made of contents, as ETags of S3 usually are,
an object that gets its old bytes has its old version. So an object is not changed again before a request of that kind
has had its time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

from mountd.errors import Busy, MountdError, Throttled, Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from mountd.objects.interface import Key

# Whatever held a request up is given as long again once the service is heard of, within these bounds, in seconds. Where
# the connection broke at once, the service has the request and carries it out now, or never.
LEAST, MOST = 0.5, 10.0


class Late:
    """Keys for which changes were sent that nobody knows the end of."""

    def __init__(self) -> None:
        self._silent: dict[Key, float] = {}  # since when nothing was heard
        self._until: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._silent) + len(self._until)

    @contextlib.contextmanager
    def sent(self, keys: Collection[Key]) -> Iterator[None]:
        """Note what becomes of a change of these keys that is sent in the block."""
        begun = trio.current_time()
        try:
            yield
        except (Throttled, Busy):  # refused
            raise
        except (Unavailable, trio.Cancelled):
            self._gave_up(keys, begun)
            raise
        except MountdError:
            self.heard(keys)
            raise
        self.heard(keys)

    def _gave_up(self, keys: Collection[Key], begun: float) -> None:
        if trio.current_time() - begun < LEAST:
            self._wait(dict.fromkeys(keys, LEAST))
        else:
            self._silent = dict.fromkeys(keys, begun) | self._silent

    def heard(self, keys: Collection[Key]) -> None:
        """The service has answered a request for these keys."""
        now = trio.current_time()
        silent = self.silent(keys)
        if silent:
            self._wait({key: min(now - self._silent.pop(key), MOST) for key in silent})

    def _wait(self, seconds: Mapping[Key, float]) -> None:
        now = trio.current_time()
        left = {key: end for key, end in self._until.items() if end > now}
        self._until = left | {key: max(now + more, left.get(key, 0.0)) for key, more in seconds.items()}

    def silent(self, keys: Collection[Key]) -> list[Key]:
        """Return the keys of which nothing was heard since a change of them was given up."""
        return [key for key in keys if key in self._silent] if self._silent else []

    async def over(self, keys: Collection[Key]) -> None:
        """Return when no change of these keys that was given up can arrive any more."""
        ends = [self._until[key] for key in keys if key in self._until]
        if ends:
            await trio.sleep_until(max(ends))
