"""Files that get their name, or another's place, while they are still being written, as safetensors saves them."""

import contextlib
import os

MiB = 1024 * 1024


def make(path, size, *, pieces):
    """Begin a file as the `tempfile` of Rust and others do: exclusively, at full length, and leave it open."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    os.ftruncate(descriptor, size)
    for piece in pieces:
        os.write(descriptor, piece)
    return descriptor


def hand_over(descriptor):
    """Have the kernel hand over what it holds back of writes."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def test_others_find_the_old_bytes_until_the_new_ones_are_whole(mount, store):
    """Never a part of them, whatever the kernel has handed over so far."""
    store.put("model", b"old")
    descriptor = make(mount / ".tmp1", 100, pieces=[b"n" * 50])
    hand_over(descriptor)
    os.rename(mount / ".tmp1", mount / "model")
    assert os.listdir(mount.path) == ["model"]
    assert (mount / "model").read_bytes() == b"n" * 50 + bytes(50)
    if store.kind != "memory":  # its independent client is the mount
        assert store.get("model") == b"old"
    os.write(descriptor, b"m" * 50)
    os.close(descriptor)
    assert (mount / "model").read_bytes() == b"n" * 50 + b"m" * 50
    mount.host.run("sync", mount.path)
    assert store.get("model") == b"n" * 50 + b"m" * 50
    assert store.keys() == ["model"]


def test_one_that_is_made_and_not_written_replaces_as_well(mount, store):
    """A file of no bytes is a file."""
    store.put("model", b"old")
    descriptor = os.open(mount / "new", os.O_WRONLY | os.O_CREAT, 0o666)
    os.rename(mount / "new", mount / "model")
    os.close(descriptor)
    mount.host.run("sync", mount.path)
    assert store.get("model") == b""
    assert store.keys() == ["model"]


def test_fsync_is_enough(mount, store):
    """What was synced before the rename takes the place at once, and what is synced after it from then on."""
    store.put("a", b"old")
    descriptor = make(mount / ".tmp1", 3, pieces=[b"new"])
    os.fsync(descriptor)
    os.rename(mount / ".tmp1", mount / "a")
    mount.host.run("sync", mount.path)
    assert store.get("a") == b"new"
    second = make(mount / ".tmp2", 5, pieces=[b"newer"])
    os.rename(mount / ".tmp2", mount / "a")
    os.fsync(second)
    mount.host.run("sync", mount.path)
    assert store.get("a") == b"newer"
    os.close(descriptor)
    os.close(second)
    assert store.keys() == ["a"]


def test_it_can_be_removed_and_renamed_again(mount, store):
    """The object whose place it is to take goes with the name that it had."""
    store.put("d/a", b"old")
    store.put("d/b", b"old")
    first = make(mount / "d/.tmp1", 3, pieces=[b"new"])
    os.rename(mount / "d/.tmp1", mount / "d/a")
    os.unlink(mount / "d/a")
    second = make(mount / "d/.tmp2", 5, pieces=[b"newer"])
    os.rename(mount / "d/.tmp2", mount / "d/b")
    os.rename(mount / "d/b", mount / "d/c")
    os.close(first)
    os.close(second)
    mount.host.run("sync", mount.path)
    assert store.keys() == ["d/c"]
    assert store.get("d/c") == b"newer"


def test_a_killed_daemon_leaves_the_old_bytes(host, s3_store):
    """Nothing of the new ones was acknowledged: they had not been synced, nor closed."""
    s3_store.put("model", b"old")
    mount = host.mount(s3_store)
    descriptor = make(mount / ".tmp1", 3, pieces=[b"new"])
    os.rename(mount / ".tmp1", mount / "model")
    mount.kill()
    with contextlib.suppress(OSError):
        os.close(descriptor)
    mount.revive()
    assert (mount / "model").read_bytes() == b"old"
    assert s3_store.keys() == ["model"]


def test_bytes_are_sent_once(host, s3_store):
    """Neither the length that is set first nor the rename makes parts go twice."""
    host.configure(part_size="5MiB")
    s3_store.put("model", b"old")
    mount = host.mount(s3_store)
    data = os.urandom(40 * MiB)
    pieces = [data[at : at + MiB] for at in range(0, len(data), MiB)]
    before = mount.status()["traffic"]["sent"]
    descriptor = make(mount / ".tmp1", len(data), pieces=pieces)
    os.rename(mount / ".tmp1", mount / "model")
    os.close(descriptor)
    assert s3_store.get("model") == data
    assert mount.status()["traffic"]["sent"] - before < 1.2 * len(data)
