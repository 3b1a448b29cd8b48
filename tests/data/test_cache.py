"""The contents of one mount, with the index that a mount has and no mount."""

import contextlib
import os
import threading

import pytest
import trio
import trio.testing

from mountd.data.blocks import BLOCK
from mountd.data.cache import Cache
from mountd.data.scrub import Copy, scrub
from mountd.errors import StoreFailure
from mountd.objects.interface import Key, MiB, ObjectInfo, Version
from mountd.writeback.journal import Journal
from tests.data.test_content import checks_of, turn


@pytest.fixture
def journal(tmp_path):
    with contextlib.closing(Journal(tmp_path / "journal.db")) as journal:
        yield journal


async def test_what_this_run_has_made_is_never_swept_away(tmp_path, journal):
    """Though the index does not know it yet, and whatever the clocks say; what an earlier run left is."""
    cache = Cache(tmp_path / "blobs", journal, limit=MiB)
    content = cache.create()
    await content.write(0, b"x" * 1000)
    os.utime(content.path, (0, 0))
    left = tmp_path / "blobs" / "ab" / "abc"
    left.parent.mkdir()
    left.write_bytes(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.run)
        for _ in range(1000):
            if left.exists():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert (content.path.exists(), left.exists()) == (True, False)
    cache.drop(content)


async def test_an_index_that_fails_costs_what_it_knows_and_no_more(tmp_path, journal):
    """A file whose row cannot be read is opened without it; what could not be noted is noted later."""
    cache = Cache(tmp_path / "blobs", journal, limit=MiB)
    info = ObjectInfo(Key("k"), 1000, 0, Version("v"))
    content = cache.open(info)
    await content.fill(0, b"x" * 1000)
    cache.leave(content)
    working, cache._index = cache._index, Broken()
    with pytest.raises(StoreFailure):
        await cache.save()
    assert await cache.open(ObjectInfo(Key("other"), 5, 0, Version("v"))).read(0, 5) is None
    cache._index = working
    await cache.save()
    assert journal.find(info.key, info.version).checks == checks_of(b"x" * 1000)


class Broken:
    """An index on a disk that fails."""

    def find(self, key, version):
        raise StoreFailure("disk I/O error")

    def save(self, rows):
        raise StoreFailure("disk I/O error")


def test_a_scrub_tells_which_blocks_are_damaged(tmp_path):
    """Of files that are whole, damaged, short and gone."""
    data = b"bytes" * 60_000
    copies = []
    for name in ("whole", "damaged", "short", "gone"):
        (tmp_path / name).write_bytes(data)
        copies.append(Copy(tmp_path / name, len(data), checks_of(data)))
    turn(tmp_path / "damaged", 150_000)
    os.truncate(tmp_path / "short", 299_999)
    (tmp_path / "gone").unlink()
    assert [(copy.path.name, damaged) for copy, damaged in scrub(copies)] == [
        ("whole", set()),
        ("damaged", {1}),
        ("short", {2}),
        ("gone", {0, 1, 2}),
    ]


async def test_what_was_compared_is_not_again_unless_somebody_was_at_the_file(tmp_path, journal):
    """Also when its node is gone meanwhile: a file that is met again is read without its checksums."""
    cache = Cache(tmp_path / "blobs", journal, limit=MiB)
    data = os.urandom(2 * BLOCK)
    info = ObjectInfo(Key("a"), len(data), 0, Version("1"))
    content = cache.open(info)
    await content.fill(0, data)
    cache.leave(content)
    await cache.save()
    again = cache.open(info)
    assert again is not content
    assert again._verified(0, len(data))
    cache.leave(again)
    await cache.save()
    turn(again.path, 10)
    changed = cache.open(info)
    assert not changed._verified(0, len(data))
    assert await changed.read(0, BLOCK) is None
    cache.drop(changed)


async def test_what_the_index_has_as_it_is_is_not_noted_again(tmp_path, journal, monkeypatch):
    """When the kernel forgets thousands of files at once; but what has come here since then is."""
    cache = Cache(tmp_path / "blobs", journal, limit=MiB)
    data, noted = os.urandom(2 * BLOCK), []
    info = ObjectInfo(Key("a"), len(data), 0, Version("1"))
    content = cache.open(info)
    await content.fill(0, data[:BLOCK])
    cache.rest(content)
    await cache.save()
    save = journal.save
    monkeypatch.setattr(journal, "save", lambda rows: noted.append(rows) or save(rows))
    cache.leave(content)
    await cache.save()
    again = cache.open(info)
    assert await again.read(0, BLOCK) == data[:BLOCK]
    cache.leave(again)
    await cache.save()
    assert noted == []
    more = cache.open(info)
    await more.fill(BLOCK, data[BLOCK:])
    cache.leave(more)
    await cache.save()
    assert len(noted) == 1
    assert journal.find(info.key, info.version).checks == checks_of(data)


async def test_what_is_being_noted_while_the_cache_is_cleared_is_not_there_afterwards(tmp_path, journal, monkeypatch):
    """Neither of a file that is in use, nor of one whose node is gone."""
    cache = Cache(tmp_path / "blobs", journal, limit=MiB)
    for name in ("used", "left"):
        content = cache.open(ObjectInfo(Key(name), 1000, 0, Version("1")))
        await content.fill(0, b"x" * 1000)
        (cache.rest if name == "used" else cache.leave)(content)
    save, noting, go_on = journal.save, threading.Event(), threading.Event()

    def slowly(rows):
        noting.set()
        assert go_on.wait(10)
        save(rows)

    monkeypatch.setattr(journal, "save", slowly)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.save)
        await trio.to_thread.run_sync(noting.wait)
        assert len(cache.contents()) == 2
        nursery.start_soon(cache.clear)
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    assert (cache.files(), cache.bytes, journal.total()) == (0, 0, 0)
