"""The backing file of one content: its descriptors, who else relies on it, and which blocks are trusted."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

import trio

from mountd.data import disk
from mountd.errors import from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Trust(NamedTuple):
    """What need not be compared again, as long as the backing file is as it was left.

    Attributes:
        state: of the file, see `_state_of`.
        compared: numbers of blocks that were, `None` for all.
    """

    state: tuple[int, ...] | None
    compared: frozenset[int] | None


class BackingFile:
    """Opened when it is needed, and closed only when no thread reads from it.

    Args:
        compared: whether nobody else can have changed the file since it was written.
        opened, closed: told when a descriptor is opened, in any thread, and when it is closed.

    Attributes:
        readers: how many reads are under way in threads.
        original: descriptor of the store's own file, where the store is a folder of this machine; see `inplace`.
    """

    def __init__(self, path: Path, *, compared: bool, opened: Callable[[], None], closed: Callable[[], None]) -> None:
        self.path = path
        self.readers = 0
        self.original: int | None = None
        self._opened, self._closed = opened, closed
        self._fd: int | None = None
        self._opening = threading.Lock()
        self._shared = False  # it has a second name, under which it must not change
        self._retired: list[int] = []
        self._left: int | None = None  # the one by which the file was last open, until that is closed
        # Which blocks have been compared since somebody else may have changed the file; None: nobody can have.
        self._compared: set[int] | None = None if compared else set()
        self._closed_as: tuple[int, ...] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a descriptor."""
        return self._fd is not None

    def fd(self) -> int:
        """Return the descriptor. May be called from a thread; raises OSError."""
        if self._fd is None:
            with self._opening:  # a large write opens it in a thread, while others read
                if self._fd is None:
                    self._fd = self._open()
        return self._fd

    def _open(self) -> int:
        try:
            fd = os.open(self.path, _FLAGS, 0o600)
        except FileNotFoundError:  # somebody has deleted the folder
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path, _FLAGS, 0o600)
        self._shared = os.fstat(fd).st_nlink > 1
        if self._closed_as is not None and self._closed_as != _state_of(fd):
            self._compared = set()
        self._opened()
        return fd

    def trusts(self, numbers: Iterable[int]) -> bool:
        """Tell whether these blocks need not be compared with their checksums."""
        self.fd()  # opening it tells whether somebody has been at it
        return self._compared is None or self._compared.issuperset(numbers)

    def compared(self, numbers: Iterable[int]) -> None:
        """These blocks have just been compared."""
        if self._compared is not None:
            self._compared.update(numbers)

    @property
    def trust(self) -> Trust:
        """What has been compared, of a file that is closed."""
        return Trust(self._closed_as, None if self._compared is None else frozenset(self._compared))

    def rely_on(self, trust: Trust) -> None:
        """Take over what was compared before the file was closed. Before anything is read."""
        if trust.state is not None:
            self._closed_as = trust.state
            self._compared = None if trust.compared is None else set(trust.compared)

    async def link(self, link: Callable[[], None]) -> None:
        """Have `link`, which runs in a thread, give the file a second name: from then on this one does not change."""
        self.fd()
        await trio.to_thread.run_sync(link)
        self._shared = True

    def is_shared(self) -> bool:
        """Tell whether the file has a second name still."""
        if self._shared and os.fstat(self.fd()).st_nlink < 2:
            self._shared = False
        return self._shared

    async def make_own(self) -> None:
        """Go on with a copy of the file where somebody else relies on this one. Raises NoSpace."""
        if not self.is_shared():
            return
        copy = self.path.with_name(self.path.name + ".copy")

        def replace() -> int:
            descriptor = os.open(copy, _FLAGS | os.O_TRUNC, 0o600)
            try:
                disk.copy_all(self.fd(), descriptor)
                copy.replace(self.path)
            except OSError:
                os.close(descriptor)
                copy.unlink(missing_ok=True)
                raise
            return descriptor

        try:
            descriptor = await trio.to_thread.run_sync(replace)
        except OSError as exc:
            raise from_os_error(exc) from exc
        old, self._fd, self._shared = self.fd(), descriptor, False
        self._retire(old)

    def give_away(self) -> None:
        """The store has made its own file out of this one: absent bytes are read from there from now on."""
        descriptor, self._fd = self.fd(), None
        self._closed()
        self.keep_original(descriptor)
        self.path.unlink(missing_ok=True)

    def keep_original(self, descriptor: int) -> None:
        """Read absent bytes from this file of the store from now on."""
        old, self.original = self.original, descriptor
        if old is not None:
            self._retire(old)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keep descriptors from being closed that threads use."""
        self.readers += 1
        try:
            yield
        finally:
            self.readers -= 1
            if not self.readers:
                self._close_retired()

    def close(self) -> None:
        """Close all; the file is opened again on demand, and not trusted then if somebody has been at it."""
        self.close_file()
        if self.original is not None:
            self._retire(self.original)
        self.original = None

    def close_file(self) -> None:
        """Close the file, and keep the store's own."""
        if self._fd is not None:
            self._left, self._fd, self._closed_as = self._fd, None, None
            self._retire(self._left)
            self._closed()

    def _retire(self, descriptor: int) -> None:
        """Close a descriptor, once nobody uses it: until then it must not come to stand for another file."""
        self._retired.append(descriptor)
        if not self.readers:
            self._close_retired()

    def _close_retired(self) -> None:
        while self._retired:
            descriptor = self._retired.pop()
            if descriptor == self._left:  # only now: a write that was under way has changed the file
                self._closed_as, self._left = _state_of(descriptor), None
            os.close(descriptor)


def _state_of(fd: int) -> tuple[int, ...]:
    """Return what changes with every change of a file's bytes, and cannot be set back."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
