"""What close() promises, and what happens when somebody else writes too."""

import os

import pytest
import trio

from mountd.errors import AlreadyExists, FileTooLarge, Stale, Unavailable
from mountd.objects.interface import Key
from mountd.objects.memory import MemoryStore

MiB = 1 << 20


async def test_close_means_that_the_object_is_in_the_store(mount):
    """When close() returned, another client reads the bytes."""
    async with mount() as shell:
        await shell.write("a", b"hello")
        assert await shell.stored("a") == b"hello"
        await shell.write("empty", b"")
        assert await shell.stored("empty") == b""


async def test_nothing_is_uploaded_twice(mount):
    """A second close without a change asks nothing of the store."""
    async with mount() as shell:
        handle = await shell.create("a")
        await shell.fs.files.write(handle, 0, b"x")
        shell.store.taken()
        for _ in range(3):
            await shell.fs.storing.flush(shell.fs.files.node(handle))
        await shell.close(handle)
        assert shell.store.taken() == [("put", "a")]


async def test_a_large_file_is_sent_while_it_is_written(mount):
    """Finished parts go ahead, so that close() has little left to do; a part that changed again is sent again."""
    async with mount(part_size=5 * MiB) as shell:
        handle = await shell.create("big")
        data = bytearray(os.urandom(23 * MiB))
        for at in range(0, len(data), MiB):
            await shell.fs.files.write(handle, at, data[at : at + MiB])
        data[3:9] = b"header"
        await shell.fs.files.write(handle, 3, b"header")
        await shell.close(handle)
        assert await shell.stored("big") == bytes(data)


async def test_a_small_edit_of_a_large_object_downloads_nothing(mount):
    """Unchanged parts are copied inside the store."""
    async with mount(part_size=5 * MiB) as shell:
        data = bytearray(os.urandom(23 * MiB))
        await shell.put("big", bytes(data))
        handle = await shell.open("big", os.O_RDWR)
        shell.store.taken()
        data[12 * MiB : 12 * MiB + 4] = b"edit"
        await shell.fs.files.write(handle, 12 * MiB, b"edit")
        await shell.close(handle)
        assert await shell.stored("big") == bytes(data)
        assert ("read_range", "big") in shell.store.taken()  # of the edited part alone


async def test_a_conflict_loses_nobodys_bytes(mount):
    """Changed meanwhile by somebody else: close() fails with ESTALE, theirs stays, ours is kept beside it."""
    async with mount(freshness=0) as shell:
        await shell.put("a", b"base")
        handle = await shell.open("a", os.O_RDWR)
        await shell.fs.files.write(handle, 0, b"ours")
        await shell.put("a", b"theirs")
        with pytest.raises(Stale):
            await shell.close(handle)
        assert await shell.stored("a") == b"theirs"
        assert await shell.read("a") == b"theirs"
        (beside,) = [name for name in await shell.listdir() if name.startswith("a.conflict-")]
        assert await shell.stored(beside) == b"ours"


async def test_o_excl_is_exclusive_between_machines(mount):
    """The store decides who is first."""
    async with mount() as one, mount(one.other, data="other") as two:
        await one.listdir(), await two.listdir()
        await one.close(await one.create("lock", os.O_EXCL))
        with pytest.raises(AlreadyExists):
            await two.create("lock", os.O_EXCL)


async def test_a_failed_close_reports_the_error_and_keeps_the_bytes(mount):
    """What could not be stored stays here, is listed as pending, and a later flush stores it."""
    async with mount() as shell:
        handle = await shell.create("a")
        await shell.fs.files.write(handle, 0, b"precious")

        async def refuse(*args, **kwargs):
            raise Unavailable("no route to the store")

        shell.store.put = refuse
        with pytest.raises(Unavailable):
            await shell.close(handle)
        (pending,) = shell.fs.status().pending
        assert (pending.path, pending.bytes, pending.error) == ("a", 8, "no route to the store")
        del shell.store.put
        await shell.fs.sync()
        assert await shell.stored("a") == b"precious"
        assert shell.fs.status().pending == ()


async def test_a_failed_overwrite_has_not_destroyed_what_was_there(mount):
    """O_TRUNC takes effect in the store only together with the new bytes."""
    async with mount() as shell:
        await shell.put("a", b"old")

        async def refuse(*args, **kwargs):
            raise Unavailable("no route to the store")

        shell.store.put = refuse
        with pytest.raises(Unavailable):
            await shell.write("a", b"new")
        assert await shell.stored("a") == b"old"


async def test_truncate_without_a_handle_is_in_the_store_on_return(mount):
    """No close() will follow, so the call itself stores the file."""
    async with mount() as shell:
        await shell.put("a", b"0123456789")
        node = await shell.node("a")
        await shell.fs.files.truncate(node, 4, opened=False)
        assert await shell.stored("a") == b"0123"
        await shell.fs.files.truncate(node, 8, opened=False)
        assert await shell.stored("a") == b"0123\0\0\0\0"


async def test_an_unlinked_file_works_until_it_is_closed(mount):
    """Even bytes that were never read before are there, although the store has the object no longer."""
    async with mount() as shell:
        data = os.urandom(9 * MiB)
        await shell.put("a", data)
        handle = await shell.open("a", os.O_RDWR)
        await shell.unlink("a")
        assert not await shell.exists("a")
        assert await shell.listdir() == []
        await shell.fs.files.write(handle, 3, b"new")
        assert bytes(await shell.fs.files.read(handle, 0, 8)) == data[:3] + b"new" + data[6:8]
        assert bytes(await shell.fs.files.read(handle, 8 * MiB, MiB)) == data[8 * MiB :]
        await shell.close(handle)
        assert await shell.listdir() == []


async def test_bytes_that_were_read_are_served_from_disk_after_a_restart(mount):
    """A second mount on the same folder asks the store for no bytes."""
    async with mount() as shell:
        await shell.put("a", os.urandom(3 * MiB))
        first = await shell.read("a")
    async with mount(shell.other) as shell:
        assert await shell.read("a") == first
        assert [name for name, _ in shell.store.taken() if name == "read_range"] == []


async def test_the_cache_stays_within_its_bound(mount):
    """Clean bytes are taken away, the least recently used first."""
    async with mount(cache_size=16 * MiB) as shell:
        for i in range(6):
            await shell.put(f"{i}", os.urandom(8 * MiB))
        for i in range(6):
            handle = await shell.open(f"{i}")
            for at in range(0, 8 * MiB, MiB):
                await shell.fs.files.read(handle, at, MiB)
            await shell.close(handle)
        await shell.fs.files.settle()
        with trio.fail_after(30):
            while shell.fs.status().cache_bytes > 16 * MiB:  # noqa: ASYNC110
                await trio.sleep(0.01)


async def test_a_file_larger_than_the_store_takes_is_refused_at_once(mount):
    """By the call that makes it so large, in no time, and it goes on as it was. [errno-space]"""
    async with mount() as shell:
        await shell.write("a", b"x" * 300_000)
        handle = await shell.open("a", os.O_RDWR)
        await shell.fs.files.read(handle, 0, 100)
        node = shell.fs.files.node(handle)
        for change in (
            lambda: shell.fs.files.truncate(node, 1 << 62, opened=True),
            lambda: shell.fs.files.write(handle, 1 << 62, b"x"),
        ):
            with pytest.raises(FileTooLarge):
                await change()
        await shell.close(handle)
        assert await shell.stored("a") == b"x" * 300_000


class Late(MemoryStore):
    """A store that carries out, a moment later, also what nobody waits for any more.

    Attributes:
        begun: set when it was asked to store a sidecar of `d/`.
    """

    def __init__(self):
        super().__init__()
        self.begun = trio.Event()

    async def put(self, key, data, *, expect=None):
        if not key.startswith("d/."):
            return await super().put(key, data, expect=expect)
        self.begun.set()
        done, outcome = trio.Event(), []

        async def later():
            await trio.sleep(0.2)
            outcome.append(await MemoryStore.put(self, key, data, expect=expect))
            done.set()

        trio.lowlevel.spawn_system_task(later)
        await done.wait()
        return outcome[0]


@pytest.mark.parametrize("moved", [False, True])
async def test_a_sidecar_that_is_being_stored_does_not_outlive_its_directory(mount, moved):
    """What the store was asked for is waited for: it would bring a directory back that was removed or renamed."""
    async with mount(Late()) as shell:
        await shell.mkdir("d")
        await shell.write("d/a", b"x")
        unchanged = dict.fromkeys(("uid", "gid", "atime_ns", "mtime_ns"))
        await shell.fs.metadata.set(await shell.node("d/a"), mode=0o600, **unchanged)
        await shell.other.begun.wait()
        if moved:
            await shell.rename("d", "e")
        else:
            await shell.unlink("d/a")
            await shell.rmdir("d")
        await trio.sleep(2)
        page = await shell.other.list_page(Key(""), recursive=True)
        expected = ["e/", "e/.mountd-attributes.json", "e/a"] if moved else []
        assert sorted(info.key for info in page.objects) == expected
        if moved:
            assert (await shell.node("e/a")).attributes.mode & 0o777 == 0o600
