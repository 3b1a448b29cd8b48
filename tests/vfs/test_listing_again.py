"""Directories that are listed again: pages that are as before are not read again, and nothing is overlooked for it."""

import contextlib
import os

import pytest
import trio

from mountd.objects.memory import MemoryStore
from mountd.vfs.catalog import Catalog
from mountd.vfs.listing import Listing


class Paged(MemoryStore):
    """Lists in pages of four.

    Attributes:
        told: of each page, whether it was unchanged.
        meanwhile: by number of the page, what is done after it was looked up and before it arrives.
    """

    def __init__(self):
        super().__init__()
        self.told = []
        self.meanwhile = {}

    async def list_page(self, prefix, *, recursive=False, cursor=None, limit=1000, known=b""):
        page = await super().list_page(prefix, recursive=recursive, cursor=cursor, limit=min(limit, 4), known=known)
        if prefix == "d/" and limit > 1:
            self.told.append(page.unchanged)
            if act := self.meanwhile.pop(len(self.told) - 1, None):
                await act()
        return page

    def taken(self):
        """Return what pages were since the last look."""
        told, self.told = self.told, []
        return told


NAMES = [f"f{i:02}" for i in range(10)]


@pytest.fixture
def directory(mount):
    """Return what opens a file system with a directory `d` of ten files that somebody else has put there, listed."""

    @contextlib.asynccontextmanager
    async def open_directory():
        store = Paged()
        for name in NAMES:
            await store.put(f"d/{name}", name.encode())
        async with mount(store) as shell:
            shell.paged = store
            assert await shell.listdir("d") == NAMES
            store.taken()
            yield shell

    return open_directory


async def relisted(shell):
    """Return what the directory has once what is known of it is too old, and which of its pages were unchanged."""
    await trio.sleep(10)
    found = await shell.listdir("d")
    return found, shell.paged.taken()


async def test_what_has_not_changed_is_not_read_again(directory, jumping_clock):
    """And it is as fresh as what was read."""
    async with directory() as shell:
        assert await relisted(shell) == (NAMES, [True, True, True])
        assert await relisted(shell) == (NAMES, [True, True, True])
        assert await shell.read("d/f09") == b"f09"
        assert shell.paged.taken() == []


@pytest.mark.parametrize("name", ["f00", "f05", "f09"])
async def test_a_file_that_somebody_else_changes_is_seen(directory, name, jumping_clock):
    async with directory() as shell:
        await shell.paged.put(f"d/{name}", b"of somebody else")
        found, told = await relisted(shell)
        assert found == NAMES
        assert False in told
        assert (await shell.node(f"d/{name}")).size == 16
        assert await shell.read(f"d/{name}") == b"of somebody else"
        assert await relisted(shell) == (NAMES, [True, True, True])


async def test_what_somebody_else_adds_and_removes_is_seen(directory, jumping_clock):
    """Two changes that leave the number of names, and so the pages after them, as they are."""
    async with directory() as shell:
        await shell.paged.delete("d/f04")
        await shell.paged.put("d/f045", b"new")
        left = [*NAMES[:4], "f045", *NAMES[5:]]
        assert await relisted(shell) == (left, [True, False, True])
        assert not await shell.exists("d/f04")
        assert await relisted(shell) == (left, [True, True, True])


async def test_what_this_mount_changes_is_not_taken_back(directory, jumping_clock):
    """Neither by the pages before nor by those after it."""
    async with directory() as shell:
        await shell.unlink("d/f01")
        await shell.write("d/f05", b"of ours")
        await shell.write("d/new", b"new")
        left = sorted({*NAMES, "new"} - {"f01"})
        for _ in range(3):
            assert (await relisted(shell))[0] == left
        assert await shell.read("d/f05") == b"of ours"
        assert await relisted(shell) == (left, [True, True, True])


async def test_what_somebody_else_removes_before_a_listing_had_it_is_seen(directory, jumping_clock):
    """A file that was made here, in a directory that is as it was otherwise."""
    async with directory() as shell:
        await shell.write("d/new", b"of ours")
        await shell.paged.delete("d/new")
        folder = await shell.node("d")
        shell.paged.taken()
        await trio.sleep(0.1)
        assert await shell.fs.namespace.lister.whole(folder, newer_than=trio.current_time() - 0.01)
        assert shell.paged.taken() == [True, True, True]
        assert not await shell.exists("d/new")


@pytest.mark.parametrize("page", [0, 1, 2])
async def test_a_change_of_ours_while_a_page_is_on_its_way_counts(directory, page, jumping_clock):
    """A file is stored after the page was looked up that has it as it was, or after one before or behind that."""
    async with directory() as shell:
        handle = await shell.open("d/f05", os.O_WRONLY)
        await shell.fs.files.write(handle, 0, b"of ours, longer")

        async def store():
            await shell.fs.storing.flush(shell.fs.files.node(handle))

        shell.paged.meanwhile[page] = store
        assert (await relisted(shell))[0] == NAMES
        assert not shell.paged.meanwhile
        assert (await shell.node("d/f05")).size == 15
        await shell.close(handle)
        for _ in range(2):
            assert (await relisted(shell))[0] == NAMES
            assert (await shell.node("d/f05")).size == 15
        assert await shell.stored("d/f05") == b"of ours, longer"
        assert await relisted(shell) == (NAMES, [True, True, True])


async def test_attributes_that_somebody_else_changes_are_seen(directory, mount, jumping_clock):
    """They are in an object of the directory, on its first page."""
    async with directory() as shell:
        await shell.write("d/f00", b"x")
        await shell.fs.metadata.set(await shell.node("d/f00"), mode=0o600)
        await shell.fs.sync_directory(await shell.node("d"))
        await relisted(shell)
        async with mount(shell.paged, data="other") as other:
            assert (await other.node("d/f00")).attributes.mode & 0o777 == 0o600
            await other.fs.metadata.set(await other.node("d/f00"), mode=0o640)
            await other.fs.sync_directory(await other.node("d"))
            await relisted(shell)
            assert (await shell.node("d/f00")).attributes.mode & 0o777 == 0o640


async def test_a_catalog_that_says_something_else_by_now_is_not_relied_on():
    """`known` names nothing to compare with."""
    store, catalog = MemoryStore(), Catalog()
    await store.put("a", b"1")
    first = Listing("", catalog, trio.current_time())
    first.add(await store.list_page(""), asked=first.at)
    first.finish()
    first.rule()
    assert Listing("", catalog, trio.current_time(), first).known() != b""
    catalog.drop(0)
    assert Listing("", catalog, trio.current_time(), first).known() == b""
    assert Listing("", Catalog(), trio.current_time(), first).known() == b""


async def test_known_files_are_gone_through_only_where_something_is_new(directory, jumping_clock, monkeypatch):
    """A directory in use is listed every second: thousands of files that are as they were must not cost each time."""
    async with directory() as shell:
        for name in NAMES:
            await shell.read(f"d/{name}")
        namespace, folder, compared = shell.fs.namespace, await shell.node("d"), []
        reconcile = namespace._reconcile_slot
        monkeypatch.setattr(namespace, "_reconcile_slot", lambda *args: compared.append(args) or reconcile(*args))

        async def list_alone():
            compared.clear()
            await trio.sleep(10)
            await namespace.lister.whole(folder, newer_than=trio.current_time() - 1)

        await list_alone()
        assert not compared
        await shell.paged.put("d/f03", b"of somebody else")
        await list_alone()
        assert [name for _, name, _ in compared] == [b"f03"]
        assert await shell.read("d/f03") == b"of somebody else"
        await shell.write("d/f05", b"of ours")
        await list_alone()
        assert [name for _, name, _ in compared] == [b"f05"]
        await list_alone()
        assert not compared
