"""Directories of many names: in order, in pages, while they arrive, and with little memory."""

import gc
import tracemalloc

import pytest
import trio

from mountd.errors import StoreFailure
from mountd.objects.interface import Key, ListPage, ObjectInfo, Version
from mountd.objects.memory import MemoryStore
from mountd.vfs.sidecar import encode


class PagedStore(MemoryStore):
    """A store of which one folder, `d/`, is listed in the pages that it is given."""

    def __init__(self, pages):
        super().__init__()
        self.pages = pages
        self.asked = []

    async def list_page(self, prefix, *, recursive=False, cursor=None, limit=1000, known=b""):
        if prefix != "d/":
            return await super().list_page(prefix, recursive=recursive, cursor=cursor, limit=limit)
        at = int(cursor or 0)
        self.asked.append(at)
        await trio.sleep(0.001)
        return self.pages(at)


def info(name, version="v1", size=1):
    """Return an object in the folder."""
    return ObjectInfo(Key(f"d/{name}"), size, 1_700_000_000_000_000_000, Version(version))


def numbered(count, size=1000):
    """Return what gives pages of objects with typical names and ETags, in order."""

    def page(at):
        end = min(count, at + size)
        found = [info(f"part-{i:08}-object.bin", f'"{i:032x}"', i) for i in range(at, end)]
        return ListPage(found, (), str(end) if end < count else None)

    return page


def given(*pages):
    """Return what gives these pages; a name with a slash at its end is a prefix."""

    def page(at):
        objects = [info(name) for name in pages[at] if not name.endswith("/")]
        prefixes = [Key(f"d/{name}") for name in pages[at] if name.endswith("/")]
        return ListPage(objects, prefixes, str(at + 1) if at + 1 < len(pages) else None)

    return page


async def start(shell):
    """Open the folder."""
    await shell.store.put(Key("d/"), b"")
    return shell.fs.directories.open(await shell.node("d"))


async def read_all(shell, handle, *, limit=170):
    """Return all names as a reader sees them, in the order in which it sees them."""
    found, position = [], 2
    while entries := await shell.readdir(handle, position, limit):
        found += [name.decode() for name, _, _ in entries]
        position = entries[-1][2]
    return found


async def test_a_reader_that_stops_early_costs_a_page_and_one_ahead(mount, jumping_clock):
    """The first names are there with the first page; the next is fetched while they are read, and no others."""
    async with mount(PagedStore(numbered(100_000)), freshness=60) as shell:
        store = shell.other
        handle = await start(shell)
        found = await shell.readdir(handle, 0)
        assert [name for name, _, _ in found[:3]] == [b".", b"..", b"part-00000000-object.bin"]
        for _ in range(3):
            await trio.sleep(1)
            found = await shell.readdir(handle, found[-1][2])
        await trio.sleep(1)
        shell.fs.directories.release(handle)
        assert store.asked == [0, 1000]
        # What was read so far is known: neither a look at it nor another reader asks for it again.
        assert (await shell.node("d/part-00000007-object.bin")).size == 7
        handle = await start(shell)
        await shell.readdir(handle, 0)
        assert store.asked == [0, 1000]


async def test_readers_at_the_same_time_share_the_pages(mount, jumping_clock):
    """Each page is asked for once, and each reader gets every name."""
    async with mount(PagedStore(numbered(5000)), freshness=60) as shell:
        handles = [await start(shell) for _ in range(3)]
        found = []

        async def read(handle, limit):
            found.append(await read_all(shell, handle, limit=limit))

        async with trio.open_nursery() as nursery:
            for handle, limit in zip(handles, (100, 170, 1000), strict=True):
                nursery.start_soon(read, handle, limit)
        assert found == [[f"part-{i:08}-object.bin" for i in range(5000)]] * 3
        assert sorted(shell.other.asked) == [0, 1000, 2000, 3000, 4000]


async def test_names_come_in_the_order_of_the_keys(mount):
    """Files and directories are merged; a directory's key has a slash at its end."""
    async with mount(PagedStore(given(["-", "a", "a-b", "a/"], ["a0", "b/", "ä", "語"])), freshness=60) as shell:
        expected = ["-", "a", "a-b", "a\uef2f", "a0", "b", "ä", "語"]
        assert await read_all(shell, await start(shell)) == expected
        assert await read_all(shell, await start(shell)) == expected
        assert [name for name in expected if not await shell.exists(f"d/{name}")] == []


@pytest.mark.parametrize(
    "pages",
    [
        (["a", "b", "c/"], ["b", "c/", "d"], ["a", "e/", "d", "e/"]),  # repeated
        (["d", "e/"], ["b", "a"], ["c/", "a"]),  # out of order
    ],
)
async def test_a_service_that_repeats_or_lists_out_of_order_does_no_harm(mount, pages):
    """No name is told twice, and none is left out. [readdir-any-order]"""
    async with mount(PagedStore(given(*pages)), freshness=60) as shell:
        for limit in (1, 2, 170):
            assert sorted(await read_all(shell, await start(shell), limit=limit)) == ["a", "b", "c", "d", "e"]


async def test_an_object_that_is_listed_after_the_directory_of_its_name_is_the_file(mount, jumping_clock):
    """Out of order, the reader has been told of the name already: it gets each of the two names once all the same."""
    async with mount(PagedStore(given(["a/", "b"], ["a", "c"])), freshness=60) as shell:
        assert sorted(await read_all(shell, await start(shell), limit=1)) == ["a", "a\uef2f", "b", "c"]
        assert sorted(await read_all(shell, await start(shell), limit=1)) == ["a", "a\uef2f", "b", "c"]


async def test_a_service_that_goes_in_circles_is_an_error(mount):
    """A listing that never ends is given up with a reason."""

    def page(at):
        return ListPage([info(f"{at}-{i}") for i in range(3)], (), str((at + 1) % 3))

    async with mount(PagedStore(page), freshness=60) as shell:
        handle = await start(shell)
        with pytest.raises(StoreFailure, match="repeats pages"):
            await read_all(shell, handle)


@pytest.mark.parametrize("sorted_pages", [True, False])
async def test_attributes_are_known_before_a_name_is_told(mount, jumping_clock, sorted_pages):
    """Also where a thousand names come before that of the sidecar, or the service lists in no order."""
    many = [f"+{i:04}" for i in range(1000)] if sorted_pages else [f"x{i:04}" for i in range(1000, 0, -1)]
    async with mount(PagedStore(given(many, [".mountd-attributes.json", "y"])), freshness=60) as shell:
        store = shell.other
        await store.put(Key("d/.mountd-attributes.json"), encode({many[0]: {"mode": 0o700}, "y": {"mode": 0o600}}))
        modes = {}
        handle, position = await start(shell), 2
        while found := await shell.readdir(handle, position):
            modes |= {name.decode(): node.attributes.mode & 0o777 for name, node, _ in found}
            position = found[-1][2]
        assert len(modes) == 1001
        assert (modes[many[0]], modes["y"], modes[many[1]]) == (0o700, 0o600, 0o666 & ~shell.fs.nodes.defaults.umask)


async def test_own_changes_are_in_a_listing_that_is_under_way(mount):
    """What is made meanwhile comes last, what is removed is not told, what is replaced is told once."""
    async with mount(freshness=60) as shell:
        for i in range(2500):
            await shell.put(f"d/f{i:04}", b"1")
        handle = shell.fs.directories.open(await shell.node("d"))
        first = await shell.readdir(handle, 2)
        await shell.write("d/a-new", b"22")
        await shell.write("d/f2000", b"22")
        await shell.unlink("d/f0001")  # told already
        await shell.unlink("d/f0900")
        await shell.unlink("d/f2400")
        await shell.rename("d/f2300", "d/f0000-moved")
        sizes = {name.decode(): node.size for name, node, _ in first}
        names, position = list(sizes), first[-1][2]
        while found := await shell.readdir(handle, position):
            names += [name.decode() for name, _, _ in found]
            sizes |= {name.decode(): node.size for name, node, _ in found}
            position = found[-1][2]
        expected = {f"f{i:04}" for i in range(2500)} - {"f0900", "f2400", "f2300"} | {"a-new", "f0000-moved"}
        assert sorted(names) == sorted(expected)
        assert names[-2:] == ["a-new", "f0000-moved"]
        assert (sizes["a-new"], sizes["f2000"], sizes["f2001"]) == (2, 2, 1)
        assert await shell.listdir("d") == sorted(expected - {"f0001"})


async def test_a_directory_that_is_renamed_while_it_is_read_shows_every_name_once(mount):
    """The names are the same under the new key."""
    async with mount(freshness=60) as shell:
        for i in range(2500):
            await shell.put(f"d/f{i:04}", b"1")
        handle = shell.fs.directories.open(await shell.node("d"))
        first = await shell.readdir(handle, 2)
        numbers = {name: node.ino for name, node, _ in first}
        await shell.rename("d", "e")
        found, position = [name.decode() for name, _, _ in first], first[-1][2]
        while entries := await shell.readdir(handle, position):
            found += [name.decode() for name, _, _ in entries]
            position = entries[-1][2]
        assert found == [f"f{i:04}" for i in range(2500)]
        assert {name: (await shell.node(f"e/{name.decode()}")).ino for name in numbers} == numbers
        assert await shell.read("e/f0003") == b"1"


async def test_the_number_of_a_name_stays_while_the_kernel_knows_it(mount, jumping_clock):
    """Over new listings, and when the name gets a node; another version is another file."""
    async with mount(freshness=1) as shell:
        for i in range(2500):
            await shell.put(f"d/f{i:04}", b"1")

        async def numbers():
            handle = shell.fs.directories.open(await shell.node("d"))
            entries = [entry for at in range(2, 2600, 100) for entry in await shell.readdir(handle, at, 100)]
            assert len(entries) == 2500
            return {name.decode(): node.ino for name, node, _ in entries}

        before = await numbers()
        assert len(set(before.values())) == 2500
        opened = await shell.open("d/f0007")
        await shell.put("d/f0009", b"2")
        await shell.put("d/e", b"")
        await shell.other.delete(Key("d/f0011"))
        await shell.put("d/f0011", b"1")
        await shell.other.delete(Key("d/f2499"))
        await trio.sleep(2)
        after = await numbers()
        assert {name for name in before if after.get(name) != before[name]} == {"f0009", "f0011", "f2499"}
        assert shell.fs.files.node(opened).ino == before["f0007"]
        for name in ("f0009", "f2499"):
            with pytest.raises(Exception, match="not known"):
                await shell.fs.refreshed(before[name])
        assert (await shell.fs.refreshed(before["f0008"])).size == 1
        await shell.close(opened)


async def test_what_the_kernel_forgets_leaves_nothing_behind(mount):
    """Numbers are counted for names with and without a node, and given back."""
    async with mount(freshness=60) as shell:
        for i in range(2500):
            await shell.put(f"d/f{i:04}", b"1")
        for _ in range(2):
            told = {}
            handle, position = shell.fs.directories.open(await shell.node("d")), 2
            while found := await shell.readdir(handle, position):
                told |= {node.ino: name for name, node, _ in found}
                position = found[-1][2]
            assert (len(shell.fs.nodes.numbers), len(shell.fs.nodes)) == (2500, 2)
        handle = await shell.open("d/f0005")
        await shell.close(handle)
        await shell.write("d/f0006", b"22")
        assert (len(shell.fs.nodes.numbers), len(shell.fs.nodes)) == (2498, 4)
        for ino in told:
            shell.fs.forget(ino, 1)
        assert (len(shell.fs.nodes.numbers), len(shell.fs.nodes)) == (2498, 4)
        for ino in told:
            shell.fs.forget(ino, 1)
        assert (len(shell.fs.nodes.numbers), len(shell.fs.nodes)) == (0, 2)
        assert sum(1 for _ in shell.fs.nodes.numbers.blocks()) <= 1
        assert (await shell.node("d/f0006")).size == 2  # what was written here is known though its node is forgotten


async def test_a_name_costs_less_than_300_bytes(mount):
    """After a listing whose names the kernel has been told of, attributes and all."""
    count = 50_000
    async with mount(PagedStore(numbered(count)), freshness=600) as shell:
        handle = await start(shell)
        await shell.readdir(handle, 2)
        gc.collect()
        tracemalloc.start()
        try:
            position = 2
            while found := await shell.readdir(handle, position):
                position = found[-1][2]
            found.clear()
            gc.collect()
            taken, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert position == count + 2
        assert len(shell.fs.nodes.numbers) == count
        assert taken / count < 300
        assert peak / count < 400


async def test_names_that_come_and_go_do_not_pile_up(mount, jumping_clock):
    """A directory whose files are replaced all the time takes the place of those that are there."""
    async with mount(freshness=1) as shell:
        directory = await shell.mkdir("d")
        for turn in range(12):
            for i in range(300):
                await shell.put(f"d/{turn}-{i}", b"")
                await shell.put(f"d/same-{i}", b"x" * turn)
                await shell.other.delete(Key(f"d/{turn - 1}-{i}"))
            await trio.sleep(2)
            assert len(await shell.listdir("d")) == 600
        assert directory.catalog.end < 3000
        assert (await shell.node("d/same-7")).size == 11


async def test_removing_the_last_file_is_noticed_whatever_was_listed(mount):
    """The count of what is known to be there is right while files go one by one: the directory stays."""
    async with mount(freshness=60) as shell:
        for i in range(50):
            await shell.put(f"d/{i}", b"")
        await shell.listdir("d")
        for i in range(50):
            await shell.unlink(f"d/{i}")
        assert await shell.listdir() == ["d"]
        assert await shell.stored("d/") == b""


async def test_subdirectories_are_counted_without_walking_all_names(mount):
    """Listed, made and removed ones."""
    async with mount(freshness=60) as shell:
        for name in ("a", "b", "c"):
            await shell.put(f"d/{name}/x", b"")
        await shell.put("d/file", b"")
        directory = await shell.node("d")
        await shell.listdir("d")
        assert directory.subdirectories() == 3
        await shell.mkdir("d/e")
        await shell.unlink("d/a/x")
        await shell.rmdir("d/a")
        await shell.rename("d/b", "b")
        assert directory.subdirectories() == 2
        await shell.listdir("d/c")
        assert directory.subdirectories() == 2
