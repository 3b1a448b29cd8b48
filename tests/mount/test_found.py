"""What random operations have found (`tests/model`), each as the shortest way there."""

import os

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
