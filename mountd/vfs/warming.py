"""Bringing files here before somebody reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mountd.errors import MountdError
from mountd.vfs.nodes import Directory, File
from mountd.vfs.readdir import DOTS
from mountd.writeback.parallel import each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mountd.data.cache import Cache
    from mountd.data.content import Content
    from mountd.data.fetch import Fetcher
    from mountd.vfs.namespace import Namespace
    from mountd.vfs.nodes import Node
    from mountd.vfs.readdir import Directories

# Files on their way at a time; each large one is several requests.
AT_ONCE = 8


@dataclass
class Warmed:
    """How far it is.

    Attributes:
        files, bytes: how much there is.
        here: bytes that were on this machine before.
        coming, fetched: bytes that are on their way, and that have come.
        left: files that are not done yet.
        no_room: bytes that were not fetched, because the cache would have to let go of what has just come.
        failed: path and reason of each file that could not be fetched.
    """

    files: int = 0
    bytes: int = 0
    here: int = 0
    coming: int = 0
    fetched: int = 0
    left: int = 0
    no_room: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


class Warmer:
    """Fetches whole files of one mount.

    Args:
        content: returns a file's bytes on this machine.
    """

    def __init__(
        self,
        namespace: Namespace,
        directories: Directories,
        fetcher: Fetcher,
        cache: Cache,
        *,
        content: Callable[[File], Content],
    ) -> None:
        self._namespace = namespace
        self._directories = directories
        self._fetcher = fetcher
        self._cache = cache
        self._content = content

    async def warm(self, node: Node, state: Warmed) -> None:
        """Fetch a file, or every file below a directory; `state` tells how far it is."""
        files = [file async for file in self._files(node)]
        state.files = state.left = len(files)
        state.bytes = sum(file.size for file in files)
        if self._fetcher.in_place:
            state.here, state.left = state.bytes, 0
            return

        async def fetch(file: File) -> None:
            try:
                await self._fetch(file, state)
            except MountdError as exc:
                state.failed.append((file.key, str(exc)))
            state.left -= 1

        await each(files, fetch, workers=AT_ONCE)

    async def _fetch(self, file: File, state: Warmed) -> None:
        content = self._content(file)
        here = content.extents.total()
        absent = content.size - here
        state.here += here
        if absent and not await self._bring(content, absent, state):
            state.no_room += absent
        if not file.opens and file.content is not None and not file.dirty:
            self._cache.rest(file.content)

    async def _bring(self, content: Content, absent: int, state: Warmed) -> bool:
        # What was here before may have to go; what has just come, or is coming, must not.
        if state.here + state.fetched + state.coming + absent > self._cache.limit:
            return False
        state.coming += absent
        try:
            if not await self._fetcher.bring(content):
                return False
        finally:
            state.coming -= absent
        state.fetched += absent
        return True

    async def _files(self, node: Node) -> AsyncIterator[File]:
        if isinstance(node, File):
            if node.regular:
                yield node
            return
        assert isinstance(node, Directory)
        for name in await self._names(node):
            child = await self._namespace.lookup(node, name)
            if child is not None:
                async for file in self._files(child):
                    yield file

    async def _names(self, directory: Directory) -> list[bytes]:
        handle = self._directories.open(directory)
        names: list[bytes] = []
        try:
            at = DOTS
            while True:
                await self._directories.load(handle, at)
                found = [(name, position) for name, _, position in self._directories.entries(handle, at)]
                if not found:
                    return names
                names += [name for name, _ in found]
                at = found[-1][1]
        finally:
            self._directories.release(handle)
