"""Requests that failed for a passing reason, tried again within a budget of time.

Waits grow exponentially with full jitter (Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015), so that many clients do not come back at the same moment.

A request that changes something and whose answer was lost may have been carried out. Its repeat then meets its own
work, and the precondition fails: what the store holds is compared with what was sent before that is believed. It may
also be carried out later; see `late`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import trio

from mountd.errors import Busy, MountdError, NotFound, StoreFailure, Unavailable, VersionChanged
from mountd.objects.interface import ABSENT, Buffer, Key, ListPage, MiB, ObjectInfo, Version
from mountd.objects.late import Late
from mountd.objects.layer import Layer, LayerUpload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from mountd.objects.interface import ObjectStore, Upload

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
# Bytes of a copy that are compared with its source when nothing else tells who made it. It is rare, and a copy inside
# the store that fails in vain costs its caller as much.
COMPARED, COMPARED_AT_ONCE = 64 * MiB, 8 * MiB


class RetryingStore(Layer):
    """Repeats requests that met Unavailable (and its subclasses) or Busy.

    `budget`: seconds within which new attempts begin; `report` gets one line for each request that failed for good.
    """

    def __init__(self, inner: ObjectStore, *, budget: float, report: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(inner)
        self._budget = budget
        self._report = report
        self._late = Late()

    async def _request(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        return await self._repeat(name, send, settle=None)

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        page = await super().list_page(prefix, recursive=recursive, cursor=cursor, limit=limit, known=known)
        if page.cursor is not None and page.cursor == cursor:  # else whoever wants all of it would never be done
            raise StoreFailure(
                f"{prefix or 'the root'}: the service sends the same page of the listing again and again"
            )
        return page

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        return await self._change(
            "put",
            [key],
            lambda: self._inner.put(key, data, expect=expect),
            settle=None if expect is None else lambda: self._put_before(key, data, expect),
        )

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        return await self._change(
            "copy",
            [target],
            lambda: self._inner.copy(source, target, expect=expect, match=match),
            settle=None if expect is None else lambda: self._copied_before(source, target),
        )

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        await self._change(
            "delete",
            [key],
            lambda: self._inner.delete(key, expect=expect),
            settle=None if expect is None else lambda: self._deleted_before(key),
        )

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        await self._change("delete_many", versions, lambda: self._inner.delete_many(versions))

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None = None) -> ObjectInfo:
        return await self._change(
            "rename",
            [source.key, target],
            lambda: self._inner.rename(source, target, expect=expect),
            settle=lambda: self._renamed_before(source, target),
        )

    def _upload(self, inner: Upload, key: Key) -> Upload:
        return _RetriedUpload(inner, self, key)

    async def _change(
        self,
        name: str,
        keys: Collection[Key],
        send: Callable[[], Awaitable[T]],
        *,
        settle: Callable[[], Awaitable[T]] | None = None,
    ) -> T:
        """Send what changes these keys, once no earlier request can come in between; see `_repeat`."""

        async def noted() -> T:
            with self._late.sent(keys):
                return await send()

        if self._late:
            await self._hear_of(self._late.silent(keys))
            await self._late.over(keys)
        return await self._repeat(name, noted, settle=settle)

    async def _hear_of(self, silent: Sequence[Key]) -> None:
        """Have the service answer for one of these keys, which is as good as for all. Raises Unavailable, Busy."""
        if silent:
            try:
                await self.stat(silent[0])
            except (Unavailable, Busy):
                raise
            except MountdError:
                pass  # it is there
            self._late.heard(silent)

    async def _repeat(
        self, name: str, send: Callable[[], Awaitable[T]], *, settle: Callable[[], Awaitable[T]] | None
    ) -> T:
        """Send until it succeeds or the budget is used up.

        `settle` returns the result of an earlier attempt that was carried out though its answer was lost, and raises
        VersionChanged when there was none.
        """
        end = trio.current_time() + self._budget
        wait = FIRST_WAIT
        lost: MountdError | None = None
        while True:
            try:
                return await send()
            except (VersionChanged, NotFound):
                if settle is None or lost is None:
                    raise
                return await settle()
            except (Unavailable, Busy) as exc:
                left = end - trio.current_time()
                pause = max(random.uniform(0, wait), min(_asked(exc), left))
                if pause > left:
                    self._report(f"{name}: {exc}")
                    raise
                lost = exc
                await trio.sleep(pause)
                wait = min(2 * wait, LONGEST_WAIT)

    async def _put_before(self, key: Key, data: Buffer, expect: Version) -> ObjectInfo:
        if expect == ABSENT and not data:
            # An exclusive creation: an empty object could as well be somebody else's, and two winners are worse than
            # none.
            raise Unavailable(f"{key}: the answer to its creation was lost, so it cannot be told who made it")
        chunk = await self._inner.read_range(key, 0, len(data) + 1)
        if chunk.data != data:
            raise VersionChanged(f"{key} was changed by somebody else")
        return chunk.info

    async def _copied_before(self, source: ObjectInfo, target: Key) -> ObjectInfo:
        found = await self._inner.stat(target)
        # Where versions are made from contents, as ETags of S3 usually are, they tell; elsewhere the bytes do.
        if found.version != source.version and not await self._same_bytes(source, found):
            raise VersionChanged(f"{target} was changed by somebody else")
        return found

    async def _renamed_before(self, source: ObjectInfo, target: Key) -> ObjectInfo:
        found = await self._inner.stat(target)
        if found.size != source.size:
            raise VersionChanged(f"{target} was changed by somebody else")
        await self._deleted_before(source.key)
        return found

    async def _same_bytes(self, one: ObjectInfo, other: ObjectInfo) -> bool:
        """Compare two objects. Large ones are not believed to be the same: finding out would take too long."""
        if one.size != other.size or one.size > COMPARED:
            return False
        for start in range(0, one.size, COMPARED_AT_ONCE):
            here = await self._inner.read_range(one.key, start, COMPARED_AT_ONCE, version=one.version)
            there = await self._inner.read_range(other.key, start, COMPARED_AT_ONCE, version=other.version)
            if here.data != there.data:
                return False
        return True

    async def _deleted_before(self, key: Key) -> None:
        try:
            await self._inner.stat(key)
        except NotFound:
            return
        raise VersionChanged(f"{key} was changed by somebody else")


class _RetriedUpload(LayerUpload):
    """An upload that makes an object of a known key."""

    def __init__(self, inner: Upload, layer: RetryingStore, key: Key) -> None:
        super().__init__(inner, layer)
        self._change = layer._change
        self._key = key

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        return await self._change("complete", [self._key], lambda: self._inner.complete(numbers, expect=expect))


def _asked(error: MountdError) -> float:
    """Return the seconds for which the service asked to be left alone."""
    return error.retry_after if isinstance(error, Unavailable) else 0.0
