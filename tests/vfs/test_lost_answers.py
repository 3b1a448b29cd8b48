"""Uploads that were carried out though nobody was told, and the error had to be passed on: they are our own."""

import os

import pytest

from mountd.errors import Unavailable

MiB = 1 << 20


def lose(shell, name):
    """Have the store carry out the next request of a kind, and lose the answer."""

    async def call(*args, **kwargs):
        delattr(shell.store, name)
        await getattr(shell.other, name)(*args, **kwargs)
        raise Unavailable("the answer was lost")

    setattr(shell.store, name, call)


async def refused(shell, path, data):
    """Write a file whose `close()` fails although the store has it."""
    handle = await shell.create(path)
    await shell.fs.files.truncate(shell.fs.files.node(handle), 0, opened=True)
    await shell.fs.files.write(handle, 0, data)
    lose(shell, "put")
    with pytest.raises(Unavailable):
        await shell.fs.storing.flush(shell.fs.files.node(handle))
    assert await shell.stored(path) == data
    return handle


@pytest.mark.parametrize("before", [None, b"before"])
async def test_the_next_close_finds_what_the_first_has_stored(mount, before):
    """No conflict, no copy beside it, and nothing is sent again. [lost-answer]"""
    async with mount() as shell:
        if before is not None:
            await shell.put("a", before)
        handle = await refused(shell, "a", b"ours")
        await shell.close(handle)
        assert shell.fs.status().pending == ()
        assert await shell.listdir() == ["a"]


async def test_what_was_written_since_replaces_what_the_first_has_stored(mount):
    """The store has the file as it was at the first close(); the second one puts its later state there."""
    async with mount() as shell:
        handle = await refused(shell, "a", b"first")
        await shell.fs.files.write(handle, 5, b" and second")
        await shell.close(handle)
        assert await shell.stored("a") == b"first and second"
        assert await shell.listdir() == ["a"]


async def test_somebody_elses_object_is_not_taken_for_ours(mount):
    """They have replaced what the first close() had stored: a conflict, as ever. [conflict-kept]"""
    async with mount() as shell:
        handle = await refused(shell, "a", b"ours")
        await shell.put("a", b"theirs")
        with pytest.raises(Exception, match="somebody else"):
            await shell.close(handle)
        assert await shell.stored("a") == b"theirs"
        (beside,) = [name for name in await shell.listdir() if name.startswith("a.conflict-")]
        assert await shell.stored(beside) == b"ours"


async def test_a_file_that_seems_not_stored_is_gone_when_it_is_removed(mount):
    """unlink() removes what the refused close() has left in the store. [unlink-stored]"""
    async with mount() as shell:
        handle = await refused(shell, "a", b"ours")
        await shell.unlink("a")
        await shell.close(handle)
        with pytest.raises(Exception, match="no object"):
            await shell.stored("a")


async def test_a_file_that_seems_not_stored_is_at_one_name_when_it_is_renamed(mount):
    """rename() leaves nothing under the old name, nor under the new one what was there. [rename-file-stored]"""
    async with mount() as shell:
        handles = [await refused(shell, "b", b"replaced"), await refused(shell, "a", b"ours")]
        await shell.rename("a", "b")
        for handle in handles:
            await shell.close(handle)
        assert await shell.listdir() == ["b"]
        assert await shell.stored("b") == b"ours"
        with pytest.raises(Exception, match="no object"):
            await shell.stored("a")


async def test_a_rename_that_failed_is_looked_at_again(mount):
    """Its copy was made, though nobody was told: the new name has it at once, and can be written."""
    async with mount() as shell:
        await shell.write("a", b"moved")
        await shell.write("b", b"replaced")
        lose(shell, "copy")
        with pytest.raises(Unavailable):
            await shell.rename("a", "b")
        assert await shell.read("b") == b"moved"
        await shell.write("b", b"new")
        assert await shell.stored("b") == b"new"


async def test_a_rename_that_failed_is_not_finished_later(mount):
    """The old name could not be removed; what programs do with both names afterwards holds over the next mount."""
    async with mount() as shell:
        await shell.write("a", b"moved")

        async def refuse(*args, **kwargs):
            raise Unavailable("no route to the store")

        shell.store.delete = refuse
        with pytest.raises(Unavailable):
            await shell.rename("a", "b")
        del shell.store.delete
        assert await shell.read("a") == await shell.read("b") == b"moved"
        await shell.unlink("b")
    async with mount(shell.other) as shell:
        assert await shell.listdir() == ["a"]


async def test_an_exclusive_creation_that_failed_is_looked_at_again(mount):
    """The empty object is there, though nobody was told, and the next program opens that. [excl-lost-answer]"""
    async with mount() as shell:
        await shell.listdir()
        lose(shell, "put")
        with pytest.raises(Unavailable):
            await shell.create("a", os.O_EXCL)
        await shell.write("a", b"new")
        assert await shell.stored("a") == b"new"
        assert await shell.listdir() == ["a"]


async def test_a_conflict_keeps_bytes_whose_old_version_is_gone(mount):
    """A large file that is all here is kept beside theirs, without ranges of the version that they replaced."""
    async with mount(part_size=MiB, freshness=0) as shell:
        data = bytes(range(256)) * (4 * MiB // 256)
        handle = await shell.create("a")
        await shell.fs.files.write(handle, 0, data)
        await shell.fs.storing.flush(shell.fs.files.node(handle))
        await shell.fs.files.write(handle, 10, b"edit")
        await shell.put("a", b"theirs")
        with pytest.raises(Exception, match="somebody else"):
            await shell.close(handle)
        (beside,) = [name for name in await shell.listdir() if name.startswith("a.conflict-")]
        assert await shell.stored(beside) == data[:10] + b"edit" + data[14:]
        assert await shell.stored("a") == b"theirs"
