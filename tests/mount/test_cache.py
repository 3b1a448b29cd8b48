"""The local cache: bounded, kept over a restart, and never believed without its checksum."""

import os
from pathlib import Path

import pytest

from tests.harness import until
from tests.mount.damage import blobs, drop

MiB = 1024 * 1024


def remount(mount, *options):
    mount.unmount()
    mount.host.run("mount", mount.name, mount.path, *options)


@pytest.fixture
def mount(host, s3_store):
    return host.mount(s3_store, "--cache-size", "32MiB")


def test_the_cache_stays_within_its_limit(mount, s3_store):
    """Clean bytes make room for others; the disk holds no more than the limit."""
    for i in range(8):
        s3_store.put(f"f{i}", bytes([i]) * (8 * MiB))
    for i in range(8):
        assert (mount / f"f{i}").read_bytes() == bytes([i]) * (8 * MiB)
    until(lambda: mount.status()["cache"]["bytes"] <= 32 * MiB)  # what came last is still making room
    assert sum(path.stat().st_blocks * 512 for path in blobs(mount)) <= 34 * MiB
    for i in range(8):
        drop(mount / f"f{i}")
        assert (mount / f"f{i}").read_bytes() == bytes([i]) * (8 * MiB)


def test_the_cache_is_kept_over_a_restart(mount, s3_store):
    """What was read before is not fetched again, only asked whether it is still the same."""
    s3_store.put("a", os.urandom(5 * MiB))
    data = (mount / "a").read_bytes()
    remount(mount)
    again = mount.host.mounted()
    with again.counting() as requests:
        assert (mount / "a").read_bytes() == data == s3_store.get("a")
    assert "read_range" not in requests


def test_what_changed_while_unmounted_is_fetched(mount, s3_store):
    """A cached version that is no longer the object's is not served."""
    s3_store.put("a", b"old" * 1000)
    assert (mount / "a").read_bytes() == b"old" * 1000
    mount.unmount()
    s3_store.put("a", b"new" * 1000)
    mount.host.run("mount", mount.name, mount.path)
    assert (mount / "a").read_bytes() == b"new" * 1000


def test_damaged_bytes_are_fetched_again(mount, s3_store):
    """A bit that the local disk has turned is found by its checksum; the reader gets the object's bytes.

    [read-verified]
    """
    s3_store.put("a", b"x" * MiB)
    assert (mount / "a").read_bytes() == b"x" * MiB
    mount.unmount()
    (blob,) = blobs(mount)
    with Path(blob).open("r+b") as file:
        file.seek(500_000)
        file.write(b"damage")
    mount.host.run("mount", mount.name, mount.path)
    assert (mount / "a").read_bytes() == b"x" * MiB


def test_a_cache_after_a_kill_is_right(mount, s3_store):
    """Whatever the index had not noted yet, reads give the object's bytes."""
    for i in range(4):
        s3_store.put(f"f{i}", os.urandom(2 * MiB))
    for i in range(4):
        (mount / f"f{i}").read_bytes()
    (mount / "w").write_bytes(b"w" * MiB)
    mount.kill()
    mount.host.run("mount", mount.name, mount.path)
    for i in range(4):
        assert (mount / f"f{i}").read_bytes() == s3_store.get(f"f{i}")
    assert (mount / "w").read_bytes() == b"w" * MiB


def test_local_data_that_was_deleted_is_made_anew(mount, s3_store):
    """Somebody removed the cache while nothing was mounted: the next mount begins with an empty one."""
    s3_store.put("a", b"x" * MiB)
    assert (mount / "a").read_bytes() == b"x" * MiB
    mount.unmount()
    for path in (mount.host.folder / "state" / "mountd").rglob("*"):
        if path.is_file():
            path.unlink()
    mount.host.run("mount", mount.name, mount.path)
    assert (mount / "a").read_bytes() == b"x" * MiB
