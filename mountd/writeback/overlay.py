"""The store as this machine sees it: what was acknowledged and is on its way counts as if it had arrived.

A layer between the file system, which need not know of pending changes, and the store. In write-back mode every change
becomes a pending one; in write-through mode changes go to the store at once, and only what could not get there is
pending. Objects that are pending, or have just arrived, go by the local versions that they were acknowledged with, so
that for the file system an upload changes nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from mountd.errors import Busy, MountdError, NotFound, Unavailable, Unsupported, VersionChanged
from mountd.objects.interface import (
    ABSENT,
    Buffer,
    Capabilities,
    Chunk,
    Key,
    ListPage,
    ObjectInfo,
    ObjectStore,
    Upload,
    Version,
)
from mountd.writeback.parallel import completed
from mountd.writeback.pending import Change, Kind, is_local, new_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mountd.writeback.backlog import Backlog
    from mountd.writeback.drain import Drainer


# How long a description that was broken off while it was sent may take until its outcome is known, in seconds.
PATIENCE = 10.0


class Descriptions(Protocol):
    """Objects that say something of the versions of others, and must name those that the store has given."""

    def is_one(self, key: Key) -> bool:
        """Tell whether a key is that of such an object."""

    def versions(self, key: Key, data: bytes) -> Mapping[Key, Version]:
        """Return the versions that an object names."""

    def with_versions(self, key: Key, data: bytes, versions: Mapping[Key, Version]) -> bytes:
        """Return the object with other versions of these keys."""


class Overlay:
    """The store with the pending changes of this mount made. `deferred`: changes do not wait for the store."""

    def __init__(
        self,
        inner: ObjectStore,
        backlog: Backlog,
        drainer: Drainer,
        descriptions: Descriptions,
        *,
        deferred: bool,
    ) -> None:
        self._inner = inner
        self._backlog = backlog
        self._pending = backlog.pending
        self._drainer = drainer
        self._descriptions = descriptions
        self._deferred = deferred

    @property
    def capabilities(self) -> Capabilities:
        can = self._inner.capabilities
        if not self._deferred:
            return can
        return replace(can, folders=False, batch_delete=True, deferred=True)

    async def check(self) -> None:
        await self._inner.check()

    async def stat(self, key: Key) -> ObjectInfo:
        change = self._pending.latest(key)
        if change is None:
            found = await self._inner.stat(key)
            change = self._pending.latest(key)
            if change is None:
                return self._backlog.finals.local(found)
        if change.kind is Kind.DELETE:
            raise NotFound(f"{key} was removed")
        return change.info

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        # What arrives while the store answers may be missing in the answer.
        changes = self._pending.below(prefix)
        finals = self._backlog.finals
        page = await self._inner.list_page(
            prefix, recursive=recursive, cursor=cursor, limit=limit, known=b"" if changes else known
        )
        if not changes and not (changes := self._pending.below(prefix)):
            objects = [finals.local(info) for info in page.objects]
            # Under local versions entries are not those that the digest is of.
            return replace(page, objects=objects, digest=page.digest if objects == list(page.objects) else b"")
        if page.unchanged:  # something was acknowledged meanwhile, and belongs among entries that were not told
            page = await self._inner.list_page(prefix, recursive=recursive, cursor=cursor, limit=limit)
        changes |= self._pending.below(prefix)
        found = {info.key: finals.local(info) for info in page.objects if info.key not in changes}
        found |= {info.key: changes[info.key].info for info in page.objects if info.key in changes}
        prefixes = dict.fromkeys(page.prefixes)
        gone = {key for key, change in changes.items() if change.kind is Kind.DELETE}
        if cursor is None:  # where they belong in the order is not known
            for change in changes.values():
                _put_in_place(change, prefix, found, prefixes, recursive=recursive)
        for key in gone:
            found.pop(key, None)
        emptier = {Key(prefix + key[len(prefix) :].partition("/")[0] + "/") for key in gone}
        left = [p for p in prefixes if p not in emptier or await self._is_left(p)]
        if page.cursor is not None and not found and not left:
            return await self.list_page(prefix, recursive=recursive, cursor=page.cursor, limit=limit)
        return ListPage(list(found.values()), left, page.cursor)

    async def _is_left(self, prefix: Key) -> bool:
        """Tell whether anything is below a prefix when all that is pending is done."""
        changes = self._pending.below(prefix)
        if any(change.kind is not Kind.DELETE for change in changes.values()):
            return True
        cursor = None
        while True:
            page = await self._inner.list_page(prefix, recursive=True, cursor=cursor)
            if any(info.key not in changes for info in page.objects):
                return True
            cursor = page.cursor
            if cursor is None:
                return False

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        change = self._pending.latest(key) if version is None else self._pending.made(key, version)
        if change is not None and change.kind is Kind.DELETE:
            raise NotFound(f"{key} was removed")
        if change is None:
            return await self._read_arrived(key, start, length, version)
        try:
            return Chunk(await self._read_pending(change, start, length), change.info)
        except MountdError:
            if change in self._pending:
                raise
        return await self.read_range(key, start, length, version=change.version)

    async def _read_pending(self, change: Change, start: int, length: int) -> Buffer:
        if change.kind is Kind.PUT:
            return await self._backlog.read(self, change, start, start + length)
        assert change.source is not None  # every copy has one
        source = change.source
        return (await self.read_range(source.key, start, length, version=source.version)).data

    async def _read_arrived(self, key: Key, start: int, length: int, version: Version | None) -> Chunk:
        real = self._backlog.real(ObjectInfo(key, 0, 0, version)) if version is not None else None
        if real is None:
            chunk = await self._inner.read_range(key, start, length)
        else:
            chunk = await self._inner.read_range(real.key, start, length, version=real.version)
        if not is_local(version):
            chunk = replace(chunk, info=self._backlog.finals.local(chunk.info))
        if start == 0 and self._descriptions.is_one(key):
            chunk = replace(chunk, data=self._inward(key, bytes(chunk.data)))
        return chunk

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        if self._descriptions.is_one(key):
            return await self._describe(key, bytes(data), expect)
        if self._deferred:
            change = Change(0, Kind.PUT, key, new_version(), expect, size=len(data), mtime_ns=time.time_ns())
            return await self._later(change, bytes(data))
        await self._through(key)
        return await self._inner.put(key, data, expect=self._backlog.real_version(key, expect))

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if not self._deferred:
            await self._through(source.key, target)
            expect = self._backlog.real_version(target, expect)
            return await self._inner.copy(self._backlog.real(source), target, expect=expect, match=match)
        return await self.copy_later(source, target, expect=expect, match=match)

    async def copy_later(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        """Like `copy`, with nothing asked of the store now, whatever the mode. Raises VersionChanged, NoSpace."""
        return await self._later(*await self._copied(source, target, expect, match=match))

    async def _copied(
        self, source: ObjectInfo, target: Key, expect: Version | None, *, match: bool
    ) -> tuple[Change, bytes | None]:
        """Return the change that makes a copy, and its bytes where the journal is to have them."""
        made = self._pending.latest(source.key)
        if made is not None and made.leaves != source.version:
            if match or made.kind is Kind.DELETE:
                raise VersionChanged(f"{source.key} was changed meanwhile")
            source = made.info
        change = Change(
            0, Kind.COPY, target, new_version(), expect, size=source.size, mtime_ns=time.time_ns(), source=source
        )
        if made is None:
            change.source = self._backlog.real(source)
        elif made.kind is Kind.PUT and self._pending.can_move(
            made
        ):  # its bytes need not go to the store under a name that they no longer have
            try:
                return change, await self._backlog.twin(made, change)
            except MountdError:
                if made in self._pending:
                    raise
            return await self._copied(source, target, expect, match=match)  # it has just arrived
        return change, None

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        if not self._deferred:
            if self._pending.latest(key) is not None:
                return await self._delete_kept(_deletion(key, expect))
            return await self._inner.delete(key, expect=self._backlog.real_version(key, expect))
        await self._later(_deletion(key, expect))
        return None

    async def _delete_kept(self, change: Change) -> None:
        """Write-through: remove what could not be stored. Where that fails, it stays."""
        await self._later(change)
        try:
            await self._drainer.barrier(keys=[change.key])
        except MountdError:
            if change in self._pending and change.can_be_dropped:
                self._pending.drop(change)
                await self._backlog.commit()
            raise

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        if not self._deferred:
            await self._through(*versions)
            real = {key: self._backlog.real_version(key, version) for key, version in versions.items()}
            return await self._inner.delete_many(real)
        for key, version in versions.items():
            try:
                self._backlog.add(_deletion(key, version))
            except VersionChanged:
                continue  # it stays, as the interface has it
        await self._backlog.commit()
        return None

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None = None) -> ObjectInfo:
        if not self._deferred:
            await self._through(source.key, target)
            expect = self._backlog.real_version(target, expect)
            return await self._inner.rename(self._backlog.real(source), target, expect=expect)
        if target.endswith("/"):
            raise Unsupported("directories are moved object by object")
        change, data = await self._copied(source, target, expect, match=True)
        self._backlog.add(change, data)
        self._backlog.add(_deletion(source.key, source.version))
        await self._backlog.commit()
        return change.info

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        await self._through(key)
        inner = await self._inner.open_upload(key, replaces=self._real_or_none(key, replaces))
        return _Upload(inner, self._backlog, key)

    def _real_or_none(self, key: Key, version: Version | None) -> Version | None:
        try:
            return self._backlog.real_version(key, version)
        except VersionChanged:
            return None  # it only tells what to keep of the object; `complete` compares

    async def _later(self, change: Change, data: bytes | None = None) -> ObjectInfo:
        self._backlog.add(change, data)
        await self._backlog.commit()
        return change.info

    async def _through(self, *keys: Key) -> None:
        """Have what is pending of these keys arrive first."""
        if len(self._pending) and any(self._pending.latest(key) is not None for key in keys):
            await self._drainer.barrier(keys=keys)

    async def _describe(self, key: Key, data: bytes, expect: Version | None) -> ObjectInfo:
        """Store an object that names versions, once the store has given them."""
        named = {k: v for k, v in self._descriptions.versions(key, data).items() if is_local(v)}
        directory = Key(key.rpartition("/")[0] + "/")
        await self._drainer.barrier(keys=[key, directory])
        try:
            await self._drainer.barrier(keys=named)
        except (Unavailable, Busy):
            raise
        except MountdError:
            pass  # a file that the store refuses must not hold up what is said of the others
        versions = {}
        for name, version in named.items():
            final = self._backlog.final(version)
            if final is not None:
                versions[name] = final.info.version
        described = self._descriptions.with_versions(key, data, versions)
        expect = self._backlog.real_version(key, expect)
        return await completed(lambda: self._inner.put(key, described, expect=expect), patience=PATIENCE)

    def _inward(self, key: Key, data: bytes) -> bytes:
        finals = self._backlog.finals
        named = self._descriptions.versions(key, data)
        known = {name: finals.at(name) for name in named}
        local = {n: f.local for n, f in known.items() if f is not None and f.info.version == named[n]}
        return self._descriptions.with_versions(key, data, local) if local else data

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Upload:
    """An upload whose parts may be copied from objects that have local versions."""

    def __init__(self, inner: Upload, backlog: Backlog, key: Key) -> None:
        self._inner = inner
        self._backlog = backlog
        self._key = key
        self.put_part = inner.put_part
        self.abort = inner.abort

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        await self._inner.copy_part(number, offset, self._backlog.real(source), start, length)

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        self._backlog.pending.require(self._key, expect)
        return await self._inner.complete(numbers, expect=self._backlog.real_version(self._key, expect))


def _deletion(key: Key, expect: Version | None) -> Change:
    return Change(0, Kind.DELETE, key, ABSENT, expect)


def _put_in_place(
    change: Change, prefix: Key, found: dict[Key, ObjectInfo], prefixes: dict[Key, None], *, recursive: bool
) -> None:
    """Add what a change makes to a listing of a prefix."""
    if change.kind is Kind.DELETE:
        return
    name, slash, _ = change.key[len(prefix) :].partition("/")
    if slash and not recursive:
        prefixes[Key(prefix + name + "/")] = None
    else:
        found[change.key] = change.info
