"""Open files: reading and writing them."""

from __future__ import annotations

import logging
import mmap
import os
from typing import TYPE_CHECKING

import trio

from mountd.data.fetch import WHOLE
from mountd.errors import BadHandle, FileTooLarge, MountdError, Stale
from mountd.objects.interface import Buffer, MiB, ObjectStore
from mountd.vfs.links import find_names
from mountd.vfs.neighbours import Neighbours
from mountd.vfs.storing import WRITE_PATIENCE, content_of

if TYPE_CHECKING:
    from mountd.data.cache import Cache
    from mountd.data.content import Content
    from mountd.data.fetch import Fetcher
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.nodes import File
    from mountd.vfs.storing import Storing

log = logging.getLogger(__name__)

# The largest read the kernel sends.
_READ_MAX = MiB


class Files:
    """The files of one mount.

    Args:
        storing: brings what is written to the store.
        fetcher: serves reads.
    """

    def __init__(
        self,
        store: ObjectStore,
        namespace: Namespace,
        storing: Storing,
        *,
        nursery: trio.Nursery,
        cache: Cache,
        fetcher: Fetcher,
    ) -> None:
        self._objects = store
        self._namespace = namespace
        self._storing = storing
        self._cache = cache
        self.fetcher = fetcher
        self._handles: dict[int, File] = {}
        self._writing: set[int] = set()
        self._last_handle = 0
        self._misjudged: set[File] = set()  # the kernel has another idea of their length
        self._neighbours = Neighbours(namespace, fetcher, cache, nursery=nursery, content=self.content)
        # One buffer serves all reads: it is filled and handed to the kernel without an await in between. In one huge
        # page the kernel finds its memory at once, and not page by page.
        whole = mmap.mmap(-1, 2 * MiB)
        whole.madvise(mmap.MADV_HUGEPAGE)
        self._buffer = memoryview(whole)[:_READ_MAX]

    @property
    def handles(self) -> int:
        """How many files are open."""
        return len(self._handles)

    async def open(self, node: File, flags: int) -> int:
        """Open a file and return its handle.

        Raises Stale when the name leads to another version by now: looking it up again gives the node to open.
        """
        if not (await self._fetched(node, flags) or await self._namespace.current(node)):
            raise Stale(f"{node.key}: replaced or removed by somebody else")
        if flags & os.O_TRUNC:
            await self.truncate(node, 0, opened=True)
        elif flags & os.O_ACCMODE:
            await find_names(node, self._namespace)
        return self.attach(node, flags)

    async def _fetched(self, node: File, flags: int) -> bool:
        """Fetch a small file that is opened to be read: the request for it tells whether it is the current one, too.

        Returns False, and nothing was asked for, where that is known or there is nothing to fetch; and where it is not.
        """
        to_be_read = not flags & (os.O_ACCMODE | os.O_TRUNC) and 0 < node.size <= WHOLE and self.fetcher.prefetches
        if not to_be_read or not node.regular or node.info is None:
            return False
        content = self.content(node)
        if not self.fetcher.is_absent(content) or self._namespace.is_fresh(node):
            return False
        asked = trio.current_time()
        info = await self.fetcher.fetch_latest(content)
        return info is not None and self._namespace.found(node, info, asked)

    def attach(self, node: File, flags: int) -> int:
        """Return a handle for a node that is known to be current."""
        self.content(node)
        node.opens += 1
        self._last_handle += 1
        self._handles[self._last_handle] = node
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._writing.add(self._last_handle)
        return self._last_handle

    async def close(self, handle: int) -> None:
        """A descriptor of a handle is closed: `flush`, unless it only reads and somebody else is still writing."""
        node = self.node(handle)
        if handle in self._writing or (node.dirty and not self._is_written(node)):
            await self._storing.flush(node)

    def _is_written(self, node: File) -> bool:
        return any(self._handles[handle] is node for handle in self._writing)

    def is_being_made(self, node: File) -> bool:
        """Whether a program is writing the file, and the store has nothing of it but perhaps its name."""
        empty = node.info is None or not node.info.size
        return empty and not node.others and self._is_written(node)

    def content(self, node: File) -> Content:
        """Return the node's bytes on this machine."""
        return content_of(node, self._cache)

    def node(self, handle: int) -> File:
        """Return the node of an open handle. Raises BadHandle."""
        try:
            return self._handles[handle]
        except KeyError:
            raise BadHandle(f"no open file has handle {handle}") from None

    async def read(self, handle: int, offset: int, size: int) -> Buffer:
        """Return up to `size` bytes at `offset`; the memory is overwritten by the next call."""
        node = self.node(handle)
        content = self.content(node)
        if offset == 0 and content.size <= WHOLE:
            self._neighbours.was_read(node)
        return await self.fetcher.read(content, offset, self._buffer[:size])

    async def write(self, handle: int, offset: int, data: Buffer) -> int:
        """Write `data` at `offset` and return how many bytes were written: all of them."""
        node = self.node(handle)
        self._require_size(offset + len(data))
        content = self.content(node)
        await self._storing.slow_down(WRITE_PATIENCE)
        await content.write(offset, data)
        self._storing.wrote(node, content, offset, data)
        return len(data)

    async def truncate(self, node: File, size: int, *, opened: bool) -> None:
        """Set a file's length. Without an open handle that will be closed later, the store has it on return.

        Raises Stale when the name leads elsewhere by now, and why the store has not taken it; then it is kept as what
        `flush` could not store, and the kernel, which goes on with the length from before, gets to know the file anew.
        """
        self._require_size(size)
        if node.displaced and not opened:
            raise Stale(f"{node.key}: replaced or removed by somebody else")
        await find_names(node, self._namespace)
        content = self.content(node)
        if content.size != size:
            await content.truncate(size)
            self._storing.modified(node)
        if not opened and not node.opens:
            try:
                await self._storing.flush(node)
            except BaseException:  # the request's deadline is one
                self._misjudged.add(node)
                raise
            finally:
                if not node.opens:
                    self._rest(node)

    def _require_size(self, size: int) -> None:
        """Raise FileTooLarge now rather than at `close()`."""
        limit = self._objects.capabilities.max_object
        if size > limit:
            raise FileTooLarge(f"the store keeps objects of up to {limit} bytes")

    async def release(self, handle: int) -> None:
        """Close a handle. What is dirty still, because a flush failed or was never asked for, is tried once more."""
        node = self._handles.pop(handle)
        self._writing.discard(handle)
        node.opens -= 1
        if node.opens:
            return
        try:
            await self._storing.flush(node)
        except MountdError as exc:
            log.warning("%s: kept on local disk, will be tried again: %s", node.key, exc)
        if not node.opens:
            incomplete = node.content if node.content is not None and node.content.refused else None
            if incomplete is not None and not node.unlinked:
                self._storing.give_up(node)
            self._rest(node)
            if incomplete is not None:
                await self._storing.forget(node, incomplete)

    def _rest(self, node: File) -> None:
        if node in self._misjudged:
            self._misjudged.discard(node)
            self._storing.meet_anew(node)
        if node.content is None:
            return
        self.fetcher.release(node.content)
        if node.unlinked:
            self._cache.drop(node.content)
            node.content = None
        elif not node.dirty:
            self._cache.rest(node.content)

    async def detach(self, node: File) -> None:
        """The name is going away. A handle that is open goes on working: bring here what only the store has."""
        if node.opens:
            content = self.content(node)
            if content.base is not None:
                content.pinned = True
                await self.fetcher.hydrate(content)

    async def unlinked(self, node: File) -> None:
        """The node's object is gone; the bytes live as long as a handle does."""
        node.unlinked = True
        await self._storing.forget(node, node.content)
        if not node.opens:
            self._rest(node)

    def forget(self, node: File) -> bool:
        """The kernel has forgotten the node: let go of it unless it is open or dirty; tell whether it is gone."""
        if node.opens or (node.dirty and not node.unlinked):
            return False
        if node.content is not None:
            self._cache.leave(node.content)
            node.content = None
        return True

    async def settle(self) -> None:
        """Return when what has been asked of the store is on this machine."""
        await self.fetcher.settle()

    def being_written(self) -> list[File]:
        """Return the files that programs have open to write to."""
        return [node for node in {self._handles[handle] for handle in self._writing} if not node.unlinked]
