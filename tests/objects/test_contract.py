"""What every object store promises: the sentences of `mountd.objects.interface`, on each implementation."""

import time
from operator import attrgetter

import pytest
import trio

from mountd.errors import NotEmpty, NotFound, Unsupported, VersionChanged
from mountd.objects.interface import ABSENT, Key, ObjectInfo, Version

MiB = 1024 * 1024
A, B = Key("a"), Key("b")


async def read(store, key):
    return (await store.read_range(key, 0, 1 << 30)).data


async def listed(store, prefix="", **options):
    """Return the keys and the prefixes of a listing, all pages of it; some services repeat a prefix on each page."""
    keys, prefixes, cursor = [], [], None
    while True:
        page = await store.list_page(Key(prefix), cursor=cursor, **options)
        keys += [info.key for info in page.objects]
        prefixes += page.prefixes
        cursor = page.cursor
        if cursor is None:
            return sorted(keys), sorted(set(prefixes))


async def test_what_was_put_is_read_and_described(store):
    """`put` stores the bytes; `put`, `stat` and `read_range` agree on size and version."""
    made = await store.put(A, b"some bytes")
    chunk = await store.read_range(A, 0, 100)
    found = await store.stat(A)
    assert chunk.data == b"some bytes"
    assert made.size == found.size == chunk.info.size == 10
    assert made.version == found.version == chunk.info.version != ABSENT
    assert abs(found.mtime_ns / 1e9 - time.time()) < 60


async def test_a_listing_agrees_with_stat(store):
    """The listing gives the same size, version and time as `stat`."""
    await store.put(A, b"some bytes")
    (info,) = (await store.list_page(Key(""))).objects
    assert info == await store.stat(A)


async def test_a_page_that_is_known_has_the_same_entries(store):
    """A page is told without its entries only as long as they are what they were."""
    for name in "abc":
        await store.put(Key(f"d/{name}"), b"1")
    before = await store.list_page(Key("d/"))
    again = await store.list_page(Key("d/"), known=before.digest)
    assert again.unchanged == bool(before.digest)
    assert again.unchanged or sorted(again.objects, key=attrgetter("key")) == sorted(
        before.objects, key=attrgetter("key")
    )
    await store.put(Key("d/b"), b"22")
    changed = await store.list_page(Key("d/"), known=before.digest)
    assert {each.key: each.size for each in changed.objects if each.size} == {"d/a": 1, "d/b": 2, "d/c": 1}
    await store.put(Key("d/d/e"), b"1")
    more = await store.list_page(Key("d/"), known=changed.digest)
    assert sorted(each.key for each in more.objects if each.size) == ["d/a", "d/b", "d/c"]
    assert list(more.prefixes) == ["d/d/"]


async def test_what_is_not_there_is_not_found(store):
    """`stat` and `read_range` of a key without an object raise NotFound."""
    with pytest.raises(NotFound):
        await store.stat(A)
    with pytest.raises(NotFound):
        await store.read_range(A, 0, 10)


async def test_a_key_below_an_object_is_not_found(store):
    """`a/b` is not found where `a` is an object, without any other error."""
    await store.put(A, b"1")
    with pytest.raises(NotFound):
        await store.stat(Key("a/b"))


async def test_ranges_are_bytes_of_the_object(store):
    """`read_range` returns the bytes asked for, fewer only at the end of the object."""
    await store.put(A, bytes(range(200)))
    assert (await store.read_range(A, 10, 20)).data == bytes(range(10, 30))
    assert (await store.read_range(A, 190, 20)).data == bytes(range(190, 200))
    beyond = await store.read_range(A, 200, 20)
    assert (beyond.data, beyond.info.size) == (b"", 200)


async def test_an_empty_object_is_an_object(store):
    """An object of no bytes can be stored, described, listed and read."""
    await store.put(A, b"")
    assert (await store.stat(A)).size == 0
    assert (await store.read_range(A, 0, 10)).data == b""
    assert await listed(store) == (["a"], [])


async def test_an_overwrite_changes_the_version(store):
    """After a put over an object its version is another, and reads that name the old one fail."""
    first = await store.put(A, b"first")
    second = await store.put(A, b"second!")
    assert first.version != second.version
    assert (await store.read_range(A, 0, 10, version=second.version)).data == b"second!"
    with pytest.raises(VersionChanged):
        await store.read_range(A, 0, 10, version=first.version)
    with pytest.raises(VersionChanged):
        await store.read_range(A, 100, 10, version=first.version)


async def test_creation_is_exclusive(store):
    """A put that expects no object fails where there is one, and leaves it as it was."""
    await store.put(A, b"mine", expect=ABSENT)
    with pytest.raises(VersionChanged):
        await store.put(A, b"yours", expect=ABSENT)
    assert await read(store, A) == b"mine"


async def test_only_one_of_many_creations_wins(store):
    """Of puts at the same time that all expect no object, one succeeds (where the store can tell)."""
    if not store.capabilities.conditional_create:
        pytest.skip("the store cannot decide who was first, and says so")
    won = []

    async def create(i):
        try:
            await store.put(A, b"%d" % i, expect=ABSENT)
        except VersionChanged:
            return
        won.append(i)

    async with trio.open_nursery() as nursery:
        for i in range(8):
            nursery.start_soon(create, i)
    assert len(won) == 1
    assert await read(store, A) == b"%d" % won[0]


async def test_an_overwrite_can_name_the_version_it_replaces(store):
    """A put that expects a version succeeds on that version alone."""
    first = await store.put(A, b"first")
    second = await store.put(A, b"second", expect=first.version)
    with pytest.raises(VersionChanged):
        await store.put(A, b"third", expect=first.version)
    with pytest.raises(VersionChanged):
        await store.put(B, b"third", expect=second.version)
    assert await read(store, A) == b"second"


async def test_a_delete_can_name_the_version_it_removes(store):
    """A delete that expects a version fails on another one, and where there is none."""
    first = await store.put(A, b"first")
    second = await store.put(A, b"second")
    with pytest.raises(VersionChanged):
        await store.delete(A, expect=first.version)
    assert await read(store, A) == b"second"
    await store.delete(A, expect=second.version)
    with pytest.raises(NotFound):
        await store.stat(A)
    with pytest.raises(VersionChanged):
        await store.delete(A, expect=second.version)


async def test_deleting_what_is_not_there_succeeds(store):
    """A delete without a version is done when the object is not there, whoever removed it."""
    await store.delete(A)
    await store.put(A, b"1")
    await store.delete(A)
    await store.delete(A)
    assert await listed(store) == ([], [])


async def test_many_are_deleted_at_once_each_in_its_version(store):
    """What has another version by now stays, what is gone already is no error, and `None` means any version."""
    if not store.capabilities.batch_delete:
        pytest.skip("the store says that it cannot")
    names = [Key(name) for name in ("a b", "d/c", "e+f&g", "changed", "gone", "any")]
    made = {key: await store.put(key, b"1") for key in names}
    await store.put(Key("changed"), b"22")
    await store.delete(Key("gone"))
    versions = {key: info.version for key, info in made.items()}
    await store.delete_many(versions | {Key("any"): None, Key("never"): None})
    assert [key for key in (await listed(store, recursive=True))[0] if not key.endswith("/")] == ["changed"]
    assert await read(store, Key("changed")) == b"22"


async def test_a_copy_has_the_bytes_of_its_source(store):
    """`copy` makes an object with the same bytes and leaves the source."""
    source = await store.put(A, b"bytes")
    copied = await store.copy(source, Key("deep/er/b"))
    assert copied.size == 5
    assert await read(store, Key("deep/er/b")) == await read(store, A) == b"bytes"
    assert (await store.stat(Key("deep/er/b"))).version == copied.version


async def test_a_copy_is_bound_to_versions(store):
    """A copy fails, changing nothing, when its source has changed or its target is not as expected."""
    first = await store.put(A, b"first")
    second = await store.put(A, b"second")
    target = await store.put(B, b"target")
    with pytest.raises(VersionChanged):
        await store.copy(first, B)
    with pytest.raises(VersionChanged):
        await store.copy(second, B, expect=ABSENT)
    assert await read(store, B) == b"target"
    await store.copy(second, B, expect=target.version)
    assert await read(store, B) == b"second"
    await store.copy(first, Key("c"), expect=ABSENT, match=False)
    assert await read(store, Key("c")) == b"second"


async def test_a_copy_of_what_is_gone_is_not_found(store):
    """Copying an object that was deleted raises NotFound or, where only that can be told, VersionChanged."""
    source = await store.put(A, b"bytes")
    await store.delete(A)
    with pytest.raises((NotFound, VersionChanged)):
        await store.copy(source, B)
    with pytest.raises(NotFound):
        await store.stat(B)


async def test_a_rename_moves_in_one_step(store):
    """A file in its version, or a directory with everything in it, where the store has real directories."""
    if not store.capabilities.folders:
        pytest.skip("the store says that it can only copy and delete")
    first = await store.put(Key("d/a"), b"first")
    moved = await store.rename(first, Key("e/f/a"), expect=ABSENT)
    assert await read(store, Key("e/f/a")) == b"first"
    assert (await store.stat(Key("e/f/a"))).version == moved.version
    with pytest.raises(NotFound):
        await store.stat(Key("d/a"))
    second = await store.put(Key("d/a"), b"second")
    for source, expect in ((second, ABSENT), (first, None)):
        with pytest.raises(VersionChanged):
            await store.rename(source, Key("e/f/a"), expect=expect)
    await store.rename(second, Key("e/f/a"), expect=moved.version)
    assert await read(store, Key("e/f/a")) == b"second"
    await store.rename(ObjectInfo(Key("e/"), 0, 0, ABSENT), Key("g/e/"))
    assert await read(store, Key("g/e/f/a")) == b"second"
    assert await listed(store) == ([], ["d/", "g/"])
    await store.put(Key("d/b"), b"1")
    with pytest.raises(NotEmpty):
        await store.rename(ObjectInfo(Key("g/"), 0, 0, ABSENT), Key("d/"))


async def test_a_listing_folds_what_lies_deeper(store):
    """Keys with a further slash appear as one prefix; a recursive listing gives them all."""
    for key in ("a", "d/x", "d/e/y", "d/e/z", "dd"):
        await store.put(Key(key), b"1")
    assert await listed(store) == (["a", "dd"], ["d/"])
    keys, prefixes = await listed(store, "d/")
    assert (set(keys) - {"d/"}, prefixes) == ({"d/x"}, ["d/e/"])
    keys, prefixes = await listed(store, recursive=True)
    assert ({key for key in keys if not key.endswith("/")}, prefixes) == ({"a", "dd", "d/x", "d/e/y", "d/e/z"}, [])
    keys, _ = await listed(store, "d/", recursive=True)
    assert {key for key in keys if not key.endswith("/")} == {"d/x", "d/e/y", "d/e/z"}


async def test_a_listing_of_nothing_is_empty(store):
    """A prefix without objects, or the key of an object taken for one, lists nothing."""
    await store.put(A, b"1")
    assert await listed(store, "nothing/") == ([], [])
    assert await listed(store, "a/") == ([], [])
    assert await listed(store, "nothing/", recursive=True) == ([], [])


async def test_a_listing_comes_in_pages(store):
    """Whatever the page size, the pages together have every key and prefix once."""
    async with trio.open_nursery() as nursery:
        for i in range(25):
            nursery.start_soon(store.put, Key(f"k{i:02}"), b"1")
            nursery.start_soon(store.put, Key(f"p{i:02}/x"), b"1")
    expected = [f"k{i:02}" for i in range(25)], [f"p{i:02}/" for i in range(25)]
    assert await listed(store, limit=7) == expected
    assert await listed(store) == expected


async def test_an_empty_directory_lasts(store):
    """A marker keeps a prefix listed, is listed under itself, and is gone when it is deleted."""
    await store.put(Key("d/"), b"", expect=ABSENT)
    assert await listed(store) == ([], ["d/"])
    assert await listed(store, "d/") == (["d/"], [])
    with pytest.raises(VersionChanged):
        await store.put(Key("d/"), b"", expect=ABSENT)
    await store.put(Key("d/x"), b"1")
    await store.delete(Key("d/x"))
    assert await listed(store) == ([], ["d/"])
    await store.delete(Key("d/"))
    assert await listed(store) == ([], [])


async def test_a_marker_can_be_copied(store):
    """The copy of a marker is a marker."""
    marker = await store.put(Key("d/"), b"")
    await store.copy(marker, Key("e/f/"))
    assert await listed(store, "e/") in ((["e/"], ["e/f/"]), ([], ["e/f/"]))
    assert await listed(store, "e/f/") == (["e/f/"], [])


async def test_a_marker_goes_without_its_objects(store):
    """Deleting the marker of a directory that is not empty leaves what is in it."""
    await store.put(Key("d/"), b"")
    await store.put(Key("d/x"), b"1")
    await store.delete(Key("d/"))
    assert await read(store, Key("d/x")) == b"1"
    assert await listed(store) == ([], ["d/"])


@pytest.mark.parametrize("name", ["with space", "ä-ö-漢字", "a+b&c=d?e#f%20", "'\"<>|*", "~x", "-", "\ue000"])
async def test_names_are_taken_literally(store, name):
    """Keys with any characters are stored, listed, copied and deleted as they are."""
    key = Key(f"dir/{name}")
    info = await store.put(key, b"bytes")
    assert key in [info.key for info in (await store.list_page(Key("dir/"))).objects]
    await store.copy(info, Key(f"{name}/copy"))
    assert await read(store, Key(f"{name}/copy")) == b"bytes"
    await store.delete(key)
    with pytest.raises(NotFound):
        await store.stat(key)


async def test_an_upload_appears_when_it_is_complete(store):
    """Parts sent in any order make the object, which is not there before."""
    size = max(store.capabilities.min_part, 1000)
    parts = {1: b"a" * size, 2: b"b" * size, 3: b"c" * 10}
    upload = await store.open_upload(Key("up/load"))
    for number in (3, 1, 2):
        await upload.put_part(number, (number - 1) * size, parts[number])
    with pytest.raises(NotFound):
        await store.stat(Key("up/load"))
    info = await upload.complete([1, 2, 3])
    assert info.size == 2 * size + 10
    assert await read(store, Key("up/load")) == b"".join(parts.values())
    assert (await store.stat(Key("up/load"))).version == info.version


async def test_a_part_can_be_replaced_and_dropped(store):
    """Sending a number again replaces the part; parts that are not named are not in the object."""
    size = max(store.capabilities.min_part, 1000)
    upload = await store.open_upload(A)
    await upload.put_part(1, 0, b"x" * size)
    await upload.put_part(2, size, b"b" * size)
    await upload.put_part(3, 2 * size, b"c" * size)
    await upload.put_part(1, 0, b"a" * size)
    await upload.complete([1, 2])
    assert await read(store, A) == b"a" * size + b"b" * size


async def test_an_upload_is_conditional(store):
    """Completing fails where the key does not hold what was expected, and changes nothing."""
    there = await store.put(A, b"there")
    for expect in (ABSENT, Version("another")):
        upload = await store.open_upload(A)
        await upload.put_part(1, 0, b"new")
        with pytest.raises(VersionChanged):
            await upload.complete([1], expect=expect)
        await upload.abort()
        assert await read(store, A) == b"there"
    upload = await store.open_upload(A)
    await upload.put_part(1, 0, b"new")
    await upload.complete([1], expect=there.version)
    assert await read(store, A) == b"new"


async def test_an_upload_that_meets_a_change_leaves_nothing(store):
    """Neither its parts nor what was made of them on the way stay beside what somebody else has put."""
    small = store.capabilities.min_part == 1
    size, count = (10, 40) if small else (store.capabilities.min_part, 2)
    old = await store.put(A, b"old")
    upload = await store.open_upload(A, replaces=old.version)
    for number in range(1, count + 1):
        await upload.put_part(number, (number - 1) * size, b"x" * size)
    await store.put(A, b"theirs")
    with pytest.raises(VersionChanged):
        await upload.complete(range(1, count + 1), expect=old.version)
    await upload.abort()
    assert await listed(store, recursive=True) == (["a"], [])
    assert await read(store, A) == b"theirs"


async def test_an_aborted_upload_leaves_nothing(store):
    """After abort there is no object; aborting twice is fine."""
    upload = await store.open_upload(A)
    await upload.put_part(1, 0, b"data")
    await upload.abort()
    await upload.abort()
    assert await listed(store) == ([], [])


async def test_parts_are_copied_inside_the_store(store):
    """A part taken from an object has its bytes; it is refused when the object has changed."""
    if not store.capabilities.part_copy:
        pytest.skip("the store says that it cannot")
    size = store.capabilities.min_part
    upload = await store.open_upload(A)
    await upload.put_part(1, 0, b"0" * size)
    await upload.put_part(2, size, b"1" * size)
    source = await upload.complete([1, 2])
    upload = await store.open_upload(A)
    await upload.put_part(1, 0, b"x" * size)
    await upload.copy_part(2, size, source, size, size)
    await upload.complete([1, 2], expect=source.version)
    assert await read(store, A) == b"x" * size + b"1" * size
    upload = await store.open_upload(A)
    with pytest.raises((VersionChanged, NotFound, Unsupported)):
        await upload.copy_part(1, 0, source, 0, size)
        await upload.complete([1], expect=source.version)
    await upload.abort()
    assert await read(store, A) == b"x" * size + b"1" * size


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Azure's client leaves it to the collector
async def test_a_cancelled_request_leaves_a_store_that_works(store):
    """Giving up on requests in the middle does not disturb the ones that follow."""
    await store.put(A, b"x" * MiB)
    for _ in range(5):
        with trio.move_on_after(0.002):
            await store.read_range(A, 0, MiB)
    assert len(await read(store, A)) == MiB
