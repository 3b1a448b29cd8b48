"""The daemon's life: mounting and why not, status, unmounting, signals, and what a killed one leaves behind."""

import errno
import json
import mmap
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from mountd.data.fetch import WHOLE
from mountd.errors import EXIT_BUSY
from tests.harness import Mount, frozen, mounts_below


def test_mount_returns_when_the_mount_can_be_used(host):
    """Without any set-up the default store is mounted, and the output says where and what to try."""
    done = host.run("mount")
    point = host.folder / "home" / "mountd" / "default"
    assert str(point) in done.stdout
    assert point.is_mount()
    (point / "hello.txt").write_text("hello")
    assert (host.folder / "data" / "mountd" / "default" / "hello.txt").read_text() == "hello"


def test_a_second_mount_of_a_store_is_refused(mount):
    """With exit code 6 and the place where it is mounted; `--if-needed` takes it as done."""
    again = mount.host.run("mount", mount.name, mount.host.folder / "elsewhere", check=False)
    assert again.returncode == 6
    assert str(mount.path) in again.stderr
    assert str(mount.path) in mount.host.run("mount", mount.name, "--if-needed").stdout


@pytest.mark.parametrize(
    ("option", "value", "code", "words"),
    [
        ("path", "s3://no-such-bucket-here", 4, "no bucket 'no-such-bucket-here'"),
        ("key", "nobody", 4, "does not accept the credentials"),
        ("secret", "env:WRONG_SECRET", 4, "does not accept the credentials"),
        ("secret", "env:UNSET_SECRET", 3, "UNSET_SECRET, which is not set"),
        ("endpoint_url", "http://127.0.0.1:9", 4, "127.0.0.1:9"),
    ],
)
def test_a_store_that_cannot_be_used_is_not_mounted(host, s3_store, option, value, code, words):
    """One line that says what is wrong, an exit code, and nothing is mounted or left running."""
    host.environment |= s3_store.environment | {"WRONG_SECRET": "wrong"}
    options = s3_store.options | ({option: value} if option != "path" else {})
    pairs = [part for key, text in options.items() for part in ("--option", f"{key}={text}")]
    root = value if option == "path" else s3_store.root
    host.run("store", "register", "bad", "--path", root, *pairs)
    with (host.folder / "config" / "mountd" / "config.toml").open("a") as settings:
        settings.write('\n[mount]\nretry_budget = "1s"\n')
    done = host.run("mount", "bad", host.folder / "mnt", check=False)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "wrong" not in done.stderr.replace(words, "")
    assert mounts_below(host.folder) == []
    assert host.daemons() == []


def test_a_mount_point_that_holds_something_is_refused(host, local_store):
    """Files below a mount would be out of sight; nothing is mounted over them."""
    point = host.folder / "full"
    point.mkdir()
    (point / "precious").write_text("1")
    done = host.run("mount", local_store.root, point, check=False)
    assert (done.returncode, "not empty" in done.stderr) == (6, True)
    (point / "file").write_text("1")
    done = host.run("mount", local_store.root, point / "file", check=False)
    assert (done.returncode, "not a folder" in done.stderr) == (6, True)


def test_a_store_is_not_mounted_inside_itself(host, local_store):
    """Neither a mount point in the store's folder nor the other way round."""
    done = host.run("mount", local_store.root, local_store.folder / "mnt", check=False)
    assert (done.returncode, "in one another" in done.stderr) == (6, True)
    assert not (local_store.folder / "mnt").exists()


def test_another_daemon_on_the_same_store_is_refused(mount):
    """The store's local data is locked, also when the record of the mount is lost. [one-daemon]"""
    for record in (mount.host.folder / "run" / "mountd").glob("*.json"):
        kept = record.rename(record.with_suffix(".lost"))
    done = mount.host.run("mount", mount.name, mount.host.folder / "second", check=False)
    assert done.returncode == 6
    assert f"process {mount.pid}" in done.stderr
    kept.rename(kept.with_suffix(".json"))


def test_without_fuse_the_reason_is_told(host, local_store):
    """In a container without the device: exit code 5 and how to start it instead."""
    script = (
        "import sys, mountd.daemon.mountpoint as m, pathlib\n"
        "m.DEVICE = pathlib.Path('/dev/no-fuse')\n"
        "from mountd.cli import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    command = [*host.command()[:1], "-c", script, "mount", local_store.root, host.folder / "mnt", "--foreground"]
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5
    assert "/dev/fuse" in done.stderr


def test_status_tells_the_state_of_a_mount(mount, store):
    """As JSON for programs and as a table for people."""
    (mount / "a").write_bytes(b"x" * 1000)
    state = mount.status()
    assert state["root"] == store.root
    assert state["mount_point"] == str(mount.path)
    assert state["pid"] == mount.pid
    assert state["uptime"] > 0
    assert state["cache"]["bytes"] == (0 if store.kind == "local" else 1000)  # a folder needs no copies
    assert state["pending"] == []
    assert state["errors"] == []
    assert store.root in mount.host.run("status").stdout
    assert "secret" not in json.dumps(state)


def test_nothing_that_was_started_has_a_secret_in_its_arguments(host, s3_store):
    """Not in the process list, the log, the settings or the status."""
    mount = host.mount(s3_store)
    secret = s3_store.server.secret
    assert secret.encode() not in Path(f"/proc/{mount.pid}/cmdline").read_bytes()
    assert secret not in host.logs()
    assert secret not in host.run("store", "describe", "store", "--json").stdout
    assert secret not in host.run("status", "--json").stdout
    assert secret not in (host.folder / "config" / "mountd" / "config.toml").read_text()


def test_files_that_mountd_keeps_are_its_owners_alone(mount):
    """Data, settings, log and socket cannot be read by others."""
    for path in (mount.host.folder / "state" / "mountd").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    sockets = list((mount.host.folder / "run" / "mountd").glob("*.socket"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in sockets] == [0o600]


def test_unmount_refuses_while_the_mount_is_in_use(mount):
    """A program that works in it is not cut off: exit code 6, and the mount goes on."""
    with open(mount / "a", "w") as file:
        done = mount.unmount(check=False)
        assert (done.returncode, "in use" in done.stderr) == (6, True)
        file.write("still works")
    assert (mount / "a").read_text() == "still works"
    mount.unmount()
    assert not mount.path.is_mount()
    assert mount.host.status() == []


@pytest.mark.parametrize("passes", [True, False])
def test_unmount_outlasts_what_is_over_in_a_moment(mount, passes):
    """A file that nobody is seen to have open, as that of a process that is ending, is closed soon, or it is in use."""
    (mount / "a").write_text("1")
    here, there = socket.socketpair()
    with here, there:
        with open(mount / "a") as file:
            socket.send_fds(here, [b"."], [file.fileno()])
        closing = threading.Timer(0.3, there.close)  # until then only the socket has it
        if passes:
            closing.start()
        done = mount.unmount(check=False)
        assert (done.returncode, "in use" in done.stderr) == ((0, False) if passes else (6, True))
        assert mount.path.is_mount() == (not passes)
        closing.cancel()
    if not passes:
        mount.unmount()


def test_unmount_can_be_told_the_mount_point(mount):
    """Or the store's URI, or nothing when it is the active one."""
    assert mount.host.run("unmount", mount.path).returncode == 0
    mount.host.run("mount", mount.name, mount.path)
    root = json.loads(mount.host.run("store", "describe", mount.name, "--json").stdout)["path"]
    assert mount.host.run("unmount", root).returncode == 0
    assert not mount.path.is_mount()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_foreground_daemon_unmounts_at_a_signal(host, store, number):
    """It serves until then, and exits with 0 and without a mount."""
    host.mount(store).unmount()
    point = host.folder / "mnt" / "store"
    process = host.start("mount", "store", point, "--foreground")
    assert "Mounted" in process.stdout.readline()
    (point / "a").write_text("1")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert not point.is_mount()
    assert store.get("a") == b"1"


def test_a_mount_can_be_taken_down_from_outside(mount, store):
    """`umount` works as for any file system; the daemon ends by itself."""
    (mount / "a").write_text("1")
    subprocess.run(["umount", mount.path], check=True)
    end = time.monotonic() + 20
    while mount.host.daemons() and time.monotonic() < end:
        time.sleep(0.05)
    assert mount.host.daemons() == []
    assert store.get("a") == b"1"


def test_a_mount_that_somebody_else_takes_down_meanwhile_is_unmounted(mount, store):
    """`mountd unmount` is about the end, whoever brings it; while a file is open that is yet to come."""
    with (mount / "a").open("w") as file:
        file.write("1")
        subprocess.run(["umount", "-l", mount.path], check=True)
        unmounting = mount.host.start("unmount", "--all")
        with pytest.raises(subprocess.TimeoutExpired):
            unmounting.wait(2)
    assert unmounting.wait(20) == 0
    assert store.get("a") == b"1"


@pytest.mark.parametrize("way", ["mount", "unmount", "unmount by path"])
def test_what_a_killed_daemon_leaves_is_cleaned_up(mount, store, way):
    """After `kill -9` ("Transport endpoint is not connected") the next command puts things right; nothing is lost."""
    (mount / "a").write_text("acknowledged")
    mount.kill()
    with pytest.raises(OSError) as dead:
        os.stat(mount.path)
    assert dead.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    assert str(mount.path) in mount.host.run("status").stdout
    if way == "mount":
        mount.host.run("mount", mount.name, mount.path)
        assert (mount / "a").read_text() == "acknowledged"
    else:
        mount.host.run("unmount", mount.path if way == "unmount by path" else mount.name)
        assert not mount.path.is_mount()
    assert store.get("a") == b"acknowledged"


def test_a_killed_foreground_daemon_leaves_nothing_that_blocks(host, local_store):
    """The lock goes with the process."""
    process = host.start("mount", local_store.root, host.folder / "mnt", "--foreground")
    process.stdout.readline()
    process.kill()
    process.wait()
    host.run("mount", local_store.root, host.folder / "mnt")
    host.run("unmount", host.folder / "mnt")


def test_a_store_is_mounted_again_right_after_its_daemon_was_killed(host, local_store):
    """The lock is held until the last thread of that has ended; a daemon that hangs has the store still."""
    mount = host.mount(local_store)
    for _ in range(5):
        os.kill(mount.pid, signal.SIGKILL)
        mount.revive()
    assert os.listdir(mount.path) == []
    with frozen(mount.pid):
        done = host.run("mount", "store", host.folder / "elsewhere", check=False)
        assert done.returncode == EXIT_BUSY
        assert f"is mounted at {mount.path} already" in done.stderr


def test_sync_waits_for_the_store(mount, store):
    """`mountd sync` returns when what was written, though not closed, is in the store. [sync-not-closed]"""
    os.mkdir(mount / "d")
    with open(mount / "d" / "a", "wb", buffering=0) as file, open(mount / "b", "wb", buffering=0) as other:
        for path, size in ((mount / "d" / "a", 7), (mount / "d", 10 * 2**20), (None, 30 * 2**20)):
            file.write(b"x" * size)
            other.write(b"x" * size)
            mount.host.run("sync", *filter(None, [path]))
            assert store.get("d/a") == b"x" * file.tell()
        assert store.get("b") == b"x" * other.tell()


def test_sync_stores_what_is_mapped(mount, store):
    """What was written through a shared mapping that is still there. [sync-not-closed]"""
    (mount / "a").write_bytes(bytes(2**20))
    with open(mount / "a", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        file.close()
        mapped[5000:5005] = b"hello"
        mount.host.run("sync", mount / "a")
        assert store.get("a")[5000:5005] == b"hello"
    assert mount.host.run("sync", "/usr", check=False).returncode == 2


class TestOutage:
    """The server is stopped (SIGSTOP): calls fail in time, nothing hangs, nothing that was acknowledged is lost."""

    @pytest.fixture
    def mount(self, host, s3_store) -> Mount:
        (host.folder / "config" / "mountd").mkdir(parents=True)
        (host.folder / "config" / "mountd" / "config.toml").write_text(
            '[mount]\nrequest_deadline = "1s"\nretry_budget = "2s"\n'
        )
        (host.folder / "config" / "mountd" / "config.toml").chmod(0o600)
        return host.mount(s3_store)

    def test_close_reports_what_could_not_be_stored(self, mount, s3_store):
        """`close()` fails with EIO; when the server is back, the bytes are stored without anybody's help.

        [errno-unreachable]
        """
        file = open(mount / "a", "wb", buffering=0)
        file.write(b"bytes")
        with frozen(s3_store.server.process.pid):
            with pytest.raises(OSError) as failed:
                file.close()
            assert failed.value.errno == errno.EIO
            state = mount.status()
            assert [each["path"] for each in state["pending"]] == ["a"]
            assert any("a" in each["message"] for each in state["errors"])
            done = mount.unmount("--timeout", "2", check=False)
            assert done.returncode == 7
            assert "not in the store yet" in done.stderr
            assert "first of all a" in done.stderr
        mount.host.run("sync", "--timeout", "60")
        assert s3_store.get("a") == b"bytes"
        assert mount.status()["pending"] == []

    def test_reads_of_what_is_here_go_on(self, mount, s3_store):
        """A handle that is open reads cached bytes; absent ones fail with EIO in time.

        The absent file is a large one: of a small one, opening it may bring all bytes.
        """
        s3_store.put("here", b"x" * 1000)
        s3_store.put("there", b"y" * (WHOLE + 1000))
        assert (mount / "here").read_bytes() == b"x" * 1000
        with open(mount / "here", "rb", buffering=0) as here, open(mount / "there", "rb", buffering=0) as there:
            with frozen(s3_store.server.process.pid):
                assert here.read() == b"x" * 1000
                with pytest.raises(OSError) as failed:
                    there.read()
                assert failed.value.errno == errno.EIO
            assert there.read() == b"y" * (WHOLE + 1000)
