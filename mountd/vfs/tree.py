"""Copying a directory's objects to another key, attributes included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import Corrupt, NotFound
from mountd.objects.interface import Key, ObjectInfo, ObjectStore
from mountd.vfs import sidecar as format_
from mountd.writeback.listing import all_below, making_order
from mountd.writeback.parallel import each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mountd.vfs.keeper import Keeper
    from mountd.vfs.sidecar import Record

# A copy is as old as the copying. Where that is further from the truth than this, in nanoseconds, the truth is
# recorded.
TOLERANCE = 2_000_000_000


class TreeCopy:
    """One copy of everything below `source` to `goal`, both keys of directories.

    Attributes:
        copies: what was copied so far: each object of the source, and what it has become.
        replaced: the sidecars of the source that were not copied, as what they say is said anew.
    """

    def __init__(self, store: ObjectStore, keeper: Keeper, source: Key, goal: Key) -> None:
        self._store = store
        self._keeper = keeper
        self._source = source
        self._goal = goal
        self.copies: dict[ObjectInfo, ObjectInfo] = {}
        self.replaced: list[ObjectInfo] = []
        self._outside: set[Key] = set()
        self._files: dict[Key, dict[Key, ObjectInfo]] = {}  # what was copied, by folder and key

    async def run(self) -> None:
        """Copy. Raises the first failure; what `copies` has then is there."""
        found = await all_below(self._store, self._source)
        if not self._keeper.attributes.enabled:  # sidecars are objects like others then
            return await self._copy_all(found)
        sidecars = {info.key: info for info in found if info.key.endswith("/" + format_.NAME)}
        await self._copy_all(info for info in found if info.key not in sidecars)
        folders = {_folder(info.key) for info in found} | {self._source}
        for info in self.copies:
            if not info.key.endswith("/"):
                self._files.setdefault(_folder(info.key), {})[info.key] = info
        await each(sorted(folders), lambda folder: self._describe(folder, sidecars.get(format_.key_in(folder))))
        return None

    async def relink(self) -> None:
        """Tell other names of linked files, outside the tree, where the ones inside are now."""
        for key in self._outside:
            state = self._keeper.attributes.sidecar(_folder(key))
            if state.checked == float("-inf"):
                await self._keeper.attributes.load(state)
            name = key[len(state.directory) :]
            record = state.record(name)
            if "links" in record:
                self._keeper.attributes.change(state, name, record | {"links": self._links(record["links"])})

    def moved(self, key: Key) -> Key:
        """Return where a key has gone; one outside the tree stays."""
        return Key(self._goal + key[len(self._source) :]) if key.startswith(self._source) else key

    async def _copy_all(self, found: Iterable[ObjectInfo]) -> None:
        for group in making_order(found):
            await each(group, self._copy)

    async def _copy(self, info: ObjectInfo) -> None:
        copy = await self._store.copy(info, self.moved(info.key))
        self.copies[info] = copy

    async def _describe(self, folder: Key, sidecar: ObjectInfo | None) -> None:
        """Say of the copies what was said of the objects: versions are new, and times are not those of the copying."""
        attributes = self._keeper.attributes
        names: dict[str, Record] = {}
        if sidecar is not None:
            try:
                chunk = await self._store.read_range(sidecar.key, 0, format_.MAX_SIZE)
                names = format_.decode(bytes(chunk.data))
            except NotFound:  # somebody else had nothing to say any more
                pass
            except Corrupt:  # it is not ours to judge: it goes along as it is
                return await self._copy(sidecar)
            else:
                self.replaced.append(sidecar)
        names |= {name: record or {} for name, record in attributes.sidecar(folder).pending.items()}
        described = {name: self._record(Key(folder + name), record) for name, record in names.items() if record}
        for info in self._files.get(folder, {}).values():
            copy = self.copies[info]
            name = info.key[len(folder) :]
            mtime = self._keeper.remembered(info)
            if "mtime" not in described.get(name, {}) and abs(mtime - copy.mtime_ns) > TOLERANCE:
                described[name] = described.get(name, {}) | {"mtime": mtime, "version": copy.version}
        target = attributes.renewed(self.moved(folder))
        for name, record in described.items():
            attributes.change(target, name, record)
        return None

    def _record(self, key: Key, record: Record) -> Record:
        """Return what is said of an object, said of its copy."""
        changed = dict(record)
        if "links" in changed:
            changed["links"] = self._links(changed["links"])
            self._outside.update(Key(k) for k in record["links"]["names"] if not k.startswith(self._source))
        if "version" in changed:
            old = self._files.get(_folder(key), {}).get(key)
            if old is not None and old.version == changed["version"]:
                changed["version"] = self.copies[old].version
        return changed

    def _links(self, links: Record) -> Record:
        return links | {"names": sorted(self.moved(Key(key)) for key in links["names"])}


def _folder(key: Key) -> Key:
    """Return the key of the directory that holds a key; a marker is held by the directory that it marks."""
    return Key(key.rpartition("/")[0] + "/") if "/" in key else Key("")
