"""What a service keeps beside an object's bytes survives every change of the bytes and of the name.

Content type, cache control and the like, user metadata, tags, storage class and encryption, as far as each server keeps
them: all is set and read by a client that has nothing to do with mountd.
"""

from dataclasses import replace

import pytest

from mountd.config import MountSettings
from mountd.errors import Unsupported, VersionChanged
from mountd.objects.interface import ABSENT, Key
from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig
from tests.kits import AzureContainer, Bucket, GcsBucket

MiB = 1024 * 1024
SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 5, "copy_limit": 5 * MiB})
KEY = Key("dir/data.txt")


@pytest.fixture(params=["s3", "gcs", "azure"])
def outside(request, monkeypatch):
    """An empty bucket of each service, as another client sees it."""
    if request.param == "s3":
        made = Bucket(request.getfixturevalue("s3_server"))
    elif request.param == "gcs":
        made = GcsBucket(request.getfixturevalue("gcs_server"))
    else:
        made = AzureContainer(request.getfixturevalue("azure_server"))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    if request.param == "azure":
        made.client.close()


@pytest.fixture
async def store(outside, tmp_path):
    """The bucket, as the daemon opens it."""
    config = StoreConfig("test", outside.kind, outside.root, outside.options)
    async with open_store(config, SETTINGS, data=tmp_path) as opened:
        await opened.store.check()
        yield opened.store


def kept(outside, key, expected):
    """Tell whether an object has what it had, after a request that moves bytes inside the store."""
    lost = getattr(outside, "forgets", ())
    wanted, found = ({n: v for n, v in each.items() if n not in lost} for each in (expected, outside.described(key)))
    assert found == wanted
    return True


async def listed(store, key):
    """Return an object as a listing tells of it: nothing else is known of it yet."""
    page = await store.list_page(Key("dir/"))
    (found,) = [info for info in page.objects if info.key == key]
    return found


async def edited(store, source, size):
    """Replace the first part of an object that has two, and return the new state."""
    upload = await store.open_upload(source.key, replaces=source.version)
    await upload.put_part(1, 0, b"y" * size)
    try:
        await upload.copy_part(2, size, source, size, source.size - size)
    except Unsupported:
        chunk = await store.read_range(source.key, size, source.size - size, version=source.version)
        await upload.put_part(2, size, chunk.data)
    return await upload.complete([1, 2], expect=source.version)


async def test_an_overwrite_keeps_everything(outside, store):
    """A put over an object that is known from a listing only, and another one over what that has made."""
    expected = outside.put_described(KEY, b"old")
    made = await store.put(KEY, b"new", expect=(await listed(store, KEY)).version)
    assert outside.described(KEY) == expected
    await store.put(KEY, b"newer", expect=made.version)
    assert outside.described(KEY) == expected
    assert outside.get(KEY) == b"newer"


async def test_an_edit_in_place_keeps_everything(outside, store):
    """An upload in parts over an object, and another one over what that has made."""
    size = max(store.capabilities.min_part, MiB)
    expected = outside.put_described(KEY, b"x" * (size + 100))
    made = await edited(store, await listed(store, KEY), size)
    assert kept(outside, KEY, expected)
    await edited(store, made, size)
    assert kept(outside, KEY, expected)
    assert outside.get(KEY) == b"y" * size + b"x" * 100


async def test_a_copy_keeps_everything(outside, store):
    """A rename is a copy and a deletion: by the listing, and from what was copied itself."""
    expected = outside.put_described(KEY, b"bytes")
    copied = await store.copy(await listed(store, KEY), Key("dir/copy"))
    assert kept(outside, "dir/copy", expected)
    await store.copy(copied, Key("dir/again.csv"))
    assert kept(outside, "dir/again.csv", expected)
    assert outside.get("dir/again.csv") == b"bytes"


async def test_a_copy_over_another_object_has_what_its_source_had(outside, store):
    """What a rename replaces leaves nothing behind: the name now has the source's content type, tags and the rest."""
    expected = outside.put_described(KEY, b"bytes")
    outside.put("dir/target", b"other")
    await store.copy(await listed(store, KEY), Key("dir/target"), expect=(await listed(store, "dir/target")).version)
    assert kept(outside, "dir/target", expected)


async def test_a_copy_of_something_large_keeps_everything(outside, store):
    """On S3 it goes in parts, bound to the versions of source and target, which leave nothing when they do not hold."""
    expected = outside.put_described(KEY, b"x" * (11 * MiB))
    source = await listed(store, KEY)
    copied = await store.copy(source, Key("dir/copy"))
    assert kept(outside, "dir/copy", expected)
    assert copied == await store.stat(Key("dir/copy"))
    assert outside.get("dir/copy") == b"x" * (11 * MiB)
    outside.put("dir/data.txt", b"y" * (11 * MiB))
    with pytest.raises(VersionChanged):
        await store.copy(source, Key("dir/other"))
    with pytest.raises(VersionChanged):
        await store.copy(await listed(store, KEY), Key("dir/copy"), expect=ABSENT)
    assert outside.get("dir/copy") == b"x" * (11 * MiB)
    assert outside.keys() == ["dir/copy", "dir/data.txt"]
    if outside.kind == "s3":
        assert "Uploads" not in outside.client.list_multipart_uploads(Bucket=outside.bucket)


async def test_without_the_right_to_delete_nothing_is_left_at_google(gcs_server, tmp_path):
    """Parts could not be removed again, so the object goes in one piece, conditions and description included."""
    outside = GcsBucket(gcs_server)
    expected = outside.put_described(KEY, b"old")
    config = StoreConfig("test", outside.kind, outside.root, outside.options)
    async with open_store(config, SETTINGS, data=tmp_path) as opened:
        service = opened.store._inner._inner._inner  # below the accounts, the repeats and the limits
        service.capabilities = replace(service.capabilities, deletes=False)
        old = await opened.store.stat(KEY)
        data = b"x" * (20 * MiB) + b"y"
        for expect in (old.version, ABSENT):
            upload = await opened.store.open_upload(KEY, replaces=old.version)
            await upload.put_part(2, 10 * MiB, data[10 * MiB :])
            await upload.put_part(1, 0, data[: 10 * MiB])
            if expect == ABSENT:
                with pytest.raises(VersionChanged):
                    await upload.complete([1, 2], expect=expect)
                await upload.abort()
            else:
                made = await upload.complete([1, 2], expect=expect)
                assert made == await opened.store.stat(KEY)
    assert outside.get(KEY) == data
    assert kept(outside, KEY, expected)
    assert outside.keys() == [KEY]
