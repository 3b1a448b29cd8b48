"""What an earlier daemon left half done, carried out at the next mount."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import trio

from mountd.errors import Corrupt, NotFound, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore
from mountd.vfs import sidecar
from mountd.writeback.listing import all_below, making_order, removal_order
from mountd.writeback.parallel import each

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mountd.writeback.journal import Intent, Journal

# How often someone who waits hears how far it is, in seconds.
INTERVAL = 0.25


class Left:
    """What is left to be done before the store can be used, told now and then to whoever waits for that."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._told = -math.inf
        self._renames = self._files = self._bytes = 0
        self._what = ""

    def begin(self, intent: Intent, *, further: int) -> None:
        """Take up a rename; `further` ones come after it."""
        self._renames, self._what = further, f"rename of {intent.source} to {intent.target}"

    def expect(self, infos: Collection[ObjectInfo]) -> None:
        """Learn what the rename consists of."""
        self._files, self._bytes = len(infos), sum(info.size for info in infos)
        self._say()

    def copied(self, info: ObjectInfo) -> None:
        """Note that an object is under its new name."""
        self._bytes -= info.size
        self._say()

    def removed(self) -> None:
        """Note that an object is not under its old name any more."""
        self._files -= 1
        self._say()

    def _say(self) -> None:
        now = trio.current_time()
        if now - self._told >= INTERVAL:
            self._told = now
            files = self._renames + self._files
            self._tell({"files": files, "bytes": self._bytes, "waiting_for": [self._what]})


async def finish(
    store: ObjectStore,
    journal: Journal,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
    *,
    attributes: bool = True,
) -> list[str]:
    """Carry out the renames that an earlier daemon left half done; return a line about each.

    `tell` hears now and then how many files and bytes are left, and of which rename. `attributes`: what is said of the
    old names is said of the new ones.
    """
    done = []
    left = Left(tell)
    # An exchange consists of renames, so they come first.
    intents = sorted(journal.intents(), key=lambda intent: intent.exchange)
    for number, intent in enumerate(intents, 1):
        left.begin(intent, further=len(intents) - number)
        if intent.exchange:
            moved = await _finish_exchange(store, intent, left)
        elif intent.recursive:
            await _finish_tree(store, intent.source, intent.target, left)
            moved = [(intent.source, intent.target)]
        else:
            await _finish_file(store, intent, left)
            moved = [(intent.source, intent.target)]
        for source, target in moved if attributes else ():
            if source.endswith("/"):
                journal.move_attributes(source, target)
            await _say_anew(store, journal, source, target)
        journal.end(intent.id)
        done.append(f"finished the rename of {intent.source} to {intent.target}")
    return done


async def _finish_tree(store: ObjectStore, source: Key, target: Key, left: Left) -> None:
    found = {info.key: info for info in await all_below(store, source)}
    left.expect(found.values())

    async def copy(info: ObjectInfo) -> None:
        with contextlib.suppress(VersionChanged):  # it was copied before the crash
            await store.copy(info, Key(target + info.key[len(source) :]), expect=ABSENT)
        left.copied(info)

    async def delete(key: Key) -> None:
        await store.delete(key, expect=found[key].version if key in found else None)
        if key in found:  # others are markers that may be there
            left.removed()

    for infos in making_order(found.values()):
        await each(infos, copy)
    for keys in removal_order(found, source):
        await each(keys, delete)


async def _finish_file(store: ObjectStore, intent: Intent, left: Left) -> None:
    """Copy if the target is as it was before, then remove the source unless it has changed since."""
    try:
        source = await store.stat(intent.source)
    except NotFound:
        return
    if source.version != intent.version:
        return
    left.expect([source])
    with contextlib.suppress(VersionChanged):  # it was copied before the crash
        await store.copy(source, intent.target, expect=intent.expect)
    with contextlib.suppress(VersionChanged):
        await store.delete(source.key, expect=source.version)


async def _say_anew(store: ObjectStore, journal: Journal, source: Key, target: Key) -> None:
    """Have the journal say of an object, or a directory, under its new name what is said of the old one.

    The sidecars are stored after the objects: the daemon may have died before it came to them, or to the journal.
    """
    old, new = _place(source), _place(target)
    pending = {(directory, name): record for directory, name, record in journal.attributes()}
    version = ABSENT
    if not target.endswith("/"):
        with contextlib.suppress(NotFound):
            version = (await store.stat(target)).version
        if (pending.get(new) or {}).get("version") == version:
            return  # it is said already
    if old in pending and pending[old] is None:
        return
    record = dict(pending.get(old) or (await _said_in(store, old[0])).get(old[1]) or {})
    if "version" in record:
        record["version"] = version
    if "links" in record:
        names = {target if key == source else key for key in record["links"]["names"]}
        record["links"] = record["links"] | {"names": sorted(names)}
    journal.save_attributes([(*new, record or None), (*old, None)])


def _place(key: Key) -> tuple[Key, str]:
    """Return the directory whose sidecar tells of a key, and the name by which it does."""
    folder, slash, name = key.removesuffix("/").rpartition("/")
    return Key(folder + slash), name + ("/" if key.endswith("/") else "")


async def _said_in(store: ObjectStore, directory: Key) -> dict[str, sidecar.Record]:
    try:
        return sidecar.decode(bytes((await store.read_range(sidecar.key_in(directory), 0, sidecar.MAX_SIZE)).data))
    except (NotFound, Corrupt):
        return {}


async def _finish_exchange(store: ObjectStore, intent: Intent, left: Left) -> list[tuple[Key, Key]]:
    """Give what was put aside the name that is free: its new one, or, where nothing else has moved yet, its old one.

    Returns old and new keys, that of a file and that of a directory, as it may have been either.
    """
    for name in (intent.target, intent.exchange, Key(f"{intent.target}.exchange-{intent.id}")):
        if not await _is_taken(store, name):
            await _move(store, intent.source, name, left)
            return [(intent.source, name), (Key(intent.source + "/"), Key(name + "/"))]
    return []


async def _is_taken(store: ObjectStore, key: Key) -> bool:
    page = await store.list_page(Key(key + "/"), limit=1)
    if page.objects or page.prefixes:
        return True
    try:
        await store.stat(key)
    except NotFound:
        return False
    return True


async def _move(store: ObjectStore, source: Key, target: Key, left: Left) -> None:
    await _finish_tree(store, Key(source + "/"), Key(target + "/"), left)
    with contextlib.suppress(NotFound):
        info = await store.stat(source)
        await store.copy(info, target, expect=ABSENT)
        await store.delete(source, expect=info.version)
