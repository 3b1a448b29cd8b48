"""Bringing pending changes to the store: in order, for ever, and without taking anything of somebody else's away.

A store that cannot be reached holds everything up and is asked again after growing waits. A change that the store
refuses for a reason of its own, such as missing rights, is stuck: it is tried again as well, and what has to do with it
waits; the rest goes on.
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import socket
import time
from typing import TYPE_CHECKING

import trio

from mountd import crash
from mountd.data.extents import Span
from mountd.errors import Busy, MountdError, NotFound, ReadOnly, Stale, Unavailable, VersionChanged
from mountd.objects.interface import ABSENT, Buffer, Key, MiB, ObjectInfo, ObjectStore, Version
from mountd.writeback.listing import making_order
from mountd.writeback.parallel import each
from mountd.writeback.pending import Change, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mountd.writeback.backlog import Backlog
    from mountd.writeback.sender import Sender

log = logging.getLogger(__name__)

# Waits between attempts, in seconds, each drawn between half of it and all.
FIRST_WAIT, LAST_WAIT = 1.0, 60.0
# Many files get another name, or go, right after they were written.
GATHER = 0.25
# Changes of one group on their way at a time.
AT_ONCE = 16
# Objects that one request deletes.
BATCH = 1000
COMPARED_AT_ONCE = 8 * MiB


class Drainer:
    """Sends the changes of one mount.

    Args:
        sender: makes objects of the bytes that are here.
        on_conflict: `keep-both`, `overwrite` or `fail`; see `docs/durability.md`.
        failed: gets one line for each trouble.
        read_only: nothing is sent, `run` is not called.
        lost: told of the keys that hold something else than what was acknowledged, because somebody else was faster.

    Attributes:
        gather: how long a change stays here at least, in seconds, unless somebody waits for it.
        error: what held everything up in the last attempt.
    """

    def __init__(
        self,
        store: ObjectStore,
        backlog: Backlog,
        sender: Sender,
        *,
        on_conflict: str,
        failed: Callable[[str], None],
        lost: Callable[[Key], None],
        read_only: bool = False,
    ) -> None:
        self._read_only = read_only
        self._lost = lost
        self._store = store
        self._backlog = backlog
        self._pending = backlog.pending
        self._sender = sender
        self._on_conflict = on_conflict
        self._failed = failed
        self.gather = GATHER
        self.error: MountdError | None = None
        self._hurried = False
        self._awaited = 0  # the last change that somebody waits for
        self._begun = self._ended = 0  # rounds

    def hurry(self, until: int) -> None:
        """Try at once to send everything up to a change, however long the next attempt was to wait."""
        self._awaited = max(self._awaited, until)
        self._unstick()
        self._hurried = True
        self._backlog.pulse()

    def _unstick(self) -> None:
        for change in self._pending:
            change.stuck = False

    async def run(self) -> None:
        """Send changes as they come, until cancelled."""
        wait = FIRST_WAIT
        while True:
            await self._pause(random.uniform(wait / 2, wait))
            self._hurried = False
            arrived = await self._round()
            wait = FIRST_WAIT if arrived and self.error is None else min(wait * 2, LAST_WAIT)

    async def _pause(self, wait: float) -> None:
        """Return when there is something to send."""
        troubled = self.error is not None or any(change.stuck for change in self._pending)
        with trio.move_on_after(wait if troubled else float("inf")) as pause:
            while not self._hurried and (self.error is not None or not self._pending.next_group()):
                await self._backlog.changed()
        if pause.cancelled_caught:
            self._unstick()
        while (young := self._young()) > 0:
            with trio.move_on_after(young):
                await self._backlog.changed()

    def _young(self) -> float:
        """Return the seconds for which the next group may still stay here."""
        group = self._pending.next_group()
        if not group or group[0].seq <= self._awaited:
            return 0.0
        return (group[0].since or 0.0) + self.gather - trio.current_time()

    async def _round(self) -> bool:
        """Send one group; tell whether any of it arrived."""
        self._begun += 1
        with contextlib.suppress(MountdError):  # whoever made the change was told
            await self._backlog.commit()
        group = self._pending.next_group()
        before = len(self._pending)
        troubles: list[MountdError] = []
        for change in group:
            change.sending = True
        try:
            await self._send_group(group, troubles)
        finally:
            for change in group:
                change.sending = False
        self.error = troubles[0] if troubles else None
        self._ended = self._begun
        self._backlog.pulse()
        return len(self._pending) < before

    async def _send_group(self, group: Sequence[Change], troubles: list[MountdError]) -> None:
        deletes = [change for change in group if change.kind is Kind.DELETE]
        many = len(deletes) > 1 and self._store.capabilities.batch_delete
        if many and await self._delete_many(deletes, troubles):
            deletes = []
        for wave in (*making_order(change for change in group if change.kind is not Kind.DELETE), deletes):
            await each(wave, lambda change: self._attempt(change, troubles), workers=AT_ONCE)

    async def _attempt(self, change: Change, troubles: list[MountdError]) -> None:
        if any(isinstance(trouble, Unavailable) for trouble in troubles):
            return
        try:
            await self._send(change)
        except (Unavailable, Busy) as exc:
            self._note(change, exc)
            troubles.append(exc)
        except MountdError as exc:
            self._note(change, exc)
            change.stuck = True

    def _note(self, change: Change, exc: MountdError) -> None:
        change.doubtful = change.doubtful or isinstance(exc, Unavailable)
        told = str(change.error) == str(exc)
        change.error = exc
        if not told:
            self._failed(f"{change.key}: not in the store yet, will be tried again: {exc}")

    async def _send(self, change: Change) -> None:
        crash.point("before-send")
        log.debug("change %d: %s %s, expecting %r", change.seq, change.kind.value, change.key, change.expect)
        try:
            info = await self._carry_out(change, self._expected(change))
        except VersionChanged as exc:
            await self._settle(change, exc)
        except NotFound:
            if change.kind is not Kind.COPY:
                raise
            self._failed(f"{change.key}: not made: somebody else has removed what it was to be a copy of")
            await self._arrived(change, None)
        else:
            await self._arrived(change, info)

    def _expected(self, change: Change) -> Version | None:
        return self._backlog.real_version(change.key, change.expect)

    async def _carry_out(self, change: Change, expect: Version | None) -> ObjectInfo | None:
        if change.kind is Kind.PUT:
            return await self._sender.send(change, change.key, expect)
        if change.kind is Kind.COPY:
            assert change.source is not None  # every copy has one
            return await self._store.copy(self._backlog.real(change.source), change.key, expect=expect)
        await self._store.delete(change.key, expect=expect)
        return None

    async def _delete_many(self, changes: Sequence[Change], troubles: list[MountdError]) -> bool:
        """Delete in requests of many; what somebody else has replaced stays. Tell whether that was possible."""
        for some in (changes[i : i + BATCH] for i in range(0, len(changes), BATCH)):
            try:
                await self._store.delete_many({change.key: self._expected(change) for change in some})
            except (Unavailable, Busy) as exc:
                for change in some:
                    self._note(change, exc)
                troubles.append(exc)
                return True
            except MountdError:  # one of them is the reason: each for itself
                return False
            await self._backlog.done(dict.fromkeys(some))
        return True

    async def _arrived(self, change: Change, info: ObjectInfo | None) -> None:
        crash.point("after-send")
        await self._backlog.done({change: info})

    async def _settle(self, change: Change, cause: VersionChanged) -> None:
        """The precondition failed: was it ourselves, earlier, or somebody else?"""
        if change.doubtful:
            found = await self._found(change.key)
            if change.kind is Kind.DELETE and found is None:
                return await self._arrived(change, None)
            if found is not None and change.kind is not Kind.DELETE and await self._is_ours(change, found):
                return await self._arrived(change, found)
            change.doubtful = False
        if change.kind is Kind.DELETE:
            self._failed(f"{change.key}: not removed: somebody else has changed it meanwhile")
            await self._arrived(change, None)
            return self._lost(change.key)
        if change.key.endswith("/"):  # a directory that is there already
            return await self._arrived(change, await self._found(change.key))
        if self._on_conflict == "overwrite":
            return await self._arrived(change, await self._carry_out(change, None))
        if self._on_conflict == "fail" and change.kind is Kind.PUT:
            raise Stale(f"{change.key}: somebody else has changed it meanwhile; ours stays on this machine") from cause
        return await self._keep_beside(change)

    async def _keep_beside(self, change: Change) -> None:
        crash.point("conflict")
        key = conflict_key(change.key)
        try:
            if change.kind is Kind.PUT:
                info: ObjectInfo | None = await self._sender.send(change, key, ABSENT)
            else:
                assert change.source is not None  # every copy has one
                info = await self._store.copy(self._backlog.real(change.source), key)
        except (VersionChanged, NotFound):
            if change.kind is Kind.PUT:
                raise
            self._failed(f"{change.key}: not made: somebody else has changed what it was to be a copy of")
            return await self._arrived(change, None)
        self._failed(f"{change.key}: replaced by somebody else meanwhile; ours is kept as {key}")
        await self._arrived(change, info)
        self._lost(change.key)
        return None

    async def _found(self, key: Key) -> ObjectInfo | None:
        try:
            return await self._store.stat(key)
        except NotFound:
            return None

    async def _is_ours(self, change: Change, found: ObjectInfo) -> bool:
        """Compare an object with what a change was to make: the change may have arrived without our hearing of it."""
        if found.size != change.size:
            return False
        # Of what was taken from the version before, nothing is here to compare with.
        spans = change.spans if change.spans is not None else [Span(0, change.size)]
        for span in spans:
            for start in range(span.start, span.end, COMPARED_AT_ONCE):
                end = min(start + COMPARED_AT_ONCE, span.end)
                theirs = await self._store.read_range(found.key, start, end - start, version=found.version)
                if theirs.data != await self._meant(change, start, end):
                    return False
        return True

    async def _meant(self, change: Change, start: int, end: int) -> Buffer:
        if change.source is None:
            return await self._backlog.bytes_here(change, start, end)
        source = self._backlog.real(change.source)
        return (await self._store.read_range(source.key, start, end - start, version=source.version)).data

    async def barrier(self, below: Key | None = None, *, keys: Iterable[Key] = ()) -> None:
        """Return when the store has every change, acknowledged so far, of these keys and of those below a directory.

        Raises what kept one of them from arriving, after everything that can go has been tried once more.
        """
        await self._backlog.commit()
        wanted = [change for key in keys for change in self._pending.of(key)]
        wanted += self._pending.all_below(below) if below is not None else []
        if not wanted:
            return
        if self._read_only:
            raise ReadOnly("what the store does not have goes there once it is mounted for writing")
        last = max(change.seq for change in wanted)
        begun = self._begun
        self.hurry(last)
        while True:
            left = [change for change in wanted if change in self._pending]
            if not left:
                return
            failure = self._failure(left, last, after=begun)
            if failure is not None:
                raise failure
            await self._backlog.changed()

    def _failure(self, left: list[Change], last: int, *, after: int) -> MountdError | None:
        """Return why these changes cannot arrive now, as an attempt that began since has shown."""
        if self._ended <= after:
            return None
        if self.error is not None:
            return self.error
        stuck = [change for change in self._pending if change.stuck and change.seq <= last]
        if stuck and all(change.stuck or _waits_for(change, stuck) for change in left):
            return stuck[0].error
        return None


def conflict_key(key: Key) -> Key:
    """Return the key beside `key` for bytes that lost against somebody else's, a new one each time."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return Key(f"{key}.conflict-{socket.gethostname()}-{stamp}-{secrets.token_hex(3)}")


def _waits_for(change: Change, stuck: list[Change]) -> bool:
    keys = {other.key for other in stuck} | {other.source.key for other in stuck if other.source is not None}
    return change.key in keys or (change.source is not None and change.source.key in keys)
