"""What random operations have found (`tests/model`), each as the shortest way there."""

import os
import time

import pytest


@pytest.fixture
def fresh(host, store):
    """The store, mounted so that every open asks."""
    return host.mount(store, "--freshness", "0")


def test_a_file_replaced_elsewhere_keeps_its_new_bytes_when_its_directory_is_renamed(fresh, store):
    """The node of the old version was given the new object, so its cached bytes were served as the new ones."""
    (fresh / "a").mkdir()
    (fresh / "a" / "b").write_bytes(b"old")
    store.put("a/b", b"newer")
    (fresh / "a").rename(fresh / "c")
    assert store.get("c/b") == b"newer"
    assert (fresh / "c" / "b").read_bytes() == b"newer"


def test_a_directory_lasts_when_its_last_file_was_never_stored(host, s3_store):
    """No marker was stored for the last object, because of a file that was here only; then that one went, too."""
    s3_store.put("a/b", b"object")
    mount = host.mount(s3_store, "--freshness", "inf")
    assert os.listdir(mount / "a") == ["b"]
    with open(mount / "a" / "c", "wb"):
        (mount / "a" / "b").unlink()
        (mount / "a" / "c").unlink()
    found = s3_store.client.list_objects_v2(Bucket=s3_store.bucket)
    assert [each["Key"] for each in found.get("Contents", ())] == ["a/"]


@pytest.mark.parametrize("attributes", ["on", "off"])
def test_a_directory_of_old_objects_can_be_renamed(host, store, attributes):
    """What was to tell the copies' times was deleted under a key that no object can have, so the rename failed."""
    for key in ("a/one", "a/b/two", "a/b/c/three"):
        store.put(key, key.encode())
    time.sleep(2.5)  # older than the difference between a copy's time and its object's that is not recorded
    mount = host.mount(store, "--attributes", attributes)
    before = (mount / "a" / "b" / "two").stat().st_mtime_ns
    (mount / "a").rename(mount / "d")
    assert {"d/one", "d/b/two", "d/b/c/three"} <= set(store.keys())
    assert not [key for key in store.keys() if key.startswith("a/")]
    assert (mount / "d" / "b" / "two").read_bytes() == b"a/b/two"
    assert mount.status()["errors"] == []
    if attributes == "on":
        assert (mount / "d" / "b" / "two").stat().st_mtime_ns == before
    else:
        assert all(".mountd" not in key for key in store.keys())


def test_sidecars_are_left_alone_with_attributes_off(host, s3_store):
    """Renames went on reading and writing them."""
    store = s3_store
    host.mount(store)
    mount = host.mounted()
    (mount / "a").mkdir()
    (mount / "a" / "file").write_bytes(b"bytes")
    (mount / "a" / "file").chmod(0o600)
    mount.unmount()
    before = store.get("a/.mountd-attributes.json")
    mount = host.mount(store, "--attributes", "off")
    (mount / "a" / "file").rename(mount / "a" / "other")
    assert store.get("a/.mountd-attributes.json") == before
    (mount / "a").rename(mount / "b")
    host.run("sync", mount.path)
    assert store.get("b/.mountd-attributes.json") == before


def test_a_large_file_that_is_renamed_while_it_is_written_has_its_new_name(host, store):
    """Its parts were on their way under the old name, and completed there: the new name led to nothing."""
    mount = host.mount(store)
    expected = b""
    with open(mount / "a", "wb", buffering=0) as file:
        for step in range(3):
            data = bytes([step]) * (20 * 1024 * 1024)
            file.write(data)
            expected += data
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # has the kernel hand over what it holds back
            time.sleep(0.3)  # parts are sent
            (mount / ("a", "b", "c")[step]).rename(mount / ("b", "c", "d")[step])
    assert store.keys() == ["d"]
    assert store.get("d") == expected
    if store.kind == "s3":
        assert "Uploads" not in store.client.list_multipart_uploads(Bucket=store.bucket)
