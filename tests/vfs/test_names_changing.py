"""mkdir, rmdir, unlink and rename, seen from the store's side."""

import contextlib

import pytest
import trio

from mountd.errors import (
    AlreadyExists,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    Unavailable,
)
from mountd.objects.interface import ABSENT, Key
from mountd.objects.memory import MemoryStore
from mountd.writeback.journal import Journal


async def keys(shell):
    page = await shell.other.list_page(Key(""), recursive=True)
    return sorted(info.key for info in page.objects)


async def test_an_empty_directory_lasts(mount):
    """A marker object keeps it, also for the next mount."""
    async with mount() as shell:
        await shell.mkdir("d")
    async with mount(shell.other) as shell:
        assert await shell.listdir() == ["d"]
        assert await shell.listdir("d") == []
        await shell.rmdir("d")
        assert await keys(shell) == []


async def test_a_directory_stays_when_its_last_file_goes(mount):
    """A prefix would be gone with its last object; programs expect the directory to stay."""
    async with mount() as shell:
        await shell.put("d/a", b"")
        await shell.put("e/b", b"")
        await shell.unlink("d/a")
        await shell.rename("e/b", "b")
        assert await shell.listdir() == ["b", "d", "e"]
        assert await keys(shell) == ["b", "d/", "e/"]


async def test_removing_a_tree_leaves_nothing_behind(mount):
    """The markers made on the way are removed with their directories."""
    async with mount() as shell:
        await shell.put("t/x/1", b"")
        await shell.put("t/y", b"")
        await shell.unlink("t/x/1")
        await shell.rmdir("t/x")
        await shell.unlink("t/y")
        await shell.rmdir("t")
        assert await keys(shell) == []


async def test_rmdir_refuses_what_is_not_empty(mount):
    """In the store, or only here so far."""
    async with mount() as shell:
        await shell.mkdir("d")
        handle = await shell.create("d/unfinished")
        with pytest.raises(NotEmpty):
            await shell.rmdir("d")
        await shell.close(handle)
        with pytest.raises(NotEmpty):
            await shell.rmdir("d")
        with pytest.raises(NotADirectory):
            await shell.rmdir("d/unfinished")
        with pytest.raises(IsADirectory):
            await shell.unlink("d")
        with pytest.raises(AlreadyExists):
            await shell.mkdir("d")


async def test_rename_moves_the_object_inside_the_store(mount):
    """Not a byte travels, and the old key is gone."""
    async with mount() as shell:
        await shell.put("a", b"bytes")
        await shell.rename("a", "b")
        assert [name for name, _ in shell.store.taken() if name in ("read_range", "put")] == []
        assert await keys(shell) == ["b"]
        assert await shell.read("b") == b"bytes"


async def test_rename_replaces_a_file(mount):
    """Also one whose new bytes are not in the store yet."""
    async with mount() as shell:
        await shell.put("old", b"old")
        handle = await shell.create("new")
        await shell.fs.files.write(handle, 0, b"new")
        await shell.rename("new", "old")
        assert await shell.stored("old") == b"new"
        await shell.fs.files.write(handle, 3, b"er")
        await shell.close(handle)
        assert await shell.stored("old") == b"newer"
        assert await keys(shell) == ["old"]


async def test_rename_checks_what_it_would_replace(mount):
    """The errors of rename(2)."""
    async with mount() as shell:
        await shell.put("f", b"")
        await shell.put("g", b"")
        await shell.put("d/x", b"")
        await shell.mkdir("empty")
        for source, target, error in [
            ("f", "d", IsADirectory),
            ("d", "f", NotADirectory),
            ("empty", "d", NotEmpty),
            ("d", "d/below", InvalidArgument),
            ("missing", "f", NotFound),
        ]:
            with pytest.raises(error):
                await shell.rename(source, target)
        with pytest.raises(AlreadyExists):
            await shell.rename("f", "g", flags=1)
        await shell.rename("d", "empty")
        assert await shell.listdir() == ["empty", "f", "g"]


async def test_a_directory_moves_with_all_that_is_in_it(mount):
    """Objects, markers, files that are open and files that the store does not have yet."""
    async with mount() as shell:
        for i in range(50):
            await shell.put(f"d/{i}", str(i).encode())
        await shell.mkdir("d/empty")
        opened = await shell.open("d/7")
        unfinished = await shell.create("d/unfinished")
        await shell.rename("d", "moved")
        assert bytes(await shell.fs.files.read(opened, 0, 10)) == b"7"
        await shell.fs.files.write(unfinished, 0, b"done")
        await shell.close(unfinished)
        await shell.close(opened)
        expected = [f"moved/{i}" for i in range(50)] + ["moved/empty/", "moved/unfinished"]
        assert await keys(shell) == sorted(expected)
        assert await shell.listdir("moved/empty") == []
        assert not await shell.exists("d")


async def test_a_directory_rename_that_fails_changes_nothing(mount):
    """What was copied before the failure is removed again."""
    async with mount() as shell:
        for i in range(10):
            await shell.put(f"d/{i}", b"")
        before, copy = await keys(shell), shell.other.copy

        async def fail_at_5(source, *args, **kwargs):
            if source.key == "d/5":
                raise Unavailable("no route to the store")
            return await copy(source, *args, **kwargs)

        shell.store.copy = fail_at_5
        with pytest.raises(Unavailable):
            await shell.rename("d", "e")
        assert await keys(shell) == before
        assert await shell.listdir() == ["d"]


async def test_attributes_on_their_way_follow_a_rename_that_a_crash_cut_short(mount, tmp_path):
    """They were acknowledged, and are in the journal under the old name."""
    async with mount() as shell:
        await shell.put("d/e/1", b"1")
    journal = Journal(tmp_path / "data" / "journal.db")
    journal.begin_tree(Key("d/"), Key("t/"))
    journal.save_attributes([(Key("d/e/"), "1", {"mode": 0o600}), (Key("do/"), "1", {"mode": 0o604})])
    journal.close()
    async with mount(shell.other) as shell:
        assert (await shell.node("t/e/1")).attributes.mode & 0o777 == 0o600
        await shell.fs.sync()
        assert await keys(shell) == ["t/e/.mountd-attributes.json", "t/e/1"]


async def test_a_rename_that_a_crash_cut_short_is_finished_by_the_next_mount(mount, tmp_path):
    """The journal's intent is carried out: no name is left twice, none is lost."""
    (tmp_path / "data").mkdir()
    journal = Journal(tmp_path / "data" / "journal.db")
    async with mount(data="first") as shell:
        await shell.put("d/1", b"1")
        await shell.put("d/2", b"2")
        await shell.put("e/1", b"1")
        moved = await shell.put("a", b"a")
    journal.begin_tree(Key("d/"), Key("e/"))
    journal.begin(moved, Key("b"), expect=ABSENT)
    journal.close()
    async with mount(shell.other) as shell:
        assert await keys(shell) == ["b", "e/1", "e/2"]
        assert len(shell.fs.status().recovered) == 2
    async with mount(shell.other) as shell:
        assert shell.fs.status().recovered == ()


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ({"aside": b"1", "b": b"2"}, {"a": b"1", "b": b"2"}),  # only put aside
        ({"aside": b"1", "a": b"2"}, {"a": b"2", "b": b"1"}),  # all but the last step
        ({"a": b"2", "b": b"1"}, {"a": b"2", "b": b"1"}),  # all
        ({"a/x": b"1", "aside/y": b"2"}, {"a/x": b"1", "b/y": b"2"}),
    ],
)
async def test_an_exchange_that_a_crash_cut_short_loses_neither(mount, tmp_path, left, found):
    """What was put aside gets the name that is free."""
    (tmp_path / "data").mkdir()
    journal = Journal(tmp_path / "data" / "journal.db")
    journal.begin_exchange(Key("a"), Key("b"), aside=Key("aside"))
    journal.close()
    async with mount(data="first") as shell:
        for key, data in left.items():
            await shell.put(key, data)
    async with mount(shell.other) as shell:
        assert {key: await shell.stored(key) for key in await keys(shell)} == found


async def test_what_storing_attributes_has_merged_in_is_shown(mount):
    """Two mounts change different names; the one that stores last has read the other's change by that."""
    async with mount(freshness=0, data="one") as one, mount(one.other, freshness=0, data="two") as two:
        await one.write("a", b"1")
        await one.write("b", b"2")
        await one.fs.metadata.set(await one.node("a"), mode=0o100600)
        await two.fs.metadata.set(await two.node("b"), mode=0o100601)
        await two.fs.sync()
        await one.fs.sync()
        assert [(await one.node(name)).attributes.mode for name in ("a", "b")] == [0o100600, 0o100601]


class DistantStore(MemoryStore):
    """Every answer about a key takes `delay` seconds."""

    delay = 0

    async def stat(self, key):
        await trio.sleep(self.delay)
        return await super().stat(key)

    async def list_page(self, prefix, **how):
        await trio.sleep(self.delay)
        return await super().list_page(prefix, **how)


CHANGES = {
    "file": lambda shell, folder: shell.rename(f"{folder}/e/a", f"{folder}/e/b"),
    "directory": lambda shell, folder: shell.rename(f"{folder}/e/x", f"{folder}/e/y"),
    "rmdir": lambda shell, folder: shell.rmdir(f"{folder}/e/x"),
}


@pytest.mark.parametrize("freshness", [0.0, 0.3])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_below_a_directory_that_is_about_to_be_renamed_goes_on(mount, jumping_clock, change, freshness):
    """The rename waits for it, so that it must not wait for the rename when it asks the store; whenever that begins."""
    store = DistantStore()
    async with mount(store, freshness=freshness) as shell:

        async def carry_out(folder, seconds):
            await trio.sleep(seconds)
            with contextlib.suppress(NotFound):  # it was renamed before
                await CHANGES[change](shell, folder)

        for seconds in range(8):
            folder, store.delay = f"d{seconds}", 0
            await shell.mkdir("x")  # which so has a smaller number than what it will be in
            await shell.mkdir(folder)
            await shell.mkdir(f"{folder}/e")
            await shell.write(f"{folder}/e/a", b"")
            await shell.rename("x", f"{folder}/e/x")
            store.delay = 1
            with trio.fail_after(1000):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(carry_out, folder, seconds)
                    await trio.sleep(3.5)
                    await shell.rename(folder, f"renamed-{folder}")
