"""Open directories: each handle reads one snapshot, so entries neither repeat nor go missing while others change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import BadHandle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.vfs.namespace import Namespace
    from mountd.vfs.nodes import Directory, Listing, Node


class _Handle:
    __slots__ = ("directory", "listing", "names")

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.listing: Listing | None = None
        self.names: list[bytes] = []


class Directories:
    """The open directories of one mount. Positions are indices into the handle's snapshot."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._handles: dict[int, _Handle] = {}
        self._last = 0

    def open(self, directory: Directory) -> int:
        """Return a handle."""
        self._last += 1
        self._handles[self._last] = _Handle(directory)
        return self._last

    async def load(self, handle: int, position: int) -> None:
        """Make sure that the snapshot is there; reading from the beginning again takes a new one."""
        opened = self._get(handle)
        if opened.listing is not None and position > 0:
            return
        opened.listing = await self._namespace.list_all(opened.directory)
        opened.names = list(self._namespace.names(opened.directory, opened.listing))

    def entries(self, handle: int, position: int) -> Iterator[tuple[bytes, Node, int]]:
        """Yield name, node and next position from `position` on; names that are gone by now are left out."""
        opened = self._get(handle)
        assert opened.listing is not None  # `load` comes first
        directory = opened.directory
        dots = ((b".", directory), (b"..", directory.parent or directory))
        for i, (name, above) in enumerate(dots):
            if i >= position:
                yield name, above, i + 1
        for i in range(max(0, position - len(dots)), len(opened.names)):
            name = opened.names[i]
            node = self._namespace.node_for(directory, name, opened.listing)
            if node is not None:
                yield name, node, i + len(dots) + 1

    def release(self, handle: int) -> None:
        """Close a handle."""
        self._handles.pop(handle, None)

    def directory(self, handle: int) -> Directory:
        """Return the directory of a handle. Raises BadHandle."""
        return self._get(handle).directory

    def _get(self, handle: int) -> _Handle:
        try:
            return self._handles[handle]
        except KeyError:
            raise BadHandle(f"no open directory has handle {handle}") from None
