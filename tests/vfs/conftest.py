"""A file system on an in-memory store, without a kernel, on a clock that jumps."""

import contextlib
import itertools

import pytest
import trio
import trio.testing

from mountd.config import MountSettings
from mountd.objects.interface import Key
from mountd.objects.memory import MemoryStore
from mountd.vfs.opening import open_filesystem

WHO = {"uid": 0, "gid": 0}


class RecordingStore:
    """Passes everything on and keeps the names and first arguments of the calls."""

    def __init__(self, inner):
        self._inner = inner
        self.calls = []

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        async def call(*args, **kwargs):
            self.calls.append((name, getattr(args[0], "key", args[0]) if args else ""))
            return await value(*args, **kwargs)

        return call

    def taken(self):
        """Return the calls since the last look."""
        calls, self.calls = self.calls, []
        return calls


class SlowStore(MemoryStore):
    """A store that lists the folder `d/` in pages of ten names, each of which takes `PAGE` seconds.

    Attributes:
        most: how many of its pages were asked for at the same time.
    """

    PAGE = 0.3

    def __init__(self):
        super().__init__()
        self.most = self._now = 0

    async def list_page(self, prefix, *, recursive=False, cursor=None, limit=1000, known=b""):
        if prefix != "d/":
            return await super().list_page(prefix, recursive=recursive, cursor=cursor, limit=limit)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            page = await super().list_page(prefix, recursive=recursive, cursor=cursor, limit=min(limit, 10))
            await trio.sleep(self.PAGE)
        finally:
            self._now -= 1
        return page


class Shell:
    """The few file system calls that tests need, by path."""

    def __init__(self, fs, store, other):
        self.fs, self.store, self.other = fs, store, other

    async def walk(self, path):
        node = self.fs.nodes.root
        *parents, name = path.strip("/").encode().split(b"/")
        for part in parents:
            node = await self.fs.namespace.existing(node, part)
        return node, name

    async def node(self, path):
        directory, name = await self.walk(path)
        return await self.fs.namespace.existing(directory, name)

    async def exists(self, path):
        directory, name = await self.walk(path)
        return await self.fs.namespace.lookup(directory, name) is not None

    async def create(self, path, flags=0):
        directory, name = await self.walk(path)
        return (await self.fs.changes.create(directory, name, mode=0o100644, flags=flags, **WHO))[1]

    async def write(self, path, data):
        handle = await self.create(path)
        await self.fs.files.truncate(self.fs.files.node(handle), 0, opened=True)
        await self.fs.files.write(handle, 0, data)
        await self.close(handle)

    async def close(self, handle):
        try:
            await self.fs.storing.flush(self.fs.files.node(handle))
        finally:
            await self.fs.files.release(handle)

    async def open(self, path, flags=0):
        """Open like the kernel: a stale node is looked up again."""
        from mountd.errors import Stale

        for _ in range(3):
            with contextlib.suppress(Stale):
                return await self.fs.files.open(await self.node(path), flags)
        raise Stale(path)

    async def read(self, path):
        handle = await self.open(path)
        try:
            return bytes(await self.fs.files.read(handle, 0, 1 << 20))
        finally:
            await self.close(handle)

    async def mkdir(self, path):
        directory, name = await self.walk(path)
        return await self.fs.changes.mkdir(directory, name, mode=0o40755, **WHO)

    async def unlink(self, path):
        await self.fs.changes.unlink(*await self.walk(path))

    async def rmdir(self, path):
        await self.fs.changes.rmdir(*await self.walk(path))

    async def rename(self, source, target, flags=0):
        await self.fs.renames.rename(await self.walk(source), await self.walk(target), flags=flags)

    async def listdir(self, path=""):
        return await self.names(await self.node(path) if path else self.fs.nodes.root)

    async def names(self, directory):
        handle = self.fs.directories.open(directory)
        names, position = [], 2
        while found := await self.readdir(handle, position):
            names += [name.decode() for name, _, _ in found]
            position = found[-1][2]
        self.fs.directories.release(handle)
        return sorted(names)

    async def readdir(self, handle, position, limit=170):
        """Return name, node and next position as often as fits into one answer to the kernel, which is told of them."""
        await self.fs.directories.load(handle, position)
        found = []
        for name, node, after in itertools.islice(self.fs.directories.entries(handle, position), limit):
            if name not in (b".", b".."):
                self.fs.nodes.told(node)
            found.append((name, node, after))
        return found

    async def put(self, key, data):
        """Store an object as another client would."""
        return await self.other.put(Key(key), data)

    async def stored(self, key):
        """Return an object's bytes as another client sees them."""
        return (await self.other.read_range(Key(key), 0, 1 << 30)).data


@pytest.fixture
def jumping_clock():
    """A clock that jumps to the next deadline when nothing has happened for a moment: threads get time to finish."""
    return trio.testing.MockClock(autojump_threshold=0.05)


@pytest.fixture
def mount(tmp_path):
    """Return what opens a file system; a second one on the same store continues from the same disk."""

    @contextlib.asynccontextmanager
    async def open_mount(store=None, *, data="data", **settings):
        other = store or MemoryStore()
        recording = RecordingStore(other)
        chosen = MountSettings.merge(settings)
        async with open_filesystem(recording, data=tmp_path / data, settings=chosen, root="memory") as fs:
            recording.taken()  # what it takes to mount
            yield Shell(fs, recording, other)

    return open_mount
