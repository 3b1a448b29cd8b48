"""When the store is asked, and what is seen of other clients' changes."""

import contextlib
import os

import pytest
import trio

from mountd.errors import NotPermitted, Stale
from mountd.objects.interface import Key
from tests.vfs.conftest import SlowStore


async def test_what_another_client_stores_is_seen_after_freshness(mount, jumping_clock):
    """An object that was replaced or added is seen at the next open after `--freshness`, not a mix of two versions."""
    async with mount(freshness=1) as shell:
        await shell.put("a", b"old")
        assert await shell.read("a") == b"old"
        await shell.put("a", b"newer")
        await shell.put("b", b"added")
        await trio.sleep(1.01)
        assert await shell.read("a") == b"newer"
        assert await shell.read("b") == b"added"
        await shell.other.delete("a")
        await trio.sleep(1.01)
        assert not await shell.exists("a")


async def test_freshness_zero_asks_at_every_open(mount):
    """With 0, a change is seen at once."""
    async with mount(freshness=0) as shell:
        await shell.put("a", b"old")
        assert await shell.read("a") == b"old"
        await shell.put("a", b"new")
        assert await shell.read("a") == b"new"
        await shell.put("b", b"added")
        assert await shell.read("b") == b"added"


async def test_freshness_inf_never_asks_again(mount, jumping_clock):
    """For data that never changes: one listing is enough for good."""
    async with mount(freshness="inf") as shell:
        await shell.put("a", b"old")
        assert await shell.read("a") == b"old"
        shell.store.taken()
        await trio.sleep(20)
        assert await shell.read("a") == b"old"
        assert shell.store.taken() == []


async def test_an_open_handle_reads_its_version_or_fails(mount):
    """Bytes of two versions are never mixed: what is not here of the old one is gone with it."""
    async with mount(freshness=0) as shell:
        size = 20 << 20
        await shell.put("a", b"1" * size)
        handle = await shell.open("a")
        assert bytes(await shell.fs.files.read(handle, 0, 4096)) == b"1" * 4096
        await shell.put("a", b"2" * size)
        assert bytes(await shell.fs.files.read(handle, 0, 4096)) == b"1" * 4096
        with pytest.raises(Stale):
            await shell.fs.files.read(handle, size - 4096, 4096)
        await shell.close(handle)
        assert (await shell.read("a"))[:1] == b"2"


async def test_one_listing_answers_for_a_whole_directory(mount):
    """A thousand lookups, of names that exist and names that do not, cost one request."""
    async with mount() as shell:
        for i in range(300):
            await shell.put(f"d/{i}", b"x")
        await shell.exists("d/0")
        shell.store.taken()
        assert all([await shell.exists(f"d/{i}") for i in range(300)])
        assert not any([await shell.exists(f"d/no{i}") for i in range(300)])
        assert shell.store.taken() == []


async def test_a_small_file_in_a_listed_directory_costs_one_request(mount):
    """Opening and reading it is one ranged GET; reading it again is none."""
    async with mount() as shell:
        await shell.put("a", b"x" * 5000)
        await shell.listdir()
        shell.store.taken()
        assert len(await shell.read("a")) == 5000
        assert shell.store.taken() == [("read_range", "a")]
        await shell.read("a")
        assert shell.store.taken() == []


async def test_listing_a_large_directory_asks_for_no_name(mount):
    """Pages alone, whatever the number of names."""
    async with mount() as shell:
        for i in range(2500):
            await shell.put(f"d/{i:05}", b"")
        shell.store.taken()
        assert len(await shell.listdir("d")) == 2500
        calls = shell.store.taken()
        assert {name for name, _ in calls} == {"list_page"}
        assert len([key for _, key in calls if key == "d/"]) == 3


async def test_a_directory_too_large_to_list_is_asked_about_by_name(mount):
    """One lookup among many thousand names does not read all pages."""
    async with mount() as shell:
        for i in range(5000):
            await shell.put(f"{i:05}", b"")
        assert await shell.exists("04999")
        assert len(shell.store.taken()) <= 3


async def test_own_changes_are_seen_at_once_whatever_a_listing_said_before(mount):
    """What this mount did goes before answers to requests that began earlier."""
    async with mount(freshness="inf") as shell:
        await shell.put("gone", b"")
        assert await shell.listdir() == ["gone"]
        await shell.write("new", b"1")
        await shell.unlink("gone")
        await shell.mkdir("dir")
        assert await shell.listdir() == ["dir", "new"]
        assert not await shell.exists("gone")


async def test_a_directory_in_use_is_listed_again_before_its_listing_is_too_old(mount, jumping_clock):
    """Steady use never waits for the store: the listing is renewed ahead of need."""
    async with mount(freshness=1) as shell:
        for i in range(10):
            await shell.put(f"{i}", b"x")
        await shell.listdir()
        for i in range(10):
            await shell.read(f"{i}")
        waited = 0
        for _ in range(40):
            await trio.sleep(0.1)
            before = trio.current_time()
            shell.store.taken()
            handle = await shell.open("3")
            waited += len([c for c in shell.store.taken() if c[0] != "list_page"])
            assert trio.current_time() == before
            await shell.close(handle)
        assert waited == 0


async def test_a_file_that_is_open_for_writing_is_this_mounts(mount):
    """A listing does not take an unfinished file away."""
    async with mount(freshness=0) as shell:
        handle = await shell.create("a", os.O_EXCL)
        await shell.fs.files.write(handle, 0, b"abc")
        assert await shell.listdir() == ["a"]
        assert (await shell.node("a")).size == 3
        await shell.close(handle)
        assert await shell.stored("a") == b"abc"


@contextlib.asynccontextmanager
async def large(mount):
    """Mount a folder of a hundred names whose listing takes three seconds, three times the freshness."""
    store = SlowStore()
    async with mount(store, freshness=1) as shell:
        for i in range(100):
            await shell.put(f"d/{i:02}", b"x")
        await shell.exists("d")
        shell.store.taken()
        yield shell


async def test_a_stat_storm_after_a_listing_that_takes_longer_than_freshness_asks_nothing(mount, jumping_clock):
    """Nor does another listing, within freshness of the end of the first. [readdir-attributes] [listing-holds]"""
    async with large(mount) as shell:
        assert len(await shell.listdir("d")) == 100
        for i in range(100):
            node = await shell.node(f"d/{i:02}")
            assert shell.fs.namespace.valid_for(node) > 0
            assert not await shell.exists(f"d/no{i:02}")
        await trio.sleep(0.9)
        assert len(await shell.listdir("d")) == 100
        assert len([await shell.node(f"d/{i:02}") for i in range(100)]) == 100
        calls = [call for call in shell.store.taken() if call[1] != ""]
        assert calls == [("list_page", "d/")] * 10


async def test_names_that_a_reader_has_just_been_told_of_are_known(mount, jumping_clock):
    """While the listing goes on, whoever looks at what it has shown asks nothing, however slow the pages come."""
    async with large(mount) as shell:
        handle, position = shell.fs.directories.open(await shell.node("d")), 2
        while found := await shell.readdir(handle, position):
            for name, node, after in found:
                assert shell.fs.namespace.valid_for(node) > 0
                assert await shell.node(f"d/{name.decode()}")
                position = after
        calls = [call for call in shell.store.taken() if call[1] != ""]
        assert calls == [("list_page", "d/")] * 10


async def test_what_is_looked_at_is_as_old_as_freshness_and_the_listing_at_most(mount, jumping_clock):
    """Another client's changes are seen when that is over. [listing-holds] [stat-fresh] [freshness]"""
    async with large(mount) as shell:
        await shell.listdir("d")
        await shell.put("d/05", b"longer")
        await shell.other.delete(Key("d/06"))
        await shell.put("d/new", b"")
        await trio.sleep(1.01 + 10 * SlowStore.PAGE)
        assert (await shell.node("d/05")).size == 6
        assert not await shell.exists("d/06")
        assert await shell.exists("d/new")


async def test_open_is_never_later_than_freshness(mount, jumping_clock):
    """A file that somebody replaced is opened as it is now, after one request for it. [open-fresh] [listing-holds]"""
    async with large(mount) as shell:
        await shell.listdir("d")
        old = await shell.node("d/05")
        await shell.put("d/05", b"longer")
        await trio.sleep(0.9)
        assert await shell.node("d/05") is old  # as the listing says, which took three seconds
        shell.store.taken()
        assert await shell.read("d/05") == b"longer"
        calls = [call for call in shell.store.taken() if call[1] != ""]
        assert calls == [("read_range", "d/05")] * 2  # the first tells of the other version


async def test_a_small_file_that_is_not_here_costs_one_request_however_long_nobody_asked(mount, jumping_clock):
    """Fetching it tells whether it is the current one, too. [open-fresh]"""
    async with large(mount) as shell:
        await shell.listdir("d")
        node = await shell.node("d/07")
        await trio.sleep(100)
        shell.store.taken()
        handle = await shell.fs.files.open(node, os.O_RDONLY)
        assert bytes(await shell.fs.files.read(handle, 0, 10)) == b"x"
        await shell.close(handle)
        assert shell.store.taken() == [("read_range", "d/07")]
        assert await shell.fs.namespace.lookup(node.parent, b"07") is node
        assert shell.store.taken() == []  # that was heard just now


@pytest.mark.parametrize("seconds", [0, "inf"])
async def test_a_small_file_that_is_not_here_costs_one_request_with_any_freshness(mount, seconds):
    """Also where each open asks."""
    async with mount(freshness=seconds) as shell:
        await shell.put("a", b"x" * 10)
        node = await shell.node("a")
        shell.store.taken()
        handle = await shell.fs.files.open(node, os.O_RDONLY)
        assert bytes(await shell.fs.files.read(handle, 0, 10)) == b"x" * 10
        assert shell.store.taken() == [("read_range", "a")]
        await shell.close(handle)


async def test_a_small_file_that_somebody_removed_is_not_opened(mount, jumping_clock):
    """Whoever asks for it finds out, and nothing of it stays here. [open-fresh]"""
    async with large(mount) as shell:
        await shell.listdir("d")
        node = await shell.node("d/08")
        await shell.other.delete(Key("d/08"))
        await trio.sleep(100)
        with pytest.raises(Stale):
            await shell.fs.files.open(node, os.O_RDONLY)
        assert not await shell.exists("d/08")
        assert shell.fs.cache.bytes == 0


async def test_a_small_file_is_not_fetched_for_a_program_that_writes(mount, jumping_clock):
    """It may write all of it anew."""
    async with large(mount) as shell:
        await shell.listdir("d")
        node = await shell.node("d/09")
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            await trio.sleep(100)
            shell.store.taken()
            handle = await shell.fs.files.open(node, flags)
            assert ("read_range", "d/09") not in shell.store.taken()
            await shell.close(handle)


async def test_a_large_directory_in_use_is_listed_by_one_listing_at_a_time(mount, jumping_clock):
    """Whatever is looked at, and for as long as it goes on: nobody waits, and no name is asked for. [listing-ahead]"""
    async with large(mount) as shell:
        await shell.listdir("d")
        shell.store.taken()
        started = trio.current_time()
        for i in range(400):
            before = trio.current_time()
            await shell.node(f"d/{i % 100:02}")
            assert not await shell.exists("d/no")
            assert trio.current_time() == before
            await trio.sleep(0.05)
        calls = [name for name, key in shell.store.taken() if key != ""]
        assert set(calls) == {"list_page"}
        assert len(calls) <= (trio.current_time() - started) / SlowStore.PAGE
        assert shell.other.most == 1


async def test_many_who_need_a_directory_that_is_too_old_share_one_listing(mount, jumping_clock):
    """They wait for the page that tells of their name, and not one restarts the listing. [listing-ahead]"""
    async with large(mount) as shell:
        await shell.listdir("d")
        await trio.sleep(20)
        directory = await shell.node("d")
        directory.probes = 100
        shell.store.taken()
        async with trio.open_nursery() as nursery:
            for i in range(100):
                nursery.start_soon(shell.fs.namespace.lookup, directory, b"%02d" % i)
        await trio.sleep(5)
        assert shell.store.taken() == [("list_page", "d/")] * 10
        assert shell.other.most == 1


async def test_a_page_that_was_asked_for_after_a_change_of_ours_tells_what_became_of_it(mount, jumping_clock):
    """Though the listing began before: others replaced, removed and made anew what this mount had changed."""
    async with large(mount) as shell, trio.open_nursery() as nursery:
        await shell.listdir("d")
        await trio.sleep(10)
        nursery.start_soon(shell.listdir, "d")
        await trio.sleep(0.4)  # its second page is under way
        await shell.write("d/55", b"ours")
        await shell.write("d/zz", b"ours")
        await shell.unlink("d/66")
        await shell.put("d/55", b"theirs")
        await shell.other.delete(Key("d/zz"))
        await shell.put("d/66", b"theirs, too")
        await trio.sleep(3.2)
        assert await shell.read("d/55") == b"theirs"
        assert not await shell.exists("d/zz")
        assert (await shell.node("d/66")).size == 11


async def test_a_directory_that_was_made_here_needs_no_listing(mount):
    """Names that are not there, files that come and go, one page before it is removed. [made-known]"""
    async with mount(freshness=60) as shell:
        await shell.listdir()
        shell.store.taken()
        await shell.mkdir("d")
        for i in range(10):
            assert not await shell.exists(f"d/{i}")
            await shell.write(f"d/{i}", b"x")
        assert len(await shell.listdir("d")) == 10
        assert shell.store.taken() == [("put", "d/"), *(("put", f"d/{i}") for i in range(10))]
        for i in range(10):
            await shell.unlink(f"d/{i}")
        await shell.rmdir("d")
        deleted = [("delete", f"d/{i}") for i in range(10)]
        assert shell.store.taken() == [*deleted, ("list_page", "d/"), ("delete", "d/")]


async def test_what_others_put_into_a_directory_that_was_made_here_is_seen_in_time(mount, jumping_clock):
    """It counts as listed when it was made, and no longer. [made-known] [freshness]"""
    async with mount(freshness=1) as shell:
        await shell.mkdir("d")
        await shell.put("d/theirs", b"x")
        await trio.sleep(1.01)
        assert await shell.exists("d/theirs")
        assert await shell.listdir("d") == ["theirs"]


@pytest.mark.parametrize("freshness", [0, 60])
async def test_a_file_and_a_directory_of_one_name_are_both_there(mount, freshness):
    """The object has its name, the directory beside it a mark at its end; each is changed and removed by itself."""
    async with mount(freshness=freshness) as shell:
        await shell.put("d/a/inside", b"1")
        await shell.put("d/a", b"object")
        await shell.put("d/b/inside", b"2")
        assert await shell.listdir("d") == ["a", "a\uef2f", "b"]
        assert await shell.read("d/a") == b"object"
        assert await shell.listdir("d/a\uef2f") == ["inside"]
        await shell.write("d/a\uef2f/new", b"3")
        assert await shell.stored("d/a/new") == b"3"
        await shell.rename("d/a\uef2f", "d/c")
        assert await shell.stored("d/c/inside") == b"1"
        assert await shell.listdir("d") == ["a", "b", "c"]
        assert await shell.stored("d/a") == b"object"
        with pytest.raises(NotPermitted):
            await shell.mkdir("d/x\uef2f")
