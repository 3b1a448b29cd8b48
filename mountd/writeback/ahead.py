"""Sending the finished parts of a large file while the rest of it is still being written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from mountd.data.extents import Span, State
from mountd.errors import MountdError
from mountd.writeback.fresh import Fresh
from mountd.writeback.parts import part_at
from mountd.writeback.revisit import Revisits

if TYPE_CHECKING:
    from mountd.data.content import Content
    from mountd.objects.interface import Buffer, Key, ObjectStore, Upload

log = logging.getLogger(__name__)


class Ahead:
    """The upload that a file under construction has going, under the key that it had when that began.

    A part counts as sent as long as nothing in it has been written since its bytes were read; what was sent and then
    changed is sent again at the end. Where a format is known to go back and fill in a header, that part waits for it.
    Programs that set the length first and then write have not written what they have not come to yet.
    """

    def __init__(self, store: ObjectStore, content: Content, key: Key, *, part_size: int) -> None:
        self.key = key
        self._store = store
        self._content = content
        self._part_size = part_size
        self._sent: set[int] = set()
        self._flying: dict[int, trio.Event] = {}
        self._spoilt: set[int] = set()
        self._upload: Upload | None = None
        self._opening = trio.Lock()
        self._failed = False
        self._fresh = Fresh(part_size)
        self._revisits = Revisits()
        content.watchers.add(self._overwritten)

    def wrote(self, start: int, data: Buffer) -> list[tuple[int, Span]]:
        """Note a write; return the parts that it touched, if they are complete, not sent and not under way."""
        self._fresh.add(start, data)
        return self.finished_parts(start, start + len(data))

    def finished_parts(self, start: int, end: int) -> list[tuple[int, Span]]:
        """Return the parts in `[start, end)` that are complete, not sent and not under way."""
        if self._failed:
            return []
        found = []
        at = start
        while at < end:
            number, span = part_at(at, self._part_size)
            whole = span.end <= self._content.size
            fresh = number not in self._sent and number not in self._flying
            if whole and fresh and self._is_written(span):
                self._flying[number] = trio.Event()
                found.append((number, span))
            at = span.end
        return found

    def _is_written(self, span: Span) -> bool:
        content = self._content
        return content.extents.spans(*span, State.DIRTY) == [span] and not any(content.unwritten.spans(*span, 1))

    async def send(self, number: int, span: Span, limiter: trio.CapacityLimiter) -> None:
        """Send one part that `finished_parts` named; a failure only means that the end has more to do."""
        try:
            async with limiter:
                self._spoilt.discard(number)
                data: Buffer | None = self._fresh.take(number, span)
                if data is None:
                    data = await self._content.read_compared(*span)
                if data is not None and not self._revisits.expects(number, data):
                    upload = await self.upload()
                    await upload.put_part(number, span.start, data)
                    if number not in self._spoilt:
                        self._sent.add(number)
        except MountdError as exc:
            log.debug("%s: part %d could not be sent ahead: %s", self.key, number, exc)
            self._failed = True
        finally:
            self._spoilt.discard(number)
            self._flying.pop(number).set()

    async def upload(self) -> Upload:
        """Return the upload, begun at the first call."""
        async with self._opening:
            if self._upload is None:
                base = self._content.base
                self._upload = await self._store.open_upload(self.key, replaces=base.version if base else None)
        return self._upload

    def sent(self) -> frozenset[int]:
        """Return the parts that lie in the store as they are now. Call it in the same breath as a snapshot is taken."""
        return frozenset(self._sent)

    def detach(self) -> None:
        """Take no further notice of writes."""
        self._content.watchers.discard(self._overwritten)

    async def settle_flights(self) -> None:
        """Wait for the parts under way."""
        for landed in list(self._flying.values()):
            await landed.wait()

    async def abort(self) -> None:
        """Give the upload up."""
        self.detach()
        await self.settle_flights()
        if self._upload is not None:
            await self._upload.abort()

    def _overwritten(self, start: int, end: int) -> None:
        self._fresh.changed(start, end)
        at = start
        while at < end:
            number, span = part_at(at, self._part_size)
            self._sent.discard(number)
            if number in self._flying:
                self._spoilt.add(number)
            at = span.end
