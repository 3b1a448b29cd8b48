"""What an earlier daemon left half done, carried out at the next mount."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mountd.errors import NotFound, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore
from mountd.writeback.listing import all_below, making_order, removal_order
from mountd.writeback.parallel import each

if TYPE_CHECKING:
    from mountd.writeback.journal import Intent, Journal


async def finish(store: ObjectStore, journal: Journal) -> list[str]:
    """Carry out the renames that an earlier daemon left half done; return a line about each."""
    done = []
    # An exchange consists of renames, so they come first.
    for intent in sorted(journal.intents(), key=lambda intent: intent.exchange):
        if intent.exchange:
            await _finish_exchange(store, intent)
        elif intent.recursive:
            await _finish_tree(store, intent.source, intent.target)
            journal.move_attributes(intent.source, intent.target)
        else:
            await _finish_file(store, intent)
        journal.end(intent.id)
        done.append(f"finished the rename of {intent.source} to {intent.target}")
    return done


async def _finish_tree(store: ObjectStore, source: Key, target: Key) -> None:
    left = {info.key: info for info in await all_below(store, source)}

    async def copy(info: ObjectInfo) -> None:
        with contextlib.suppress(VersionChanged):  # it was copied before the crash
            await store.copy(info, Key(target + info.key[len(source) :]), expect=ABSENT)

    async def delete(key: Key) -> None:
        await store.delete(key, expect=left[key].version if key in left else None)

    for infos in making_order(left.values()):
        await each(infos, copy)
    for keys in removal_order(left, source):
        await each(keys, delete)


async def _finish_file(store: ObjectStore, intent: Intent) -> None:
    """Copy if the target is as it was before, then remove the source unless it has changed since."""
    try:
        source = await store.stat(intent.source)
    except NotFound:
        return
    if source.version != intent.version:
        return
    with contextlib.suppress(VersionChanged):  # it was copied before the crash
        await store.copy(source, intent.target, expect=intent.expect)
    with contextlib.suppress(VersionChanged):
        await store.delete(source.key, expect=source.version)


async def _finish_exchange(store: ObjectStore, intent: Intent) -> None:
    """What was put aside gets the name that is free: its new one, or, where nothing else has moved yet, its old one."""
    for name in (intent.target, intent.exchange, Key(f"{intent.target}.exchange-{intent.id}")):
        if not await _is_taken(store, name):
            await _move(store, intent.source, name)
            return


async def _is_taken(store: ObjectStore, key: Key) -> bool:
    page = await store.list_page(Key(key + "/"), limit=1)
    if page.objects or page.prefixes:
        return True
    try:
        await store.stat(key)
    except NotFound:
        return False
    return True


async def _move(store: ObjectStore, source: Key, target: Key) -> None:
    await _finish_tree(store, Key(source + "/"), Key(target + "/"))
    with contextlib.suppress(NotFound):
        info = await store.stat(source)
        await store.copy(info, target, expect=ABSENT)
        await store.delete(source, expect=info.version)
