"""A folder of this machine as an object store: keys are paths, markers are directories.

The same rules as for a remote store hold: a file appears whole or not at all, and is replaced, never written in place.
A precondition is checked while the file's folder is locked against other daemons; programs that write into the folder
without mountd are noticed by the version, except in the instant between check and rename.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, TypeVar

import trio

from mountd.errors import Denied, NotFound, VersionChanged
from mountd.objects import folder
from mountd.objects.base import Basic
from mountd.objects.folder import domain_errors
from mountd.objects.interface import ABSENT, Buffer, Capabilities, Chunk, Key, ListPage, ObjectInfo, Upload, Version
from mountd.objects.native import NativeFolder, keeps_attributes
from mountd.objects.octets import text_of
from mountd.objects.partial import Partial, make_special, move
from mountd.objects.scan import Scans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")


class LocalStore(Basic):
    """Objects are the regular files below `root`.

    Args:
        native: where the folder's file system keeps attributes, take links, pipes, sockets and devices for objects of
            their own, and keep the names of linked files; otherwise links to files and folders are followed, and the
            others are not shown.
    """

    def __init__(self, root: str, *, read_only: bool = False, native: bool = False) -> None:
        self._root = root
        self._follow = not native
        self._tree = root if native else None
        self._scans = Scans()
        self.capabilities = Capabilities(
            conditional_create=True,
            mounts_exclude=True,
            versioned_read=True,
            part_copy=True,
            range_copy=True,
            batch_delete=True,
            folders=True,
            read_only=read_only,
            max_key_bytes=1 << 16,  # the kernel takes no longer paths; the folder's file system limits single names
            min_part=1,
            max_object=(1 << 63) - 1,
        )

    async def check(self) -> None:
        """Prove that the folder can be used; it is made where its parent exists."""
        await self.at(Key(""), lambda _: self._check())

    def _check(self) -> None:
        if not os.path.isdir(self._root):
            if os.path.lexists(self._root):
                raise NotFound(f"{self._root} is not a folder")
            if self.capabilities.read_only:
                raise NotFound(f"there is no folder {self._root}")
            os.makedirs(self._root)
        needed = os.R_OK | os.X_OK | (0 if self.capabilities.read_only else os.W_OK)
        if not os.access(self._root, needed):
            raise Denied(f"no permission to {'read' if self.capabilities.read_only else 'write'} in {self._root}")
        if not self._follow and not self.capabilities.read_only and not keeps_attributes(self._root):
            self._follow, self._tree = True, None

    @property
    def native(self) -> NativeFolder | None:
        """What the folder's file system keeps by itself, `None` where it was told not to or cannot."""
        return None if self._follow else NativeFolder(self)

    @property
    def root(self) -> str:
        """The folder."""
        return self._root

    async def stat(self, key: Key) -> ObjectInfo:
        return await self.at(key, lambda path: folder.info_at(path, key, follow=self._follow))

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        return await self.at(prefix, lambda path: self._list(path, prefix, recursive, cursor, limit))

    def _list(self, path: str, prefix: Key, recursive: bool, cursor: str | None, limit: int) -> ListPage:
        if not folder.is_folder(path, follow=self._follow or not prefix):
            return ListPage((), (), None)
        if recursive:
            return ListPage([*self._walk(path, prefix)], (), None)
        return self._scans.page(path, prefix, cursor=cursor, limit=limit, follow=self._follow)

    def _scan(self, path: str, prefix: Key) -> tuple[list[ObjectInfo], list[Key]]:
        objects: list[ObjectInfo] = []
        prefixes: list[Key] = []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(folder.PARTIAL):
                    continue
                try:
                    name = text_of(os.fsencode(entry.name))
                    if entry.is_dir(follow_symlinks=self._follow):
                        prefixes.append(Key(f"{prefix}{name}/"))
                    elif not self._follow or entry.is_file():
                        state = entry.stat(follow_symlinks=self._follow)
                        objects.append(folder.info_of(Key(prefix + name), state, special=not self._follow))
                except (FileNotFoundError, NotFound):  # gone since, or a link to nowhere
                    continue
        return objects, prefixes

    def _walk(self, path: str, prefix: Key) -> Iterator[ObjectInfo]:
        if prefix:
            yield folder.info_of(prefix, os.stat(path))
        objects, prefixes = self._scan(path, prefix)
        yield from objects
        for each in prefixes:
            with folder.reached(path, folder.name_in(each[len(prefix) :])) as inner:
                # A link to a folder above would never end.
                if not os.path.islink(inner):
                    yield from self._walk(inner, each)

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        return Chunk(
            *await self.at(key, lambda path: folder.read_range(path, key, start, length, version, follow=self._follow))
        )

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        if key.endswith("/"):
            return await self.at(key, lambda path: folder.make_folder(path, key, expect))

        def write(path: str) -> ObjectInfo:
            with contextlib.closing(Partial(path, key, tree=self._tree)) as partial:
                partial.write(0, data)
                return partial.publish(path, expect)

        return await self.at(key, write)

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if target.endswith("/"):
            return await self.put(target, b"", expect=expect)

        def copy(origin: str, path: str) -> ObjectInfo:
            state = os.stat(origin, follow_symlinks=self._follow)
            info = folder.info_of(source.key, state, special=not self._follow)
            if self._tree is not None and not stat.S_ISREG(state.st_mode):
                link = os.fsencode(os.readlink(origin)) if stat.S_ISLNK(state.st_mode) else None
                return make_special(
                    path, target, mode=state.st_mode, rdev=state.st_rdev, target=link, expect=expect, tree=self._tree
                )
            with contextlib.closing(Partial(path, target, tree=self._tree)) as partial:
                folder.copy_range(
                    origin,
                    partial.descriptor,
                    start=0,
                    length=source.size if match else info.size,
                    offset=0,
                    match=source.version if match else info.version,
                )
                os.fchmod(partial.descriptor, state.st_mode & 0o7777)
                return partial.publish(path, expect)

        def both(path: str) -> ObjectInfo:
            with self.reached(source.key) as origin:
                return copy(origin, path)

        return await self.at(target, both)

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        await self.at(key, lambda path: folder.remove(path, key, expect, follow=self._follow))

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        def delete(_: str) -> None:
            for key, version in versions.items():
                with contextlib.suppress(VersionChanged), self.reached(key) as path:
                    folder.remove(path, key, version, follow=self._follow)

        await self.at(Key(""), delete)

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None = None) -> ObjectInfo:
        def rename(origin: str, path: str) -> ObjectInfo:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with folder.only_us(os.path.dirname(path)):
                if not source.key.endswith("/"):
                    folder.require(origin, source.key, source.version, follow=self._follow)
                    if expect is not None:
                        folder.require(path, target, expect, follow=self._follow)
                try:
                    move(origin, path, exclusive=expect == ABSENT)
                except FileExistsError as exc:
                    raise VersionChanged(f"{target} exists") from exc
            for changed in {os.path.dirname(origin), os.path.dirname(path)}:
                folder.sync_folder(changed)
            return folder.info_at(path, target, follow=self._follow)

        def both(path: str) -> ObjectInfo:
            with self.reached(source.key) as origin:
                return rename(origin, path)

        return await self.at(target, both)

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        return _LocalUpload(await self.at(key, lambda path: Partial(path, key, tree=self._tree)), self)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def reached(self, key: Key) -> contextlib.AbstractContextManager[str]:
        if folder.unsupported_name(key):
            raise folder.refuse(key)
        return folder.reached(self._root, folder.name_in(key))

    async def at(self, key: Key, act: Callable[[str], T]) -> T:
        """Carry out `act` in a thread, with the path of `key`."""

        def run() -> T:
            with domain_errors(), self.reached(key) as path:
                return act(path)

        return await trio.to_thread.run_sync(run)


class _LocalUpload:
    """Parts go to their place in one nameless file."""

    def __init__(self, partial: Partial, store: LocalStore) -> None:
        self._partial = partial
        self._store = store
        self._ends: dict[int, int] = {}
        self._open = True

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        await self._store.at(self._partial.key, lambda _: self._partial.write(offset, data))
        self._ends[number] = offset + len(data)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        target = self._partial.descriptor
        await self._store.at(
            source.key,
            lambda origin: folder.copy_range(
                origin, target, start=start, length=length, offset=offset, match=source.version
            ),
        )
        self._ends[number] = offset + length

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        size = max((self._ends[number] for number in numbers), default=0)

        def finish(path: str) -> ObjectInfo:
            os.ftruncate(self._partial.descriptor, size)
            return self._partial.publish(path, expect)

        info = await self._store.at(self._partial.key, finish)
        await self.abort()
        return info

    async def abort(self) -> None:
        if self._open:
            self._open = False
            await trio.to_thread.run_sync(self._partial.close)
