"""Changes of names: create, mkdir, unlink, rmdir.

Directories are prefixes with at least one key below them. One that is empty, or becomes so, is kept by a marker: an
object of no bytes whose key ends in a slash.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import trio

from mountd.errors import AlreadyExists, IsADirectory, NotADirectory, NotEmpty, Stale, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore
from mountd.vfs.names import child_key
from mountd.vfs.nodes import Directory, File, Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mountd.vfs.files import Files
    from mountd.vfs.namespace import Namespace

# A change that loses against another client looks at the new state and tries again, but not for ever.
ATTEMPTS = 5


class Changes:
    """Creates and removes what names lead to."""

    def __init__(self, store: ObjectStore, namespace: Namespace, files: Files) -> None:
        self._store = store
        self._namespace = namespace
        self._files = files

    async def create(
        self, directory: Directory, name: bytes, *, mode: int, flags: int, uid: int, gid: int
    ) -> tuple[File, int]:
        """Open the file `name`, made when there is none, and return it with a handle.

        With O_EXCL the store itself decides who is first, so that lock files work between machines. Otherwise the store
        learns of the file when it is closed. Raises AlreadyExists, IsADirectory.
        """
        async with self.working_in(directory):
            node = await self._namespace.lookup(directory, name)
            if node is not None:
                return await self._open_existing(node, flags)
            info = None
            if flags & os.O_EXCL:
                info = await self._create_empty(directory, name)
            node = self._namespace.nodes.file(directory, name, info)
            _own(node, mode=mode, uid=uid, gid=gid)
            directory.changed(name, node, trio.current_time())
            handle = self._files.attach(node)
            if info is None:
                self._files.created(node)
            return node, handle

    async def _open_existing(self, node: Node, flags: int) -> tuple[File, int]:
        if flags & os.O_EXCL:
            raise AlreadyExists(f"{node.name!r} exists")
        if not isinstance(node, File):
            raise IsADirectory(f"{node.name!r} is a directory")
        return node, await self._files.open(node, flags)

    async def _create_empty(self, directory: Directory, name: bytes) -> ObjectInfo:
        try:
            return await self._store.put(child_key(directory.key, name), b"", expect=ABSENT)
        except VersionChanged as exc:
            self._namespace.expire(directory, name)
            raise AlreadyExists(f"{name!r} was created by somebody else") from exc

    async def mkdir(self, directory: Directory, name: bytes, *, mode: int, uid: int, gid: int) -> Directory:
        """Make a directory. Raises AlreadyExists."""
        async with self.working_in(directory):
            if await self._namespace.lookup(directory, name) is not None:
                raise AlreadyExists(f"{name!r} exists")
            try:
                await self._store.put(Key(child_key(directory.key, name) + "/"), b"", expect=ABSENT)
            except VersionChanged as exc:
                self._namespace.expire(directory, name)
                raise AlreadyExists(f"{name!r} was created by somebody else") from exc
            node = self._namespace.nodes.directory(directory, name)
            _own(node, mode=mode, uid=uid, gid=gid)
            directory.changed(name, node, trio.current_time())
            return node

    async def unlink(self, directory: Directory, name: bytes) -> None:
        """Remove a file's name. Raises NotFound, IsADirectory."""
        async with self.working_in(directory):
            await self.retrying(directory, name, lambda: self._unlink(directory, name))

    async def _unlink(self, directory: Directory, name: bytes) -> None:
        node = await self._namespace.existing(directory, name)
        if not isinstance(node, File):
            raise IsADirectory(f"{name!r} is a directory")
        async with node.lock:
            await self._files.detach(node)
            if node.info is not None:
                await self.keep_alive(directory, without=name)
                await self._store.delete(node.info.key, expect=node.info.version)
            await self._files.unlinked(node)
            directory.changed(name, None, trio.current_time())

    async def rmdir(self, directory: Directory, name: bytes) -> None:
        """Remove an empty directory. Raises NotFound, NotADirectory, NotEmpty."""
        async with self.working_in(directory):
            node = await self._namespace.existing(directory, name)
            if not isinstance(node, Directory):
                raise NotADirectory(f"{name!r} is not a directory")
            await self.require_empty(node)
            await self.keep_alive(directory, without=name)
            await self._store.delete(node.key)
            node.unlinked = True
            directory.changed(name, None, trio.current_time())

    async def require_empty(self, directory: Directory) -> None:
        """Raise NotEmpty when anything is in the directory, in the store or only here."""
        if any(isinstance(node, Directory) or node.dirty for node in directory.nodes() if isinstance(node, File)):
            raise NotEmpty(f"{directory.name!r} is not empty")
        page = await self._store.list_page(directory.key, limit=2)
        if page.prefixes or any(info.key != directory.key for info in page.objects):
            raise NotEmpty(f"{directory.name!r} is not empty")

    async def keep_alive(self, directory: Directory, *, without: bytes) -> None:
        """Make sure that the directory is still there when the object `without` in it is not.

        Programs expect a directory to stay when its last file goes; for a store it would be gone.
        """
        if directory.parent is None or self._has_other(directory, without):
            return
        page = await self._store.list_page(directory.key, limit=3)
        gone = child_key(directory.key, without)
        if any(info.key != gone for info in page.objects) or any(p != Key(gone + "/") for p in page.prefixes):
            return
        await self._store.put(directory.key, b"")
        if directory.listing is not None:
            directory.listing.marker = True

    def _has_other(self, directory: Directory, without: bytes) -> bool:
        """Whether a fresh listing or this mount's own changes show something else in the directory, or its marker."""
        listing = directory.listing
        if listing is not None and listing.at + self._namespace.freshness > trio.current_time():
            if listing.marker:
                return True
            return any(name != without for name in self._namespace.names(directory, listing))
        return False

    @contextlib.asynccontextmanager
    async def working_in(self, *directories: Directory) -> AsyncIterator[None]:
        """Hold the locks of the directories that a change is about, while nothing above them is being moved.

        Lock order: directories by number, then files. The kernel locks a directory for its own changes as well; these
        locks also keep a rename of a directory above from starting.
        """
        ordered = sorted(set(directories), key=lambda d: d.ino)
        while True:
            for directory in ordered:
                await self._namespace.settled(directory)
            async with contextlib.AsyncExitStack() as stack:
                for directory in ordered:
                    await stack.enter_async_context(directory.lock)
                if not any(directory.is_moving for directory in ordered):
                    yield
                    return

    async def retrying(self, directory: Directory, name: bytes, change: Callable[[], Awaitable[None]]) -> None:
        """Carry out `change`; when somebody else was faster, look at what is there now and try again."""
        for _ in range(ATTEMPTS):
            try:
                return await change()
            except VersionChanged:
                self._namespace.expire(directory, name)
        raise Stale(f"{name!r} keeps being changed by somebody else")


def _own(node: Node, *, mode: int, uid: int, gid: int) -> None:
    """Give a new node its first attributes; where they are not the defaults, the node must be remembered."""
    known = node.attributes
    node.altered = (known.mode, known.uid, known.gid) != (mode, uid, gid)
    known.mode, known.uid, known.gid = mode, uid, gid
