"""`mountd mount --write-back`: what is acknowledged, when it is stored, and what a dead daemon leaves."""

import contextlib
import errno
import os
import sqlite3

import pytest

from tests.harness import until
from tests.proxy import answered, any_request, delayed, proxied, s3_error

MiB = 1 << 20


@pytest.fixture
def mounted(host, s3_store):
    """A bucket mounted in write-back mode."""
    return host.mount(s3_store, "--write-back")


def pending(mount):
    """Return {path: what is pending of it}."""
    return {each["path"]: each["change"] for each in mount.status()["pending"]}


def test_close_returns_before_the_store_has_it_and_sync_after(host, s3_server, s3_store):
    """[back-seen] [back-fsync] [back-gathers]"""
    with proxied(s3_server.endpoint) as proxy:
        s3_store.options = s3_store.options | {"endpoint_url": proxy.endpoint}
        mounted = host.mount(s3_store, "--write-back")
        proxy.on(lambda request: request.method == "PUT", delayed(10.0), times=1)
        (mounted / "a").write_bytes(b"hello")
        assert (mounted / "a").read_bytes() == b"hello"
        assert pending(mounted) == {"a": "put"}
        assert os.getxattr(mounted / "a", "user.mountd.state") == b"pending"
        assert s3_store.keys() == []
        mounted.host.run("sync", mounted / "a")
        assert s3_store.get("a") == b"hello"
        assert pending(mounted) == {}
        assert os.getxattr(mounted / "a", "user.mountd.state") == b"cached"
        mounted.unmount()


def test_the_store_follows_by_itself(mounted, s3_store):
    """Without anybody waiting. [back-crash]"""
    (mounted / "a").write_bytes(b"hello")
    until(lambda: s3_store.keys() == ["a"])


def test_fsync_waits_for_the_store(mounted, s3_store):
    """Of a file, and of a directory for everything below it. [back-fsync]"""
    (mounted / "d").mkdir()
    (mounted / "d" / "a").write_bytes(b"first")
    with open(mounted / "b", "wb") as file:
        file.write(b"synced")
        file.flush()
        os.fsync(file.fileno())
        assert s3_store.get("b") == b"synced"
    (mounted / "d" / "c").write_bytes(b"more")
    folder = os.open(mounted / "d", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    assert (s3_store.get("d/a"), s3_store.get("d/c")) == (b"first", b"more")


@pytest.mark.parametrize("size", [0, 5, 200_000, 20 * MiB])
def test_what_was_acknowledged_survives_the_daemon(mounted, s3_store, size):
    """Killed before anything was sent; the next daemon shows it, and the store gets it. [back-crash] [back-seen]"""
    data = os.urandom(size)
    (mounted / "a").write_bytes(data)
    (mounted / "d").mkdir()
    os.rename(mounted / "a", mounted / "d" / "b")
    mounted.kill()
    assert s3_store.keys() == []
    mounted.host.run("mount", "store", mounted.path, "--write-back")
    assert (mounted / "d" / "b").read_bytes() == data
    assert not (mounted / "a").exists()
    assert "acknowledged" in "".join(mounted.host.status()[0]["recovered"])
    mounted.host.run("sync")
    assert [key for key in s3_store.keys() if "mountd" not in key] == ["d/b"]
    assert s3_store.get("d/b") == data


def test_what_cancels_out_is_not_sent(host, s3_store):
    """[back-cancelled]"""
    mounted = host.mount(s3_store, "--write-back", "--attributes", "off")
    (mounted / "warm").write_bytes(b"")
    mounted.host.run("sync")
    with mounted.counting() as sent:
        (mounted / "temporary").write_bytes(b"1")
        os.unlink(mounted / "temporary")
        (mounted / "partial").write_bytes(b"2" * 100_000)
        os.rename(mounted / "partial", mounted / "whole")
        (mounted / "d").mkdir()
        (mounted / "d").rmdir()
        mounted.host.run("sync")
    assert {name: count for name, count in sent.items() if name in ("put", "copy", "delete")} == {"put": 1}


def test_a_part_that_is_changed_is_all_that_is_sent(mounted, s3_store):
    """Of an object that is in the store. [back-parts]"""
    data = bytearray(os.urandom(24 * MiB))
    s3_store.put("big", bytes(data))
    before = mounted.status()["traffic"].get("sent", 0)
    with open(mounted / "big", "r+b") as file:
        file.seek(12 * MiB)
        file.write(b"edit")
    data[12 * MiB : 12 * MiB + 4] = b"edit"
    mounted.host.run("sync")
    assert s3_store.get("big") == data
    assert mounted.status()["traffic"]["sent"] - before < 10 * MiB


def test_what_is_sent_is_what_was_closed(host, s3_server, s3_store):
    """A file that is changed while it is sent: the store has one closed state or the other. [back-one-state]"""
    with proxied(s3_server.endpoint) as proxy:
        s3_store.options = s3_store.options | {"endpoint_url": proxy.endpoint}
        mount = host.mount(s3_store, "--write-back")
        first = bytearray(os.urandom(24 * MiB))
        (mount / "big").write_bytes(first)
        slow = proxy.on(lambda request: "partNumber" in request.query, delayed(1.0), times=3)
        waiting = host.start("sync", mount / "big")
        until(lambda: slow.seen)
        second = first[:]
        with open(mount / "big", "r+b") as file:
            for at in range(0, len(second), 5 * MiB):
                file.seek(at)
                file.write(b"changed")
                second[at : at + 7] = b"changed"
        states = [b""]
        while waiting.poll() is None or states[-1] != second:
            found = s3_store.get("big") if s3_store.keys() else b""
            assert found in (b"", first, second)
            states += [found] if found != states[-1] else []
        assert states == [b"", first, second]
        host.close()


def test_a_store_out_of_reach_is_waited_for(host, s3_server, s3_store):
    """Writers do not notice; status tells; when it is back, work goes on. [back-retries] [back-fsync] [back-seen]"""
    with proxied(s3_server.endpoint) as proxy:
        s3_store.options = s3_store.options | {"endpoint_url": proxy.endpoint}
        (host.folder / "config" / "mountd").mkdir(parents=True)
        (host.folder / "config" / "mountd" / "config.toml").write_text('[mount]\nretry_budget = "0.5s"\n')
        mount = host.mount(s3_store, "--write-back", "--freshness", "inf")
        os.listdir(mount.path)  # names that are not known need the store
        proxy.on(any_request, answered(s3_error(503, "SlowDown")))
        (mount / "a").write_bytes(b"1")
        os.rename(mount / "a", mount / "b")
        (mount / "c").write_bytes(b"2")
        with open(mount / "c", "r+b") as file, pytest.raises(OSError, match=r".") as refused:
            os.fsync(file.fileno())
        assert refused.value.errno == errno.EIO
        until(lambda: all(each["error"] for each in mount.status()["pending"][:1]))
        left = pending(mount)
        assert left.pop("a", "delete") == "delete"  # what was being sent when it was renamed may be there
        assert left == {"b": "put", "c": "put"}
        assert (mount / "b").read_bytes() == b"1"
        proxy.clear()
        until(lambda: [key for key in s3_store.keys() if "mountd" not in key] == ["b", "c"], 90)
        host.close()


def test_unmount_waits_for_the_store(mounted, s3_store):
    """[back-unmount]"""
    for number in range(20):
        (mounted / f"file{number}").write_bytes(b"1")
    mounted.unmount()
    assert len(s3_store.keys()) == 20


def test_an_exclusive_creation_is_decided_here(mounted, s3_store):
    """Two programs of one machine exclude each other; nothing is asked of the store. [back-excl]"""
    os.listdir(mounted.path)
    with mounted.counting() as sent:
        os.close(os.open(mounted / "lock", os.O_CREAT | os.O_EXCL))
        with pytest.raises(FileExistsError):
            os.open(mounted / "lock", os.O_CREAT | os.O_EXCL)
        os.unlink(mounted / "lock")
    assert not {"put", "delete"} & sent.keys()


@pytest.mark.parametrize("size", [1000, 300_000])
def test_what_the_disk_damages_is_never_stored(mounted, s3_store, size):
    """It is an error when it is read, synced or scrubbed; others go on, and removing it ends that. [back-damaged]"""
    os.listdir(mounted.path)
    (mounted / "a").write_bytes(b"a" * size)
    mounted.kill()
    folder = next(mounted.host.folder.glob("state/mountd/store-*"))
    if size > 100_000:
        (spooled,) = (folder / "spool").iterdir()
        with spooled.open("r+b") as file:
            file.seek(150_000)
            file.write(b"damage")
    else:
        with contextlib.closing(sqlite3.connect(folder / "journal.db")) as db, db:
            db.execute("UPDATE changes SET data = ?", (b"b" * size,))
    mounted.host.run("mount", "store", mounted.path, "--write-back")
    with pytest.raises(OSError, match="Input/output"):
        (mounted / "a").read_bytes()
    (mounted / "other").write_bytes(b"fine")
    done = mounted.host.run("sync", mounted / "a", check=False)
    assert done.returncode == 7
    assert "a: " in done.stderr
    assert "damaged" in done.stderr
    done = mounted.host.run("cache", "verify", "store", check=False)
    assert done.returncode == 1
    assert "a" in done.stderr + done.stdout
    mounted.host.run("sync", mounted / "other")
    assert s3_store.keys() == ["other"]
    os.unlink(mounted / "a")
    mounted.host.run("sync")
    assert s3_store.keys() == ["other"]
