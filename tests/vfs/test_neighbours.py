"""Small files of a directory are fetched before they are asked for."""

import random

import pytest

FILES = 60


async def fill(shell, **others):
    contents = {f"{number:03}": f"content of {number}".encode() for number in range(FILES)} | others
    for name, content in contents.items():
        await shell.put(f"d/{name}", content)
    await shell.listdir("d")
    shell.store.taken()


async def read(shell, number):
    """Read a file, wait until all that this has caused is done, and return which files the store was asked for."""
    assert await shell.read(f"d/{number:03}") == f"content of {number}".encode()
    await shell.fs.files.settle()
    return [str(key) for name, key in shell.store.taken() if name == "read_range"]


async def test_files_read_in_order_are_fetched_ahead(mount):
    """The third one is there already, and each is asked for once."""
    async with mount(freshness=60) as shell:
        await fill(shell)
        asked = await read(shell, 0) + await read(shell, 1)
        assert "d/002" in asked
        assert [key for key in await read(shell, 2) if key == "d/002"] == []
        for number in range(3, FILES):
            asked += await read(shell, number)
        assert len(asked) <= FILES


async def test_one_file_alone_costs_one_request(mount):
    """Nobody knows what comes after it."""
    async with mount(freshness=60) as shell:
        await fill(shell)
        assert await read(shell, 30) == ["d/030"]


async def test_files_read_in_any_order_are_fetched_ahead_after_some(mount):
    """As samples are in training: the later ones are there already, and each is asked for once."""
    async with mount(freshness=60) as shell:
        await fill(shell)
        order = list(range(FILES))
        random.Random(3).shuffle(order)
        asked = [await read(shell, number) for number in order]
        assert asked[0] == [f"d/{order[0]:03}"]
        assert sum(map(len, asked)) == FILES
        assert [] in asked[16:]


@pytest.mark.parametrize("step", [1, 20])
async def test_never_more_is_fetched_in_vain_than_was_read(mount, step):
    """However the reads go, whoever stops has caused at most twice the requests."""
    async with mount(freshness=60) as shell:
        await fill(shell)
        asked = 0
        for read_so_far, number in enumerate(range(0, FILES, step), 1):
            asked += len(await read(shell, number))
            assert asked <= 2 * read_so_far


async def test_large_files_and_directories_are_left_alone(mount):
    """What is fetched ahead is small."""
    async with mount(freshness=60) as shell:
        await fill(shell, **{"002": bytes(3 << 20), "0031/x": b"x"})
        asked = await read(shell, 0) + await read(shell, 1)
        assert "d/002" not in asked
        assert not [key for key in asked if key.startswith("d/0031")]


async def test_nothing_is_fetched_ahead_where_that_is_switched_off(mount):
    """Whoever pays for each request can have that."""
    async with mount(freshness=60, prefetch_limit=0) as shell:
        await fill(shell)
        for number in range(20):
            assert await read(shell, number) == [f"d/{number:03}"]
