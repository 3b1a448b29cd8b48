"""Bringing a file's snapshot to the store with the fewest bytes and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from mountd.data.extents import Span
from mountd.errors import MountdError, Stale, Unavailable, Unsupported, VersionChanged
from mountd.writeback.ahead import Ahead
from mountd.writeback.doubt import Doubts, find, fingerprint
from mountd.writeback.parts import Make, Part, pieces, plan, plan_append

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.data.content import Content
    from mountd.data.inplace import Originals
    from mountd.data.snapshot import Snapshot
    from mountd.objects.interface import Buffer, Key, ObjectInfo, ObjectStore, Upload, Version

# Parts on their way at a time, over all files: enough to fill a fast link, and a bound on memory (times the part size).
PARALLEL_PARTS = 6


class Uploader:
    """Uploads of one mount.

    Args:
        nursery: where parts are sent ahead.
        part_size: bytes; raised to what the store demands. Files up to twice this size are sent in one request.
        originals: takes backing files as they are, where the store is a folder of this machine.
    """

    def __init__(
        self, store: ObjectStore, *, nursery: trio.Nursery, part_size: int, originals: Originals | None = None
    ) -> None:
        self._originals = originals
        self._store = store
        self._nursery = nursery
        self._part_size = max(part_size, store.capabilities.min_part)
        self._limiter = trio.CapacityLimiter(PARALLEL_PARTS)
        self._ahead: dict[Content, Ahead] = {}
        self._doubts = Doubts()

    def wrote(self, content: Content, key: Key, start: int, data: Buffer) -> None:
        """Note that `data` was written at `start`; parts that it completed start on their way."""
        if self._originals is not None:  # what would go ahead is the copying that is to be saved
            return
        if content.size <= 2 * self._part_size:
            return
        ahead = self._ahead.get(content)
        if ahead is not None and ahead.key != key:  # renamed: what is under way would get the old name
            self._nursery.start_soon(self._ahead.pop(content).abort)
            ahead = None
        if ahead is None:
            ahead = self._ahead[content] = Ahead(self._store, content, key, part_size=self._part_size)
            finished = ahead.finished_parts(0, start)  # what was written before the file was found to be large
        else:
            finished = []
        for number, span in [*finished, *ahead.wrote(start, data)]:
            self._nursery.start_soon(ahead.send, number, span, self._limiter)

    async def forget(self, content: Content) -> None:
        """The file will not be uploaded: free what was sent ahead."""
        self._doubts.forget(content)
        ahead = self._ahead.pop(content, None)
        if ahead is not None:
            await ahead.abort()

    async def made(self, content: Content, key: Key) -> ObjectInfo | None:
        """Return the object `key` if uploads of ours have made it whose answers were lost; without one, ask nothing."""
        return await self._doubts.find(self._store, content, key)

    async def upload(self, content: Content, key: Key, *, expect: Version | None) -> ObjectInfo:
        """Make the object `key` out of the content's present state, and mark what was sent as clean.

        Raises VersionChanged when the key does not hold `expect`; then, as after any failure, the content is as dirty
        as before.
        """
        if self._originals is not None:
            return await self._into_folder(self._originals, content, key, expect)
        try:
            return await self._upload(content, key, expect)
        except VersionChanged:
            # What an earlier attempt has made, of the file as it was then, is our own.
            found = await self.made(content, key)
            if found is None:
                raise
            content.base = found
            return await self._upload(content, key, found.version)

    async def _upload(self, content: Content, key: Key, expect: Version | None) -> ObjectInfo:
        if content in self._ahead and self._ahead[content].key != key:
            await self._ahead.pop(content).abort()
        snapshot, sent, ahead = await self._freeze(content)
        try:
            info = await self._send_or_find(content, snapshot, key, expect=expect, ahead=ahead, sent=sent)
            content.settle(snapshot, info)
        finally:
            content.thaw(snapshot)
        self._doubts.forget(content)
        return info

    async def _send_or_find(
        self,
        content: Content,
        snapshot: Snapshot,
        key: Key,
        *,
        expect: Version | None,
        ahead: Ahead | None,
        sent: frozenset[int],
    ) -> ObjectInfo:
        """Send a snapshot, and where the store has another version than expected, find out whether that is it."""
        try:
            return await self._send(content, snapshot, key, expect=expect, ahead=ahead, sent=sent)
        except VersionChanged:
            found = await find(self._store, await fingerprint(content, snapshot), key)
            if found is None:
                raise
            return found
        except Unavailable:
            self._doubts.note(content, await fingerprint(content, snapshot))
            raise

    async def _into_folder(
        self, originals: Originals, content: Content, key: Key, expect: Version | None
    ) -> ObjectInfo:
        """Let the backing file be the folder's own where it is whole and on the same disk; nothing stays here twice."""
        info = await content.give_away(lambda descriptor: originals.adopt(descriptor, key, expect=expect))
        if info is None:
            info = await self._upload(content, key, expect)
            if content.evictable:
                content.evict(0, content.size)
        return info

    async def upload_beside(self, content: Content, key: Key, *, expect: Version | None) -> ObjectInfo:
        """Put the content's present state under another key; the content itself stays as it is.

        Only what is not here is read from the version that it is based on: the store may not have that any more.
        """
        snapshot, _, ahead = await self._freeze(content)
        try:
            if ahead is not None:
                await ahead.abort()
            return await self._send(content, snapshot, key, expect=expect, ahead=None, sent=frozenset(), copying=False)
        finally:
            content.thaw(snapshot)

    async def _freeze(self, content: Content) -> tuple[Snapshot, frozenset[int], Ahead | None]:
        ahead = self._ahead.pop(content, None)
        if ahead is not None:
            await ahead.settle_flights()
        snapshot = await content.freeze()
        sent = ahead.sent() if ahead is not None else frozenset[int]()
        if ahead is not None:
            ahead.detach()
        return snapshot, sent, ahead

    async def _send(
        self,
        content: Content,
        snapshot: Snapshot,
        key: Key,
        *,
        expect: Version | None,
        ahead: Ahead | None,
        sent: frozenset[int],
        copying: bool = True,
    ) -> ObjectInfo:
        if snapshot.size <= 2 * self._part_size:
            if ahead is not None:
                await ahead.abort()
            data = await self._assemble(content, snapshot, Span(0, snapshot.size))
            return await self._store.put(key, data, expect=expect)
        upload = await (ahead.upload() if ahead is not None else self._store.open_upload(key, replaces=expect))
        try:
            planned = await self._appended(content, snapshot, upload, sent) if copying else None
            planned = planned or self._plan(content, snapshot, sent, copying=copying)
            numbers = await self._make_parts(content, snapshot, upload, planned)
            return await upload.complete(numbers, expect=expect)
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(10):
                await _abort_quietly(upload)
            raise

    def _plan(self, content: Content, snapshot: Snapshot, sent: frozenset[int], *, copying: bool) -> list[Part]:
        can = self._store.capabilities
        return plan(
            snapshot.size,
            self._part_size,
            dirty=snapshot.dirty(),
            sent=sent,
            copyable=content.base.size if copying and content.base and can.part_copy else 0,
            copy_limit=can.max_copy_part,
        )

    async def _appended(
        self, content: Content, snapshot: Snapshot, upload: Upload, sent: frozenset[int]
    ) -> list[Part] | None:
        """Take the object over whole where bytes were only appended; return what remains to be made, if that worked."""
        can, base, dirty = self._store.capabilities, content.base, snapshot.dirty()
        # Only some services take parts of any length.
        if base is None or not can.part_copy or can.min_part > 1 or base.size < 2 * self._part_size:
            return None
        if snapshot.size <= base.size or not dirty or dirty[0].start < base.size:
            return None
        planned = plan_append(snapshot.size, self._part_size, start=base.size, sent=sent)
        try:
            await upload.copy_part(planned[0].number, 0, base, 0, base.size)
        except Unsupported:
            return None
        return [Part(planned[0].number, planned[0].span, Make.KEEP), *planned[1:]]

    async def _make_parts(
        self, content: Content, snapshot: Snapshot, upload: Upload, planned: Sequence[Part]
    ) -> list[int]:
        """Make all parts, several at a time, and return the numbers of all of them in order."""
        failures: list[MountdError] = []
        numbers: set[int] = {part.number for part in planned}

        async def make(part: Part) -> None:
            try:
                async with self._limiter:
                    if not failures:
                        numbers.update(await self._make_part(content, snapshot, upload, part))
            except MountdError as exc:
                failures.append(exc)

        async with trio.open_nursery() as nursery:
            for part in planned:
                if part.make is not Make.KEEP:
                    nursery.start_soon(make, part)
        if failures:
            raise failures[0]
        return sorted(numbers)

    async def _make_part(self, content: Content, snapshot: Snapshot, upload: Upload, part: Part) -> list[int]:
        """Make a part; return the numbers of the parts that it has become."""
        start, end = part.span
        if part.make is Make.COPY and content.base is not None:
            try:
                await upload.copy_part(part.number, start, content.base, start, end - start)
                return [part.number]
            except Unsupported:
                single = list(pieces(part, self._part_size))
            if len(single) > 1:  # what cannot be copied at once can perhaps be copied in part
                return [number for each in single for number in await self._make_part(content, snapshot, upload, each)]
        await upload.put_part(part.number, start, await self._assemble(content, snapshot, part.span))
        return [part.number]

    async def _assemble(self, content: Content, snapshot: Snapshot, span: Span) -> bytearray:
        """Return bytes of the snapshot; what is not here is read from the version that is being replaced."""
        data, missing = await content.read_frozen(snapshot, *span)
        snapshot.sent(*span)
        for gap in missing:
            if content.base is None:
                raise Stale("bytes of the file are neither here nor in the store")
            chunk = await self._store.read_range(
                content.base.key, gap.start, gap.end - gap.start, version=content.base.version
            )
            if len(chunk.data) != gap.end - gap.start:
                raise Unavailable(
                    f"{content.base.key}: the store sent {len(chunk.data)} of {gap.end - gap.start} bytes"
                )
            data[gap.start - span.start : gap.end - span.start] = chunk.data
        return data


async def _abort_quietly(upload: Upload) -> None:
    # The failure that led here is the one to report; what stays behind is swept by the bucket's lifecycle rules.
    try:
        await upload.abort()
    except MountdError:
        return
