"""What the store over fsspec does where file systems differ: times in seconds, no ranges, no copies, no changes."""

import contextlib
import datetime

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mountd.config import MountSettings
from mountd.errors import Unavailable, Unsupported, VersionChanged
from mountd.objects.bridge import open_bridge
from mountd.objects.fsspec_store import FsspecStore
from mountd.objects.interface import ABSENT, Key
from mountd.objects.opening import open_store
from mountd.objects.promises import weaknesses
from mountd.stores.store import StoreConfig

A = Key("a")
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


class Seconds(MemoryFileSystem):
    """Tells states apart by a time in whole seconds, which stands still, and by the size."""

    def info(self, path, **kwargs):
        return super().info(path, **kwargs) | {"created": None, "mtime": NOON}

    def ls(self, path, detail=True, **kwargs):
        return [each | {"created": None, "mtime": NOON} for each in super().ls(path, detail=True, **kwargs)]


class Whole(MemoryFileSystem):
    """Sends all of a file, whatever range is asked for."""

    def cat_file(self, path, start=None, end=None, **kwargs):
        return super().cat_file(path)


class Short(MemoryFileSystem):
    """Loses the last byte."""

    def cat_file(self, path, start=None, end=None, **kwargs):
        return super().cat_file(path, start=start, end=end)[:-1]


class Bare(MemoryFileSystem):
    """Lists names alone, and tells no size at all of what is called `stream`."""

    def ls(self, path, detail=True, **kwargs):
        return [each | {"size": None} for each in super().ls(path, detail=True, **kwargs)]

    def info(self, path, **kwargs):
        if path.endswith("/broken"):
            raise ConnectionError("no answer")
        found = super().info(path, **kwargs)
        return found | {"size": None} if path.endswith("/stream") else found


class Reading(MemoryFileSystem):
    """Says that it takes no changes."""

    read_only = True


@contextlib.asynccontextmanager
async def store_over(kind):
    async with open_bridge() as bridge:
        yield FsspecStore(kind(global_store=False, skip_instance_cache=True), bridge, root="/store")


async def test_own_writes_within_a_second_are_told_apart():
    """Each has a version of its own, which `stat` and the listing give as well; an old one is refused."""
    async with store_over(Seconds) as store:
        first = await store.put(A, b"one", expect=ABSENT)
        second = await store.put(A, b"two", expect=first.version)
        third = await store.put(A, b"six")
        assert len({first.version, second.version, third.version}) == 3
        assert await store.stat(A) == third
        assert (await store.list_page(Key(""))).objects == [third]
        with pytest.raises(VersionChanged):
            await store.put(A, b"ten", expect=second.version)
        with pytest.raises(VersionChanged):
            await store.read_range(A, 0, 3, version=first.version)
        await store.delete(A, expect=third.version)
        assert (await store.put(A, b"new", expect=ABSENT)).version not in {first.version, third.version}


async def test_a_write_over_what_looks_the_same_is_told_apart():
    """Also where the object that it replaces was made by somebody else."""
    async with store_over(Seconds) as store:
        store._fs.pipe_file("/store/a", b"old")
        found = await store.stat(A)
        assert (await store.put(A, b"new", expect=found.version)).version != found.version


async def test_times_in_seconds_are_said_to_be_a_weakness():
    """And a better version is no longer called weak once it was seen."""
    async with store_over(Seconds) as store:
        await store.put(A, b"1")
        assert not store.capabilities.exact_versions
        assert any("within one second" in line for line in weaknesses(store.capabilities))
    async with store_over(MemoryFileSystem) as store:
        await store.put(A, b"1")
        assert store.capabilities.exact_versions
        assert not any("within one second" in line for line in weaknesses(store.capabilities))


async def test_a_service_without_ranges_is_read_in_ranges():
    """The bytes asked for are cut out of what it sends."""
    async with store_over(Whole) as store:
        await store.put(A, b"0123456789")
        assert (await store.read_range(A, 3, 4)).data == b"3456"
        assert (await store.read_range(A, 8, 100)).data == b"89"
        assert (await store.read_range(A, 10, 100)).data == b""


async def test_a_short_answer_is_not_taken_for_the_whole():
    """It is a failure, which is worth another attempt."""
    async with store_over(Short) as store:
        await store.put(A, b"0123456789")
        with pytest.raises(Unavailable, match="9 of 10 bytes"):
            await store.read_range(A, 0, 10)


async def test_what_a_listing_leaves_out_is_asked_for():
    """A file whose size nobody tells is not shown, as it could not be read; a failure is one of the listing."""
    async with store_over(Bare) as store:
        made = await store.put(A, b"0123456789")
        store._fs.pipe_file("/store/stream", b"?")
        assert (await store.list_page(Key(""))).objects == [made]
        with pytest.raises(Unsupported):
            await store.stat(Key("stream"))
        store._fs.pipe_file("/store/broken", b"?")
        with pytest.raises(Unavailable):
            await store.list_page(Key(""))


async def test_a_file_system_can_be_for_reading_only():
    """Its attribute `read_only` says so, and users are told."""
    async with store_over(Reading) as store:
        assert store.capabilities.read_only
        assert weaknesses(store.capabilities)[0] == "read-only: the service takes no changes"


async def test_a_deletion_of_a_file_spares_a_folder_of_its_name():
    """Some services remove a folder with all that is in it."""
    async with store_over(MemoryFileSystem) as store:
        await store.put(Key("a/b"), b"1")
        await store.delete(A)
        assert (await store.read_range(Key("a/b"), 0, 1)).data == b"1"


async def test_a_web_server_that_is_down_does_not_make_files_missing():
    """fsspec says FileNotFoundError whatever went wrong."""
    settings = MountSettings.merge({"request_deadline": 5, "retry_budget": 0.1})
    async with open_store(StoreConfig("test", "fsspec", "http://127.0.0.1:1"), settings) as opened:
        with pytest.raises(Unavailable):
            await opened.store.stat(A)
        with pytest.raises(Unavailable):
            await opened.store.list_page(Key(""))
