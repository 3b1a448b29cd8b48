"""Sidecars of directories: read when a listing shows one, changed in memory and in the journal, stored soon after.

A change is acknowledged once the journal has it. Changes of one directory are gathered for a moment and stored with one
conditional request; when another mount was faster, its records are read and ours are put over them, name by name.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import trio

from mountd.errors import Corrupt, MountdError, NotFound, Unsupported, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore, Version
from mountd.vfs import sidecar as format_
from mountd.writeback.parallel import each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mountd.failures import FailureLog
    from mountd.vfs.sidecar import Record
    from mountd.writeback.journal import Journal

log = logging.getLogger(__name__)

# How long changes are gathered, in seconds, and how long a store that fails is left alone.
GATHER, PAUSE = 0.5, 5.0
ATTEMPTS = 10
_GONE = object()


class Sidecar:
    """What is known of one directory's sidecar.

    Attributes:
        checked: when the request began that last told its state, on the monotonic clock.
        left: whether changes are from an earlier daemon, which may have died while the directory was removed.
        writing: cancels storing it, as long as the store has not been asked to.
        pending: changes that the store lacks: a record, or `None` for a name that needs none.
        shown: the `names` that nodes were last given; what storing a sidecar has merged in comes to them later.
    """

    __slots__ = (
        "__weakref__",
        "checked",
        "damaged",
        "key",
        "left",
        "lock",
        "names",
        "pending",
        "shown",
        "version",
        "writing",
    )

    def __init__(self, directory: Key) -> None:
        self.key = format_.key_in(directory)
        self.names: dict[str, Record] = {}
        self.shown = self.names
        self.version = ABSENT
        self.checked = float("-inf")
        self.damaged = False
        self.pending: dict[str, Record | None] = {}
        self.lock = trio.Lock()
        self.left = False
        self.writing: trio.CancelScope | None = None

    @property
    def directory(self) -> Key:
        """Key of the directory that it describes."""
        return Key(self.key[: -len(format_.NAME)])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said of any name."""
        return not self.names and not self.pending

    def record(self, name: str) -> Record:
        """Return what is said of a name, empty for the defaults."""
        if self.pending and name in self.pending:
            return self.pending[name] or {}
        return self.names.get(name) or {}

    def merged(self) -> dict[str, Record]:
        """Return all records with the pending changes made."""
        return {name: record for name, record in (self.names | self.pending).items() if record}


class AttributeStore:
    """The sidecars of one mount. `enabled`: without, nothing is read and every change is refused."""

    def __init__(self, store: ObjectStore, journal: Journal, failures: FailureLog, *, enabled: bool = True) -> None:
        self._store = store
        self._journal = journal
        self._failures = failures
        self.enabled = enabled
        self._changed: dict[Key, Sidecar] = {}  # those with pending changes, by directory
        self._known: WeakValueDictionary[Key, Sidecar] = WeakValueDictionary()
        self._unwritten: list[tuple[Key, str, Record | None]] = []
        self._commit = trio.Lock()
        self._wake = trio.Event()
        self._quiet: list[Key] = []  # directories at and below which nothing is to be stored
        self._louder = trio.Event()
        for directory, name, record in journal.attributes():  # what an earlier daemon could not store any more
            self._changed[directory] = self.sidecar(directory)
            self._changed[directory].pending[name] = record
            self._changed[directory].left = True
            self._wake.set()

    def sidecar(self, directory: Key) -> Sidecar:
        """Return the state for a directory, the one that everybody has who asks for it at the same time."""
        state = self._known.get(directory)
        if state is None:
            state = self._known[directory] = Sidecar(directory)
        return state

    def renewed(self, directory: Key) -> Sidecar:
        """Return the state for a directory that this mount has just made: nothing is said in it yet."""
        state = self.sidecar(directory)
        state.names, state.version, state.checked, state.damaged = {}, ABSENT, trio.current_time(), False
        return state

    def require(self) -> None:
        """Raise Unsupported where the mount was told to leave attributes alone."""
        if not self.enabled:
            raise Unsupported("attributes are switched off for this mount (--attributes off)")

    async def refresh(self, state: Sidecar, found: ObjectInfo | None, *, at: float) -> bool:
        """Bring a sidecar in line with what a listing that began at `at` has shown; tell whether it has changed."""
        if not self.enabled or state.checked >= at:
            return False
        version = found.version if found else ABSENT
        if version != state.version:
            return await self.load(state)
        state.checked = at
        return False

    async def load(self, state: Sidecar) -> bool:
        """Read a sidecar; tell whether it has changed."""
        if not self.enabled:
            return False
        while True:
            at, before = trio.current_time(), state.version
            try:
                chunk = await self._store.read_range(state.key, 0, format_.MAX_SIZE)
            except NotFound:
                names: dict[str, Record] = state.names if state.version == ABSENT else {}
                version = ABSENT
                state.damaged = False
            else:
                version = chunk.info.version
                names = state.names if version == state.version else self._decoded(state, bytes(chunk.data))
            if state.checked > at:
                return False  # something newer is known by now
            if state.version == before:
                break  # else we have stored it meanwhile: what was read may be what was there before
        changed = version != state.version
        state.names, state.version, state.checked = names, version, at
        return changed

    def _decoded(self, state: Sidecar, data: bytes) -> dict[str, Record]:
        try:
            names = format_.decode(data)
        except Corrupt as exc:
            state.damaged = True
            self._failures.add(f"{state.key}: {exc}; its files have default attributes, and it will not be overwritten")
            return {}
        state.damaged = False
        return names

    def change(self, state: Sidecar, name: str, record: Record | None) -> None:
        """Set what is said of a name; `journaled` makes it durable."""
        if not self.enabled or state.record(name) == (record or {}):
            return
        state.pending[name] = record or None
        self._changed[state.directory] = state
        self._unwritten.append((state.directory, name, record or None))
        self._wake.set()

    async def journaled(self) -> None:
        """Return when all changes so far are in the journal; callers at the same time share one commit."""
        if not self._unwritten:
            return
        async with self._commit:
            rows, self._unwritten = self._unwritten, []
            if rows:
                try:
                    await trio.to_thread.run_sync(self._journal.save_attributes, rows)
                except MountdError:
                    self._unwritten = rows + self._unwritten  # others wait for these, too
                    raise

    async def run(self) -> None:
        """Store changes as they come, until cancelled."""
        while True:
            await self._wake.wait()
            await trio.sleep(GATHER)
            self._wake = trio.Event()
            try:
                await self._perhaps_journaled()
                await each([s for s in list(self._changed.values()) if not self._is_quiet(s)], self._flush)
            except MountdError as exc:
                self._failures.add(f"attributes could not be stored, they will be tried again: {exc}")
                await trio.sleep(PAUSE)
                self._wake.set()

    async def flush(self, below: Key) -> None:
        """Return when the store has all changes at and below one directory."""
        await self._perhaps_journaled()
        await each([s for s in list(self._changed.values()) if s.directory.startswith(below)], self._flush)

    async def flush_in(self, directories: Iterable[Key]) -> None:
        """Return when the store has the changes in these directories, not those further down."""
        await self._perhaps_journaled()
        await each([self._changed[key] for key in directories if key in self._changed], self._flush)

    async def _perhaps_journaled(self) -> None:
        """Have changes in the journal before they are in the store, unless the local disk is full."""
        try:
            await self.journaled()
        except MountdError as exc:
            self._failures.add(f"attributes could not be noted on local disk: {exc}")

    async def _flush(self, state: Sidecar) -> None:
        while True:
            while self._is_quiet(state):
                await self._louder.wait()
            async with state.lock:
                if not self._is_quiet(state):
                    return await self._flush_now(state)

    async def _flush_now(self, state: Sidecar) -> None:
        taken = dict(state.pending)
        if not taken or not await self._stored(state):
            return
        for name, record in taken.items():
            if state.pending.get(name, _GONE) is record:
                del state.pending[name]
        if not state.pending:
            self._changed.pop(state.directory, None)
        async with self._commit:  # a change that comes now is written after this removal
            rows = [(state.directory, name) for name in taken if name not in state.pending]
            self._unwritten = [each for each in self._unwritten if each[:2] not in rows]
            try:
                await trio.to_thread.run_sync(self._journal.remove_attributes, rows)
            except MountdError as exc:
                self._failures.add(f"attributes that are stored will be stored again by the next mount: {exc}")

    async def _stored(self, state: Sidecar) -> bool:
        """Store a sidecar; tell whether that was done, and not given up because the directory is gone."""
        if state.left and not await self._is_there(state.directory):
            self._drop([state.directory])
            return False
        state.left = False
        if state.checked == float("-inf"):
            await self.load(state)
        try:
            with trio.CancelScope() as writing:
                state.writing = writing
                await self._write(state)
        finally:
            state.writing = None
        return not writing.cancelled_caught

    async def _is_there(self, directory: Key) -> bool:
        page = await self._store.list_page(directory, limit=1)
        return not directory or bool(page.objects or page.prefixes)

    async def _write(self, state: Sidecar) -> None:
        for _ in range(ATTEMPTS):
            wanted = state.merged()
            if wanted == state.names and not state.damaged:
                return
            try:
                if state.damaged:
                    await self._set_aside(state)
                at = trio.current_time()
                state.version = await self._put(state, wanted)
                state.names, state.checked = wanted, at
                return
            except VersionChanged:
                state.checked = float("-inf")
                await self.load(state)
        raise VersionChanged(f"{state.key} keeps being changed by somebody else")

    async def _put(self, state: Sidecar, wanted: dict[str, Record]) -> Version:
        if wanted:
            return (await self._store.put(state.key, format_.encode(wanted), expect=state.version)).version
        if state.version != ABSENT:
            await self._store.delete(state.key, expect=state.version)
        return ABSENT

    async def _set_aside(self, state: Sidecar) -> None:
        """Keep a sidecar that cannot be read under another name before it is replaced."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        kept = Key(f"{state.directory}{format_.HIDDEN}damaged-{socket.gethostname()}-{stamp}.json")
        damaged = await self._store.stat(state.key)
        await self._store.copy(damaged, kept, expect=ABSENT)
        self._failures.add(f"{state.key}: it could not be read and is kept as {kept}")
        state.version, state.damaged = damaged.version, False

    @contextlib.asynccontextmanager
    async def quiet(self, directory: Key) -> AsyncIterator[None]:
        """Store nothing of a directory, and of those below it, for the length of the block.

        What is just being stored is in the store, or is not, before it begins. A directory that goes or gets another
        name needs that: a sidecar that arrives late would bring it back.
        """
        self._quiet.append(directory)
        try:
            for state in [s for s in self._known.values() if self._is_quiet(s)]:
                if state.writing is not None:
                    state.writing.cancel()
                async with state.lock:
                    pass
            yield
        finally:
            self._quiet.remove(directory)
            self._louder.set()
            self._louder = trio.Event()
            self._wake.set()

    def _is_quiet(self, state: Sidecar) -> bool:
        return any(state.key.startswith(quiet) for quiet in self._quiet)

    def forget_below(self, prefix: Key) -> None:
        """Drop what is pending for a directory that is gone, and for those below it."""
        self._drop([directory for directory in self._changed if directory.startswith(prefix)])

    def _drop(self, directories: Iterable[Key]) -> None:
        for directory in directories:
            state = self._changed.pop(directory, None)
            if state is None:
                continue
            self._journal.remove_attributes([(directory, name) for name in state.pending])
            self._unwritten = [each for each in self._unwritten if each[0] != directory]
            state.pending.clear()
