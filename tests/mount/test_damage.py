"""Damage on local disk: what the store has is fetched again, what it lacks is an error and is never stored."""

import errno
import json
import os
from pathlib import Path

import pytest

from mountd.daemon import client
from mountd.daemon.records import MountRecord
from tests.mount.damage import blobs, closed, drop, reach_the_daemon, turn

MiB = 1024 * 1024
BLOCK = 128 * 1024

DAMAGE = {
    "turned bit": lambda path: turn(path, 300_000),
    "cut off": lambda path: os.truncate(path, 300_000),
    "deleted": Path.unlink,
}
anyhow = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())


@pytest.fixture
def mount(host, s3_store):
    return host.mount(s3_store)


@anyhow
@pytest.mark.parametrize("when", ["mounted", "unmounted"])
def test_damaged_bytes_that_are_stored_are_fetched_again(mount, s3_store, when, damage):
    """Between two uses of the file as between two mounts. [read-verified]"""
    data = os.urandom(2 * MiB)
    s3_store.put("a", data)
    assert (mount / "a").read_bytes() == data
    if when == "unmounted":
        mount.unmount()
    else:
        closed(mount)
    damage(blobs(mount)[0])
    if when == "unmounted":
        mount.host.run("mount", mount.name, mount.path)
    else:
        drop(mount / "a")
    assert (mount / "a").read_bytes() == data


@pytest.mark.parametrize("size", [MiB, 40 * MiB], ids=["in one request", "in parts"])
def test_damaged_bytes_that_are_not_stored_are_never_stored(mount, s3_store, size):
    """`close()` fails with EIO and status names the file; the store keeps what it had. [damage-not-stored]"""
    s3_store.put("a", b"before")
    with open(mount / "a", "w+b", buffering=0) as file:
        file.write(os.urandom(size - 1))
        blob = reach_the_daemon(file, mount, size - 1)
        turn(blob, size - BLOCK // 2)
        file.write(b"z")
        with pytest.raises(OSError) as failed:
            os.fsync(file.fileno())
        assert failed.value.errno == errno.EIO
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with pytest.raises(OSError) as failed:
            os.pread(file.fileno(), 10, size - BLOCK // 2)
        assert failed.value.errno == errno.EIO
        (pending,) = mount.status()["pending"]
        assert (pending["path"], "the local disk has damaged" in pending["error"]) == ("a", True)
        assert s3_store.get("a") == b"before"
        file.seek(0)
        file.write(b"y" * size)  # what is written again is whole again
    assert s3_store.get("a") == b"y" * size
    assert mount.status()["pending"] == []


def test_a_file_that_a_folder_takes_over_is_compared_first(host, local_store):
    """Where the backing file itself becomes the store's. [damage-not-stored]"""
    mount = host.mount(local_store)
    with open(mount / "a", "wb", buffering=0) as file:
        file.write(b"x" * (MiB - 1))
        turn(reach_the_daemon(file, mount, MiB - 1), 5000)
        with pytest.raises(OSError) as failed:
            os.fsync(file.fileno())
        assert failed.value.errno == errno.EIO
        assert local_store.keys() == []
        file.truncate(0)
    assert local_store.get("a") == b""


def test_what_was_written_here_is_kept_with_the_checksums_of_what_was_written(mount, s3_store):
    """Damage that happened before the index was written is found at the next mount."""
    data = os.urandom(MiB)
    with open(mount / "a", "wb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
        turn(blobs(mount)[0], 5000)
    mount.remount()
    with mount.counting() as requests:
        assert (mount / "a").read_bytes() == data
    assert requests["read_range"] == 1


@pytest.mark.parametrize("mounted", [True, False], ids=["mounted", "unmounted"])
class TestCommands:
    """`mountd cache`, with a daemon and without one."""

    @pytest.fixture
    def filled(self, mount, s3_store, mounted):
        """The mount, after three files were read through it; unmounted or not."""
        for name in "abc":
            s3_store.put(name, name.encode() * MiB)
        for name in "abc":
            assert (mount / name).read_bytes() == name.encode() * MiB
        if mounted:
            closed(mount)
        else:
            mount.unmount()
        return mount

    def again(self, mount, mounted):
        if not mounted:
            mount.host.run("mount", mount.name, mount.path)
        for name in "abc":
            drop(mount / name)
            assert (mount / name).read_bytes() == name.encode() * MiB

    def test_info_tells_what_is_here(self, filled, mounted):
        """For programs and for people, by name and by mount point. [cache-info]"""
        found = json.loads(filled.host.run("cache", "info", filled.name, "--json").stdout)
        assert (found["bytes"], found["files"], found["limit"]) == (3 * MiB, 3, 10 * 1024 * MiB)
        assert Path(found["folder"]) in blobs(filled)[0].parents
        lines = filled.host.run("cache", "info", filled.path if mounted else filled.name).stdout.splitlines()
        assert "size\t3 MiB of 10 GiB" in lines

    def test_clear_frees_what_is_stored(self, filled, mounted):
        """And the bytes are fetched again when they are read. [cache-clear]"""
        done = filled.host.run("cache", "clear", filled.name)
        assert done.stdout == "Freed 3 MiB\n"
        assert blobs(filled) == []
        found = json.loads(filled.host.run("cache", "info", filled.name, "--json").stdout)
        assert (found["bytes"], found["files"]) == (0, 0)
        self.again(filled, mounted)
        assert filled.host.mounted().requests()["read_range"] >= 3

    def test_verify_finds_nothing_where_nothing_is_wrong(self, filled, mounted):
        """Exit code 0, and how much was read."""
        done = filled.host.run("cache", "verify", filled.name)
        assert done.stdout == "Verified 3 MiB in 3 files\n"

    @anyhow
    def test_verify_drops_what_is_damaged_and_stored(self, filled, mounted, damage):
        """Before anybody reads it. [cache-verify]"""
        damage(blobs(filled)[0])
        found = json.loads(filled.host.run("cache", "verify", filled.name, "--json").stdout)
        assert found["damaged"] == []
        ((name, amount),) = [(each["path"], each["bytes"]) for each in found["dropped"]]
        assert name in ("a", "b", "c")
        assert amount % BLOCK == 0
        assert filled.host.run("cache", "verify", filled.name).stdout.startswith("Verified")
        self.again(filled, mounted)


def test_clear_keeps_what_is_not_stored_yet(mount, s3_store):
    """Nothing that was written is lost. [cache-clear]"""
    s3_store.put("a", b"a" * MiB)
    assert (mount / "a").read_bytes() == b"a" * MiB
    data = os.urandom(2 * MiB)
    with open(mount / "new", "wb", buffering=0) as file:
        file.write(data)
        reach_the_daemon(file, mount, 2 * MiB)
        # Without a process: its copy of the descriptor would be closed, which stores the file.
        (record,) = (mount.host.folder / "run" / "mountd").glob("*.json")
        done = client.ask(MountRecord.from_json(record.read_text()), "cache-clear")
        assert done == {"freed": MiB, "left": 2 * MiB}
        assert s3_store.keys() == ["a"]
    assert s3_store.get("new") == data


def test_verify_reports_what_is_damaged_and_not_stored(mount, s3_store):
    """Exit code 1, a line that names the file, and an error in status; it is not stored. [cache-verify]"""
    with open(mount / "new", "wb", buffering=0) as file:
        file.write(b"x" * MiB)
        turn(reach_the_daemon(file, mount, MiB), 5)
        done = mount.host.run("cache", "verify", mount.name, check=False)
        assert done.returncode == 1
        line, _ = done.stdout.splitlines()
        assert line == "new: 128 KiB that are not in the store are damaged: write it again, or remove it"
        assert any("new: the local disk has damaged" in each["message"] for each in mount.status()["errors"])
        with pytest.raises(OSError):
            os.fsync(file.fileno())
        assert s3_store.keys() == []
        os.unlink(mount / "new")


def test_the_cache_of_a_store_that_a_daemon_holds_is_left_alone(mount):
    """Also where the record of the mount is lost. [one-daemon]"""
    for record in (mount.host.folder / "run" / "mountd").glob("*.json"):
        kept = record.rename(record.with_suffix(".lost"))
    done = mount.host.run("cache", "clear", mount.name, check=False)
    assert (done.returncode, f"process {mount.pid}" in done.stderr) == (6, True)
    kept.rename(kept.with_suffix(".json"))
