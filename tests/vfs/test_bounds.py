"""What a mount keeps in memory has bounds, kept by letting go of what can be asked for again."""

import itertools
import os
from pathlib import Path

import pytest
import trio

from mountd.fuse.operations import Operations
from mountd.metrics import Watch
from mountd.objects.interface import Chunk, Key, ObjectInfo
from mountd.objects.limit import LimitedStore
from mountd.objects.memory import MemoryStore
from mountd.vfs import keeper

DIRECTORIES, FILES = 20, 100


class Kernel:
    """What the kernel does with names: it remembers all that it is told of, and forgets what it is asked to."""

    def __init__(self, shell):
        self._shell = shell
        self._known = {}

    async def lookup(self, directory, name):
        node = await self._shell.fs.namespace.glance(self._shell.fs.directory(directory), name)
        return None if node is None else self._told(directory, name, node)

    def _told(self, directory, name, node):
        self._shell.fs.nodes.told(node)
        ino, count = self._known.get((directory, name), (node.ino, 0))
        if ino != node.ino:
            self.forget(directory, name)
            count = 0
        self._known[directory, name] = node.ino, count + 1
        return node.ino

    async def walk(self):
        """Look at everything, like `find -ls`, and return how many files there were."""
        found, left = 0, [1]
        while left:
            directory = left.pop()
            handle = self._shell.fs.directories.open(self._shell.fs.directory(directory))
            position, entries = 2, []
            while True:
                await self._shell.fs.directories.load(handle, position)
                page = list(self._shell.fs.directories.entries(handle, position))[:50]
                for name, node, position in page:  # noqa: B007  (the last position is where the next page begins)
                    entries.append((self._told(directory, name, node), node.attributes.mode & 0o170000 == 0o040000))
                if not page:
                    break
            self._shell.fs.directories.release(handle)
            left += [ino for ino, is_folder in entries if is_folder]
            found += sum(not is_folder for _, is_folder in entries)
        return found

    def trim(self):
        """Let go of what is too much, as a daemon does from time to time."""
        for directory, name in list(self._shell.fs.bounds.trim()):
            self.forget(directory, name)

    def forget(self, directory, name):
        ino, count = self._known.pop((directory, name), (0, 0))
        if count:
            self._shell.fs.forget(ino, count)


@pytest.fixture
async def tree():
    store = MemoryStore()
    for d in range(DIRECTORIES):
        for f in range(FILES):
            await store.put(Key(f"d{d:02}/f{f:03}"), b"x" * 10)
    return store


async def test_names_are_let_go(mount, tree):
    """After a walk through everything, as many stay as the setting says; then they are found again."""
    async with mount(tree, name_limit=500) as shell:
        kernel = Kernel(shell)
        assert await kernel.walk() == DIRECTORIES * FILES
        assert shell.fs.status().names > DIRECTORIES * FILES
        for _ in range(3):
            kernel.trim()
        assert shell.fs.status().names <= 500
        assert len(shell.fs.nodes.numbers) <= 500
        assert await kernel.walk() == DIRECTORIES * FILES
        assert await shell.read("d07/f077") == b"x" * 10


async def test_files_that_were_read_are_let_go(mount, tree):
    """Nodes, with what is known of their bytes; not those that are open, nor those that the store lacks."""
    async with mount(tree, name_limit=200, node_limit=100, freshness="inf") as shell:
        kernel = Kernel(shell)
        await kernel.walk()
        for f in range(FILES):
            for d in range(DIRECTORIES // 4):
                assert await shell.read(f"d{d:02}/f{f:03}") == b"x" * 10
        assert shell.fs.status().nodes > 500
        opened = await shell.open("d03/f003")
        written = await shell.create("d04/new")
        await shell.fs.files.write(written, 0, b"not stored yet")
        for _ in range(5):
            kernel.trim()
        assert shell.fs.status().nodes <= 100
        assert shell.fs.status().names <= 200
        assert bytes(await shell.fs.files.read(opened, 0, 100)) == b"x" * 10
        assert bytes(await shell.fs.files.read(written, 0, 100)) == b"not stored yet"
        await shell.close(opened)
        await shell.close(written)
        assert await shell.stored("d04/new") == b"not stored yet"
        assert await shell.read("d19/f000") == b"x" * 10


async def test_nobody_waits_while_the_kernel_gives_back_everything_it_knows(mount, tree):
    """As it does in many requests at a time when memory is short: others are answered after each few."""
    async with mount(tree, freshness="inf") as shell:
        kernel = Kernel(shell)
        await kernel.walk()
        known, kernel._known = list(kernel._known.values()), {}
        operations, left = Operations(shell.fs, Watch()), []
        async with trio.open_nursery() as nursery:
            for start in range(0, len(known), 40):
                nursery.start_soon(operations.forget, known[start : start + 40])
            while left[-1:] != [0]:
                left.append(len(shell.fs.nodes.numbers))
                await trio.lowlevel.checkpoint()
        # Twice 20: in one round of trio's the other may come first, in the next one last.
        assert max(before - after for before, after in itertools.pairwise(left)) <= 40
        assert await kernel.walk() == DIRECTORIES * FILES


async def test_a_directory_that_is_being_read_is_left_alone(mount, tree):
    """A reader misses no name, whatever is let go meanwhile. [readdir-snapshot]"""
    async with mount(tree, name_limit=1, node_limit=1) as shell:
        kernel = Kernel(shell)
        handle = shell.fs.directories.open(await shell.node("d05"))
        names, position = [], 2
        while found := await shell.readdir(handle, position, limit=7):
            names += [name for name, _, _ in found]
            position = found[-1][2]
            kernel.trim()
        assert names == [b"f%03d" % f for f in range(FILES)]
        shell.fs.directories.release(handle)


async def test_names_that_do_not_exist_are_let_go(mount, tree):
    """A program that looks for thousands of them, such as an import path."""
    async with mount(tree, name_limit=300, freshness=0) as shell:
        kernel = Kernel(shell)
        for i in range(2000):
            assert not await shell.exists(f"d00/missing{i}")
        await trio.sleep(0.01)
        kernel.trim()
        assert shell.fs.status().names <= 300
        assert await shell.exists("d00/f001")


async def test_what_was_removed_here_stays_removed(mount, tree):
    """What this mount knows better than a listing that began before is not let go."""
    async with mount(tree, name_limit=1, node_limit=1, freshness="inf") as shell:
        kernel = Kernel(shell)
        await kernel.walk()
        await shell.unlink("d00/f001")
        kernel.trim()
        assert not await shell.exists("d00/f001")
        assert len(await shell.listdir("d00")) == FILES - 1


async def test_descriptors_are_closed(mount, tree, tmp_path):
    """Of files that the kernel still knows, and that nobody has open; they are opened again when they are read."""
    async with mount(tree, open_files_limit=10) as shell:
        handles = [await shell.open(f"d00/f{f:03}") for f in range(50)]
        for handle in handles:
            assert bytes(await shell.fs.files.read(handle, 0, 10)) == b"x" * 10
            assert open_below(tmp_path) <= 11
        for handle in handles:
            assert bytes(await shell.fs.files.read(handle, 0, 10)) == b"x" * 10
            await shell.fs.files.write(handle, 10, b"more")
            assert open_below(tmp_path) <= 11
        for handle in handles:
            await shell.close(handle)
        assert shell.fs.status().open_files <= 10
        assert await shell.stored("d00/f007") == b"x" * 10 + b"more"


def open_below(folder):
    """Return how many backing files of a mount this process has open."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += "/blobs/" in os.readlink(f"/proc/self/fd/{number}").removeprefix(str(folder))
        except FileNotFoundError:
            continue
    return found


async def test_times_are_remembered_for_the_last_files(mount, monkeypatch):
    """Of what this mount wrote; the store tells the others."""
    monkeypatch.setattr(keeper, "REMEMBERED", 50)
    async with mount() as shell:
        for i in range(120):
            await shell.write(f"f{i}", b"x")
        assert len(shell.fs.keeper._times) <= 50


async def test_deleted_files_leave_nothing(mount, tmp_path):
    """Neither bytes on disk, nor what is known of them in memory."""
    async with mount() as shell:
        for i in range(50):
            await shell.write(f"f{i}", b"x" * 100_000)
            await shell.read(f"f{i}")
            await shell.unlink(f"f{i}")
        assert shell.fs.cache.bytes == 0
        assert len(shell.fs.cache._segments) == 0
        assert left_below(tmp_path) == []


def left_below(folder):
    return list(Path(folder).rglob("blobs/*/*"))


async def test_bodies_under_way_are_counted():
    """No more at a time than the memory for them allows."""

    class Slow(MemoryStore):
        now = most = 0

        async def read_range(self, key, start, length, *, version=None):
            Slow.now += 1
            Slow.most = max(Slow.most, Slow.now)
            await trio.sleep(0.01)
            Slow.now -= 1
            return Chunk(b"", ObjectInfo(key, 0, 0, "v"))

    limited = LimitedStore(Slow(), deadline=10, data_requests=3)
    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(limited.read_range, Key(f"{i}"), 0, 1)
    assert Slow.most == 3


async def test_a_linked_file_that_was_forgotten_is_met_as_another_one(mount):
    """However long something goes on holding what it was: it has no number any more that the kernel could ask for."""
    async with mount() as shell:
        await shell.write("a", b"1")
        held = await shell.node("a")
        await shell.fs.changes.link(held, shell.fs.nodes.root, b"b")
        shell.fs.nodes.told(held)
        shell.fs.forget(held.ino, 1)
        for name in ("a", "b"):
            found = await shell.node(name)
            assert shell.fs.nodes.get(found.ino) is found
        assert held is not found
        assert {name for _, name in found.places()} == {b"a", b"b"}
