"""Changes of names: create, mkdir, unlink, rmdir.

Directories are prefixes with at least one key below them. One that is empty, or becomes so, is kept by a marker: an
object of no bytes whose key ends in a slash.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING

import trio

from mountd.errors import (
    AlreadyExists,
    Denied,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotPermitted,
    Stale,
    Unavailable,
    VersionChanged,
)
from mountd.objects.interface import ABSENT, Key, ObjectInfo, ObjectStore
from mountd.vfs.links import find_names
from mountd.vfs.listing import Listing
from mountd.vfs.names import child_key, is_twin
from mountd.vfs.nodes import Directory, Entry, File, Node
from mountd.vfs.sidecar import is_hidden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from mountd.objects.native import NativeFolder
    from mountd.vfs.files import Files
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.storing import Storing

# A change that loses against another client looks at the new state and tries again, but not for ever.
ATTEMPTS = 5


class Changes:
    """Creates and removes what names lead to. `asks_first`: the store decides who creates a file exclusively."""

    def __init__(
        self,
        store: ObjectStore,
        namespace: Namespace,
        files: Files,
        storing: Storing,
        *,
        native: NativeFolder | None = None,
        asks_first: bool = True,
    ) -> None:
        self._asks_first = asks_first and not store.capabilities.deferred
        self._native = native
        self._store = store
        self._namespace = namespace
        self._keeper = namespace.keeper
        self._files = files
        self._storing = storing

    async def create(
        self, directory: Directory, name: bytes, *, mode: int, flags: int, uid: int, gid: int
    ) -> tuple[File, int]:
        """Open the file `name`, made when there is none, and return it with a handle.

        With O_EXCL the store itself decides who is first, so that lock files work between machines, unless the mount
        was told otherwise. Else the store learns of the file when it is closed. Raises AlreadyExists, IsADirectory.
        """
        self.require_possible(directory, name)
        async with self.working_in(directory):
            existing = await self._namespace.lookup(directory, name)
            if existing is None:
                return await self._create(directory, name, mode=mode, flags=flags, uid=uid, gid=gid)
        return await self._open_existing(existing, flags)

    async def _create(
        self, directory: Directory, name: bytes, *, mode: int, flags: int, uid: int, gid: int
    ) -> tuple[File, int]:
        info = None
        if flags & os.O_EXCL and self._asks_first:
            info = await self._put_new(directory, name, b"")
        node = self._namespace.nodes.file(directory, name, info)
        self._own(node, directory, mode=mode, uid=uid, gid=gid)
        self._appeared(directory, name, node)
        handle = self._files.attach(node, flags)
        if info is None:
            self._storing.created(node)
        else:
            self._keeper.note(node)
        await self._keeper.attributes.journaled()
        return node, handle

    async def make(
        self,
        directory: Directory,
        name: bytes,
        *,
        mode: int,
        uid: int,
        gid: int,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> File:
        """Make a file that is not opened: a symbolic link to `target`, a device, a pipe, a socket, or an empty file.

        For the store it is an object whose bytes are the target. Raises AlreadyExists.
        """
        self.require_possible(directory, name)
        if not stat.S_ISREG(mode):
            self._keeper.attributes.require()
        async with self.working_in(directory):
            if await self._namespace.lookup(directory, name) is not None:
                raise AlreadyExists(f"{name!r} exists")
            info = await self._make_new(directory, name, mode=mode, rdev=rdev, target=target)
            node = self._namespace.nodes.file(directory, name, info)
            node.attributes.rdev, node.attributes.target = rdev, target
            self._own(node, directory, mode=mode, uid=uid, gid=gid)
            self._keeper.note(node)
            self._appeared(directory, name, node)
            await self._keeper.attributes.journaled()
            return node

    async def link(self, node: File, directory: Directory, name: bytes) -> None:
        """Give a file one more name: an object of its own with the same bytes. Raises AlreadyExists, NotPermitted."""
        self.require_possible(directory, name)
        self._keeper.attributes.require()
        await find_names(node, self._namespace)
        await self._storing.flush(node)
        async with self.working_in(directory):
            if await self._namespace.lookup(directory, name) is not None:
                raise AlreadyExists(f"{name!r} exists")
            async with node.lock:
                if node.unlinked or node.info is None:
                    raise NotFound(f"{node.name!r} has no name any more")
                key = child_key(directory.key, name)
                try:
                    if self._native is not None:
                        copied = await self._native.link(node.info, key)
                    else:
                        copied = await self._store.copy(node.info, key, expect=ABSENT)
                except VersionChanged as exc:
                    self._namespace.expire(directory, name)
                    raise Stale(f"{node.name!r} or {name!r} was changed by somebody else") from exc
                self._keeper.join(node)
                node.add_name(directory, name, copied)
                node.attributes.changed()
                self._appeared(directory, name, node)
                self._keeper.note(node)
                await self._keeper.attributes.journaled()

    def _appeared(self, directory: Directory, name: bytes, node: Node) -> None:
        directory.changed(name, node, trio.current_time())
        self._keeper.entries_changed(directory)

    def _gone(self, directory: Directory, name: bytes) -> None:
        directory.changed(name, None, trio.current_time())
        self._keeper.entries_changed(directory)

    def _own(self, node: Node, directory: Directory, *, mode: int, uid: int, gid: int) -> None:
        """Give a new node its first attributes; below a directory with the setgid bit, its group."""
        known, above = node.attributes, directory.attributes
        if above.mode & stat.S_ISGID:
            gid = above.gid
            if stat.S_ISDIR(mode):
                mode |= stat.S_ISGID
        if self._keeper.attributes.enabled:
            known.mode = mode
            if self._native is None or self._native.owners:
                known.uid, known.gid = uid, gid
        known.ctime_ns = known.mtime_ns = known.atime_ns = time.time_ns()

    async def _open_existing(self, node: Node, flags: int) -> tuple[File, int]:
        if flags & os.O_EXCL:
            raise AlreadyExists(f"{node.name!r} exists")
        if not isinstance(node, File):
            raise IsADirectory(f"{node.name!r} is a directory")
        return node, await self._files.open(node, flags)

    def require_possible(self, directory: Directory, name: bytes) -> None:
        """Raise NotPermitted for a name of ours, NameTooLong for a key that the service does not take."""
        if is_hidden(name) or is_twin(name):
            raise NotPermitted(f"{name!r} is a name that is kept for mountd's own use")
        key, limit = child_key(directory.key, name), self._store.capabilities.max_key_bytes
        if len(key.encode("utf-8", "surrogatepass")) >= limit:  # a directory needs one more byte
            raise NameTooLong(f"keys of this store have at most {limit} bytes")

    def require_deleting(self, name: bytes) -> None:
        """Raise Denied where objects cannot be deleted, before the first half of a change has been carried out."""
        if not self._store.capabilities.deletes:
            raise Denied(f"{name!r} cannot be removed or renamed: the store's credentials do not allow deleting")

    async def _make_new(
        self, directory: Directory, name: bytes, *, mode: int, rdev: int, target: bytes | None
    ) -> ObjectInfo:
        if self._native is None:
            return await self._put_new(directory, name, target or b"")
        try:
            return await self._native.make(child_key(directory.key, name), mode=mode, rdev=rdev, target=target)
        except VersionChanged as exc:
            self._namespace.expire(directory, name)
            raise AlreadyExists(f"{name!r} was created by somebody else") from exc

    async def _put_new(self, directory: Directory, name: bytes, data: bytes) -> ObjectInfo:
        try:
            return await self._store.put(child_key(directory.key, name), data, expect=ABSENT)
        except VersionChanged as exc:
            self._namespace.expire(directory, name)
            raise AlreadyExists(f"{name!r} was created by somebody else") from exc
        except Unavailable:
            self._namespace.expire(directory, name)  # the answer may be what was lost
            raise

    async def mkdir(self, directory: Directory, name: bytes, *, mode: int, uid: int, gid: int) -> Directory:
        """Make a directory. Raises AlreadyExists."""
        self.require_possible(directory, name)
        async with self.working_in(directory):
            if await self._namespace.lookup(directory, name) is not None:
                raise AlreadyExists(f"{name!r} exists")
            absent_since = self._namespace.absent_since(directory, name)
            try:
                await self._store.put(Key(child_key(directory.key, name) + "/"), b"", expect=ABSENT)
            except VersionChanged as exc:
                self._namespace.expire(directory, name)
                raise AlreadyExists(f"{name!r} was created by somebody else") from exc
            except Unavailable:
                self._namespace.expire(directory, name)
                raise
            node = self._namespace.nodes.directory(directory, name)
            self._own(node, directory, mode=mode, uid=uid, gid=gid)
            self._keeper.note(node)
            self._appeared(directory, name, node)
            # There was nothing of that name, so there is nothing in it: no listing has to say so.
            node.listing = Listing.of_nothing(node.key, node.catalog, absent_since)
            self._keeper.made(node)
            await self._keeper.attributes.journaled()
            return node

    async def unlink(self, directory: Directory, name: bytes) -> None:
        """Remove a file's name. Raises NotFound, IsADirectory."""
        known = directory.entries.get(name)  # the kernel has looked it up; asking again would be a request
        if known is not None and known.node is not None:
            await find_names(known.node, self._namespace)
        async with self.working_in(directory):
            await self.retrying(lambda: self._unlink(directory, name), (directory, name))
            await self._keeper.attributes.journaled()

    async def _unlink(self, directory: Directory, name: bytes) -> None:
        node = await self._namespace.existing(directory, name)
        if not isinstance(node, File):
            raise IsADirectory(f"{name!r} is a directory")
        async with node.lock:
            await self._storing.recognize(node)
            info = node.info_at(directory, name)
            if info is not None:
                self.require_deleting(name)
            if not node.others:
                await self._files.detach(node)
            if info is not None:
                await self.keep_alive(directory, without=name)
                await self._store.delete(info.key, expect=info.version)
            await self.nameless(node, directory, name)
            self._gone(directory, name)

    async def nameless(self, node: File, directory: Directory, name: bytes) -> None:
        """A file has lost a name, perhaps its last; the caller has removed the object and holds the node's lock."""
        self._keeper.removed(directory, name)
        node.attributes.changed()
        if node.others:
            node.remove_name(directory, name)
        if not node.others and (directory, name) == (node.parent, node.name):
            await self._files.unlinked(node)
        else:
            self._keeper.note(node)

    async def rmdir(self, directory: Directory, name: bytes) -> None:
        """Remove an empty directory. Raises NotFound, NotADirectory, NotEmpty."""
        async with self.working_in(directory):
            node = await self._namespace.existing(directory, name)
            if not isinstance(node, Directory):
                raise NotADirectory(f"{name!r} is not a directory")
            self.require_deleting(name)
            async with self._keeper.attributes.quiet(node.key):
                hidden = await self.require_empty(node)
                await self.keep_alive(directory, without=name)
                await self.remove_hidden(node, hidden)
                await self._store.delete(node.key)
            node.unlinked = True
            self._keeper.removed(directory, name, folder=True)
            self._gone(directory, name)
            await self._keeper.attributes.journaled()

    async def remove_hidden(self, directory: Directory, hidden: Sequence[Key]) -> None:
        """Remove mountd's own objects, which `require_empty` found, from a directory that is to go; it is quiet."""
        self._keeper.attributes.forget_below(directory.key)
        directory.sidecar = None
        for key in hidden:
            await self._store.delete(key)

    async def require_empty(self, directory: Directory) -> list[Key]:
        """Raise NotEmpty when anything is in the directory, in the store or only here; return mountd's own objects."""
        if any(isinstance(node, Directory) or node.dirty for node in directory.nodes() if isinstance(node, File)):
            raise NotEmpty(f"{directory.name!r} is not empty")
        found: list[Key] = []
        cursor = None
        while True:
            page = await self._store.list_page(directory.key, cursor=cursor, limit=100)
            if page.prefixes or any(_is_visible(info.key, directory.key) for info in page.objects):
                raise NotEmpty(f"{directory.name!r} is not empty")
            found += [info.key for info in page.objects if info.key != directory.key]
            cursor = page.cursor
            if cursor is None:
                return found

    async def keep_alive(self, directory: Directory, *, without: bytes) -> None:
        """Make sure that the directory is still there when the object `without` in it is not.

        Programs expect a directory to stay when its last file goes; for a store it would be gone.
        """
        if self._store.capabilities.folders or directory.parent is None or self._has_other(directory, without):
            return
        page = await self._store.list_page(directory.key, limit=100)
        gone = child_key(directory.key, without)
        lasting = (i for i in page.objects if i.key == directory.key or _is_visible(i.key, directory.key))
        if any(info.key != gone for info in lasting) or any(p != Key(gone + "/") for p in page.prefixes):
            return
        await self._store.put(directory.key, b"")
        if directory.listing is not None:
            directory.listing.marker = True

    def _has_other(self, directory: Directory, without: bytes) -> bool:
        """Whether a fresh listing or this mount's own changes show something else in the directory, or its marker."""
        listing = directory.listing
        if listing is not None and listing.at + self._namespace.holds(directory) > trio.current_time():
            if listing.marker:
                return True
            if len(directory.catalog) > (directory.catalog.find(without) is not None):
                return True
            return any(
                entry.node is not None and not _only_here(entry) and name != without
                for name, entry in directory.entries.items()
            )
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

    async def retrying(self, change: Callable[[], Awaitable[None]], *places: tuple[Directory, bytes]) -> None:
        """Carry out `change`; when somebody else was faster, look at what is there now and try again.

        Where the answer to a request was lost, the next one who uses the names looks.
        """
        for _ in range(ATTEMPTS):
            try:
                return await change()
            except (VersionChanged, Unavailable) as exc:
                for directory, name in places:
                    self._namespace.expire(directory, name)
                if isinstance(exc, Unavailable):
                    raise
        raise Stale(f"{places[0][1]!r} keeps being changed by somebody else")


def _only_here(entry: Entry) -> bool:
    """Whether the store has nothing yet under a name that this mount has made."""
    return isinstance(entry.node, File) and entry.node.info is None


def _is_visible(key: Key, directory: Key) -> bool:
    return key != directory and not is_hidden(key[len(directory) :].encode("utf-8", "surrogatepass"))
