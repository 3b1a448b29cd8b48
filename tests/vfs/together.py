"""Random operations of several programs at once, on a store that takes its time: `python -m tests.vfs.together`.

Nothing may wait for ever, and in the end a new mount has to show the same tree. The clock jumps, so that a second of
waiting costs milliseconds; threads of the journal come in as they like, so that a seed does not repeat a run exactly.
"""

import argparse
import contextlib
import itertools
import math
import os
import random
import tempfile
from pathlib import Path

import trio
import trio.testing

from mountd.config import MountSettings
from mountd.errors import MountdError, NotADirectory, NotFound
from mountd.objects.interface import Key
from mountd.objects.memory import MemoryStore
from mountd.vfs.nodes import Directory, File
from mountd.vfs.opening import open_filesystem
from mountd.vfs.rename import EXCHANGE, NOREPLACE
from tests.vfs.conftest import WHO, Shell

NAMES = "abc"
# Seconds: what a request takes at most, and after how many an operation hangs.
DELAYS, HANGS = (0, 0.1, 0.3, 1.0), 5000


class SlowStore:
    """Passes requests on, and takes its time before and after."""

    def __init__(self, inner, rng):
        self._inner, self._rng = inner, rng

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        async def call(*args, **kwargs):
            await trio.sleep(self._rng.choice(DELAYS) * self._rng.random())
            try:
                return await value(*args, **kwargs)
            finally:
                await trio.sleep(self._rng.choice(DELAYS) * self._rng.random())

        return call


class KernelLocks:
    """What the kernel does not let programs do at the same time (Documentation/filesystems/directory-locking.rst).

    All that an operation needs is taken at once, so that these locks have no order to be got wrong. In a directory that
    was removed meanwhile, the kernel asks for nothing.
    """

    def __init__(self):
        self._held = set()
        self._changed = trio.Condition()

    @contextlib.asynccontextmanager
    async def holding(self, *what):
        wanted = set(what)
        async with self._changed:
            while self._held & wanted:
                await self._changed.wait()
            self._held |= wanted
        try:
            if any(isinstance(each, Directory) and each.unlinked for each in wanted):
                raise NotFound("removed")
            yield
        finally:
            self._held -= wanted
            with trio.CancelScope(shield=True):
                async with self._changed:
                    self._changed.notify_all()


class Program:
    """Operations as the kernel passes them on: names are looked up first, and what cannot be is not asked for.

    `history` is a list that gets a line about each: when it began and ended, what it was, and what came of it.
    """

    def __init__(self, shell, locks, rng, history):
        self._shell, self._fs, self._locks, self._rng, self._history = shell, shell.fs, locks, rng, history
        self._paths = []

    async def run(self, steps):
        operations = [self.write, self.mkdir, self.unlink, self.rmdir, self.list, self.read, self.link, self.chmod]
        operations += [self.truncate, self.sync, *[self.rename] * 4]
        for _ in range(steps):
            operation, begun, outcome = self._rng.choice(operations), trio.current_time(), "done"
            self._paths = []
            try:
                with trio.fail_after(HANGS):
                    await operation()
            except MountdError as exc:
                outcome = repr(exc)
            what = " ".join([operation.__name__, *self._paths])
            self._history.append(f"{begun:9.3f} to {trio.current_time():9.3f} {what}: {outcome}")

    def _path(self):
        path = "/".join(self._rng.choice(NAMES) for _ in range(self._rng.randint(1, 3)))
        self._paths.append(path)
        return path

    async def _place(self):
        """Return a directory and a name in it."""
        node = self._fs.nodes.root
        *parents, name = self._path().encode().split(b"/")
        for part in parents:
            node = await self._fs.namespace.existing(node, part)
            if not isinstance(node, Directory):
                raise NotADirectory("on the way")
        return node, name

    async def _node(self, kind):
        node = await self._fs.namespace.existing(*await self._place())
        if not isinstance(node, kind):
            raise NotFound("of that kind")
        return node

    async def write(self):
        place = await self._place()
        known = await self._fs.namespace.lookup(*place)
        if known is None:
            async with self._locks.holding(place[0]):
                if await self._fs.namespace.lookup(*place) is not None:
                    return
                flags = os.O_WRONLY | self._rng.choice([0, os.O_EXCL])
                _, handle = await self._fs.changes.create(*place, mode=0o100644, flags=flags, **WHO)
        elif isinstance(known, File):
            handle = await self._fs.files.open(known, os.O_WRONLY | os.O_TRUNC)
        else:
            return
        await self._fs.files.write(handle, 0, self._rng.randbytes(self._rng.randint(1, 50)))
        await self._shell.close(handle)

    async def mkdir(self):
        place = await self._place()
        async with self._locks.holding(place[0]):
            if await self._fs.namespace.lookup(*place) is None:
                await self._fs.changes.mkdir(*place, mode=0o40755, **WHO)

    async def unlink(self):
        await self._remove(File, self._fs.changes.unlink)

    async def rmdir(self):
        await self._remove(Directory, self._fs.changes.rmdir)

    async def _remove(self, kind, remove):
        place = await self._place()
        node = await self._fs.namespace.existing(*place)
        async with self._locks.holding(place[0], node):
            if isinstance(node, kind) and await self._fs.namespace.lookup(*place) is node:
                await remove(*place)

    async def rename(self):
        source, target = await self._place(), await self._place()
        flags = self._rng.choice([0, 0, 0, NOREPLACE, EXCHANGE])
        node, replaced = await self._fs.namespace.existing(*source), await self._fs.namespace.lookup(*target)
        across = ["directories are moved across"] if source[0] is not target[0] else []
        victims = [each for each in (node, replaced) if each is not None and (across or each is not node)]
        async with self._locks.holding(source[0], target[0], *victims, *across):
            found = await self._fs.namespace.lookup(*source), await self._fs.namespace.lookup(*target)
            if found != (node, replaced) or node is replaced or _is_below(target[0], node):
                return
            if flags == (EXCHANGE if replaced is None else NOREPLACE):
                return
            other_kind = isinstance(node, File) != isinstance(replaced, File) and not flags
            if replaced is not None and (_is_below(source[0], replaced) or other_kind):
                return
            await self._fs.renames.rename(source, target, flags=flags)

    async def link(self):
        node, place = await self._node(File), await self._place()
        async with self._locks.holding(place[0], node):
            if await self._fs.namespace.lookup(*place) is None:
                await self._fs.changes.link(node, *place)

    async def list(self):
        await self._shell.names(await self._node(Directory))

    async def read(self):
        handle = await self._fs.files.open(await self._node(File), os.O_RDONLY)
        try:
            await self._fs.files.read(handle, 0, 100)
        finally:
            await self._shell.close(handle)

    async def chmod(self):
        node = await self._node(File)
        async with self._locks.holding(node):
            await self._fs.metadata.set(node, mode=0o100600)

    async def truncate(self):
        node = await self._node(File)
        async with self._locks.holding(node):
            await self._fs.files.truncate(node, self._rng.randint(0, 30), opened=False)

    async def sync(self):
        await self._fs.sync()


def _is_below(directory, node):
    while directory is not None:
        if directory is node:
            return True
        directory = directory.parent
    return False


async def tree(shell, top=""):
    """Return {path: bytes, or `None` of a directory} of all that a mount shows."""
    found = {}
    for name in await shell.listdir(top):
        path = f"{top}/{name}".lstrip("/")
        is_file = isinstance(await shell.node(path), File)
        found[path] = await shell.read(path) if is_file else None
        found |= {} if is_file else await tree(shell, path)
    return found


def try_seed(seed, *, programs=5, steps=20):
    """Have programs work at the same time; raise what is wrong then or afterwards: TooSlowError where one hung."""
    clock = trio.testing.MockClock(autojump_threshold=0.002)
    trio.run(lambda: _work(seed, programs=programs, steps=steps), clock=clock)


async def _work(seed, *, programs, steps):
    rng, store, history = random.Random(seed), MemoryStore(), []
    for path in map("/".join, itertools.product(NAMES, repeat=3)):
        if rng.random() < 0.5:
            await store.put(Key(path), b"x" * 10)
    settings = MountSettings.merge(
        {"freshness": rng.choice([0.0, 0.3, 1.0, math.inf]), "write_back": rng.random() < 0.3}
    )
    with tempfile.TemporaryDirectory(prefix="mountd-test-") as folder:

        @contextlib.asynccontextmanager
        async def mounted(store, name):
            async with open_filesystem(store, data=Path(folder, name), settings=settings, root="memory") as fs:
                yield Shell(fs, fs, store)

        async with mounted(SlowStore(store, rng), "data") as shell:
            locks = KernelLocks()
            async with trio.open_nursery() as nursery:
                for number in range(programs):
                    nursery.start_soon(Program(shell, locks, random.Random(f"{seed}.{number}"), history).run, steps)
            await shell.fs.sync()
            expected = await tree(shell)
        async with mounted(store, "other") as shell:
            found = await tree(shell)
    wrong = sorted(p for p in expected.keys() | found.keys() if expected.get(p, "-") != found.get(p, "-"))
    lines = [f"{path}: there {expected.get(path, '-')}, elsewhere {found.get(path, '-')}" for path in wrong]
    assert not wrong, "\n".join([f"seed {seed}, {settings}", *history, *lines])


def main():
    """Try one seed after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-n", "--runs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--programs", type=int, default=5)
    chosen = parser.parse_args()
    for seed in range(chosen.seed, chosen.seed + chosen.runs):
        print(f"seed {seed}", flush=True)
        try_seed(seed, programs=chosen.programs, steps=chosen.steps)


if __name__ == "__main__":
    main()
