"""What was acknowledged is there whatever the store does, without a kernel.

Requests fail at random, or are carried out and their answers lost.
"""

import contextlib
import errno
import os
import random

import pytest
import trio.testing

from mountd.errors import MountdError, errno_of
from mountd.objects.interface import Key
from mountd.objects.memory import MemoryStore
from mountd.objects.retry import RetryingStore
from tests.faulty import FaultyStore
from tests.workload.check import OWN, compare, digest
from tests.workload.contents import Content
from tests.workload.manifest import ABSENT, DIRECTORY, Manifest
from tests.workload.plan import Plan, Sizes

KiB, MiB = 1024, 1 << 20
SIZES = Sizes(small=10 * KiB, large=(600 * KiB, 900 * KiB), share=0.1)
STEPS = 120


class ShellPerformer:
    """Carries out the steps of a plan by a `Shell`, as `tests.workload.perform` does by system calls."""

    def __init__(self, shell, manifest):
        self._shell, self._manifest = shell, manifest
        self._held = {}
        self.busy = self._held.keys()

    async def run(self, step):
        """Carry out a step; tell whether it succeeded."""
        if step.kind == "release":
            return await self.release(step.path)
        base = await self._read(step.path) if step.kind == "read" or step.changes_a_part else None
        if step.kind == "read" or (step.changes_a_part and base is None):
            return base is not None
        expected = self._manifest.expected
        change = step.change(expected, base)
        certain = all(expected.certain(path) for path in change.after)
        number = self._manifest.begin(change)
        handle = None
        try:
            handle = await self._change(step)
        except MountdError as exc:
            self._failed(number, step, exc, certain=certain)
            return False
        if handle is not None:
            self._held[step.path] = number, handle
            return step.kind == "hold" or await self.release(step.path)
        self._manifest.succeed(number, 0.0)
        return True

    async def release(self, path):
        """Close a file that is open, which acknowledges it."""
        number, handle = self._held.pop(path)
        try:
            await self._shell.close(handle)
        except MountdError as exc:
            self._failed(number, path, exc, certain=True)
            return False
        self._manifest.succeed(number, 0.0)
        return True

    def _failed(self, number, step, exc, *, certain):
        name = errno.errorcode[errno_of(exc)]
        self._manifest.fail(number, name, 0.0)
        if certain and name != "EIO":
            self._manifest.wrong(f"{step}: {name}: {exc}")

    async def _change(self, step):
        """Make the calls of a step, but the last one, for which the handle is returned that is to be closed."""
        shell, files = self._shell, self._shell.fs.files
        match step.kind:
            case "rename" | "rename-directory":
                return await shell.rename(step.path, step.target)
            case "unlink":
                return await shell.unlink(step.path)
            case "mkdir":
                await shell.mkdir(step.path)
                return None
            case "truncate":
                return await files.truncate(await shell.node(step.path), step.size, opened=False)
            case "append" | "edit":
                handle = await shell.open(step.path, os.O_RDWR)
                offset = step.offset if step.kind == "edit" else files.node(handle).size
            case _:
                handle, offset = await shell.create(step.path, os.O_EXCL if step.exclusive else 0), 0
                await files.truncate(files.node(handle), 0, opened=True)
        await files.write(handle, offset, step.content.data())
        return handle

    async def _read(self, path):
        states = self._manifest.expected.at(path)
        try:
            handle = await self._shell.open(path)
            try:
                size = self._shell.fs.files.node(handle).size
                data = bytes(await self._shell.fs.files.read(handle, 0, size)) if size else b""
            finally:
                await self._shell.close(handle)
        except MountdError as exc:
            if errno_of(exc) != errno.EIO and ABSENT not in states:
                self._manifest.wrong(f"read of {path}: {exc}")
            return None
        for state in states:
            if isinstance(state, Content) and state.data() == data:
                return state
        self._manifest.wrong(f"read of {path}: none of the states that it may be in")
        return None


@pytest.fixture
def fast_clock():
    """A clock that never stands still, as what happens at one time has no order, and on which waits are short."""
    return trio.testing.MockClock(rate=50)


async def work(shell, home, manifest, *, seed):
    """Have one worker do its steps."""
    rng = random.Random(f"{seed} {home}")
    plan = Plan(rng, home, manifest.expected, SIZES)
    performer = ShellPerformer(shell, manifest)
    for _ in range(STEPS):
        for step in plan.steps(manifest.last + 1, set(performer.busy)):
            if not await performer.run(step):
                break
    for path in list(performer.busy):
        await performer.release(path)


async def found_in(store, home):
    """Return what is below a directory, as somebody sees it who knows nothing of mountd."""
    page = await store.list_page(Key(f"{home}/"), recursive=True, limit=100_000)
    keys = [i.key for i in page.objects if not i.key.endswith("/") and not i.key.rpartition("/")[2].startswith(OWN)]
    return {key: digest((await store.read_range(key, 0, 1 << 30)).data) for key in keys}


async def found_by(shell, home):
    """Return what is below a directory of another mount."""
    found, todo = {}, [home]
    while todo:
        at = todo.pop()
        found[at] = DIRECTORY
        for name in await shell.listdir(at):
            path = f"{at}/{name}"
            if (await shell.node(path)).key.endswith("/"):
                todo.append(path)
            else:
                found[path] = digest(await shell.read(path))
    return found


@pytest.mark.parametrize("seed", range(int(os.environ.get("FAULT_SEEDS", "8"))))
async def test_nothing_that_was_acknowledged_is_lost(mount, fast_clock, tmp_path, seed):
    """Requests fail before or after they were carried out, some for good; afterwards all is as it was acknowledged.

    More seeds: FAULT_SEEDS=100. Each failure for good, because nothing is repeated: FAULT_BUDGET=0. [close-stored]
    [lost-answer]
    """
    random.seed(seed)  # the pauses between attempts
    memory = MemoryStore()
    faulty = FaultyStore(memory, seed=seed)
    store = RetryingStore(faulty, budget=float(os.environ.get("FAULT_BUDGET", "2")))
    homes = ["w0", "w1"]
    manifests = [Manifest(tmp_path / home) for home in homes]
    with contextlib.ExitStack() as stack:
        for manifest in manifests:
            stack.callback(manifest.close)
        async with mount(store, part_size=256 * KiB) as shell:
            for home, manifest in zip(homes, manifests, strict=True):
                await shell.mkdir(home)
                manifest.settle({home: DIRECTORY})
            faulty.share = 0.03
            async with trio.open_nursery() as nursery:
                for home, manifest in zip(homes, manifests, strict=True):
                    nursery.start_soon(lambda home=home, manifest=manifest: work(shell, home, manifest, seed=seed))
            faulty.share = 0.0
            await shell.fs.sync()
            assert shell.fs.status().pending == ()
        assert faulty.hits.total() > 10
        async with mount(memory):  # the next mount of this machine finishes what had to be left half done
            pass
        async with mount(memory, data="other") as other:
            for home, manifest in zip(homes, manifests, strict=True):
                expected = manifest.expected
                assert expected.wrong == []
                assert compare(expected, await found_in(memory, home), directories=False).lost == []
                assert compare(expected, await found_by(other, home), directories=True).lost == []
                assert expected.acknowledged > 20
