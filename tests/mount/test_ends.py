"""How mounts end: asked to, told to, while in use, with the store away; and that nobody is left in the dark."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mountd
from mountd.errors import EXIT_PENDING, UserError
from tests.harness import mounts_below, until
from tests.kits import open_store
from tests.proxy import any_request, proxied, unheard

SETTINGS = '[mount]\nrequest_deadline = "30s"\nretry_budget = "1s"\ndrain_timeout = "3s"\n'


def configure(host, text):
    place = host.folder / "config" / "mountd" / "config.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o600)


@pytest.fixture
def outage(s3_server, s3_store):
    """Return what cuts the store off until it is called with False: no request reaches the server."""
    with proxied(s3_server.endpoint) as proxy:
        s3_store.options = s3_store.options | {"endpoint_url": proxy.endpoint}
        yield lambda away: proxy.on(any_request, unheard) if away else proxy.clear()


@pytest.fixture
def foreground(host, s3_store, outage):
    """A daemon as systemd runs it, and its mount point."""
    configure(host, SETTINGS)
    host.mount(s3_store).unmount()
    point = host.folder / "mnt" / "store"
    process = host.start("mount", "store", point, "--foreground")
    assert "Mounted" in process.stdout.readline()
    return process, point


@pytest.fixture
def here(host, monkeypatch):
    """This process is the host's user: the Python API finds its mounts."""
    for name, value in host.environment.items():
        if name.startswith(("XDG_", "HOME")):
            monkeypatch.setenv(name, value)


class TestSignals:
    def test_a_daemon_that_is_told_to_end_stores_what_is_pending(self, foreground, s3_store):
        """At the first SIGTERM, also what is written and not closed; it says so, and ends with 0."""
        process, point = foreground
        file = os.open(point / "a", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"written")
        subprocess.run(["true"], check=True, close_fds=True)  # whose copy of the descriptor is closed: a flush
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "everything that was written is in the store" in errors
        assert s3_store.get("a") == b"written"
        assert not point.is_mount()

    def test_what_is_left_is_named(self, foreground, outage):
        """With the store away it ends after the drain timeout, and the last lines say what is not stored."""
        process, point = foreground
        write_in_vain(point / "a", outage)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        last = errors.splitlines()[-4:]
        assert any("1 files" in line and "not in the store yet" in line for line in last), errors
        assert any(re.search(r" a: not stored \(.+\); kept in the journal", line) for line in last), errors
        assert not point.is_mount()

    def test_the_second_signal_ends_it_at_once(self, host, s3_store, outage):
        """Though the drain timeout is an hour; the last lines say what is left all the same."""
        configure(host, SETTINGS.replace("3s", "1h").replace('retry_budget = "1s"', 'retry_budget = "1h"'))
        host.mount(s3_store).unmount()
        point = host.folder / "mnt" / "store"
        process = host.start("mount", "store", point, "--foreground")
        process.stdout.readline()
        script = f"f = open('{point}/a', 'wb', 0); f.write(b'x'); print('ready', flush=True); input()"
        writer = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout.readline() == "ready\n"
        outage(True)
        writer.stdin.write("go\n")
        writer.stdin.flush()  # it ends, and its file is closed
        until(lambda: [pending["path"] for pending in host.status()[0]["pending"]] == ["a"])
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, "a: not stored" in errors) == (0, True), errors
        writer.communicate()
        assert not point.is_mount()


def write_in_vain(path, outage):
    """Write a file whose close() fails because the store is away."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(file, b"written")
    outage(True)
    with pytest.raises(OSError):
        os.close(file)


class TestUnmount:
    def test_the_users_of_a_mount_are_named(self, host, local_store):
        """Process, command and path: of open files, mapped ones, and a working directory; exit code 6."""
        mount = host.mount(local_store)
        (mount / "sub").mkdir()
        (mount / "data").write_bytes(b"x" * 5000)
        with open(mount / "data", "rb"):
            done = mount.unmount(check=False)
            assert done.returncode == 6
            assert f"process {os.getpid()} (" in done.stderr
            assert f"{mount.path}/data" in done.stderr
        shell = subprocess.Popen(["sleep", "100"], cwd=mount / "sub")
        try:
            done = mount.unmount(check=False)
            assert (done.returncode, f"process {shell.pid} (sleep) with {mount.path}/sub" in done.stderr) == (6, True)
            assert len(done.stderr.splitlines()) == 1
        finally:
            shell.kill()
            shell.wait()
        mount.unmount()

    def test_time_is_given_and_what_is_left_is_named(self, host, s3_store, outage):
        """Exit code 7, the mount goes on, and later it goes through."""
        configure(host, SETTINGS)
        mount = host.mount(s3_store)
        write_in_vain(mount / "a", outage)
        done = mount.unmount("--timeout", "0.5", check=False)
        assert done.returncode == 7, done.stderr
        assert (" a" in done.stderr, "stays mounted" in done.stderr) == (True, True)
        outage(False)
        mount.unmount()
        assert s3_store.get("a") == b"written"

    def test_one_mount_that_is_in_use_keeps_no_other(self, host, folder, local_store, request):
        """`--all` unmounts what it can, and tells of the rest."""
        (folder / "second").mkdir()
        with open_store("local", folder / "second", request.getfixturevalue) as other:
            first, second = host.mount(local_store, name="first"), host.mount(other, name="second")
            with open(first / "a", "w"):
                done = host.run("unmount", "--all", check=False)
                assert (done.returncode, str(first.path) in done.stderr) == (6, True)
                assert first.path.is_mount()
                assert not second.path.is_mount()
            host.run("unmount", "--all")
            assert not first.path.is_mount()


class TestSystemd:
    """What systemd does at `stop` and at shutdown: ExecStop, then SIGTERM, then SIGKILL."""

    def test_stop_stores_everything(self, host, foreground, s3_store):
        """ExecStop alone ends the daemon."""
        process, point = foreground
        (point / "a").write_text("1")
        assert host.run("unmount", "store", "--timeout", "300").returncode == 0
        assert process.wait(timeout=30) == 0
        assert s3_store.get("a") == b"1"

    def test_stop_with_the_store_away_and_a_file_open(self, host, foreground, outage):
        """ExecStop gives up with 7, SIGTERM ends the daemon within the drain timeout, nothing is left mounted."""
        process, point = foreground
        still = os.open(point / "b", os.O_CREAT | os.O_WRONLY)
        write_in_vain(point / "a", outage)
        assert host.run("unmount", "store", "--timeout", "1", check=False).returncode == 7
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert mounts_below(host.folder) == []
        for call in (lambda: os.write(still, b"x"), lambda: os.close(still)):
            with pytest.raises(OSError):
                call()

    def test_after_sigkill_the_next_mount_works(self, host, foreground, s3_store):
        """`Transport endpoint is not connected` is told of by `status`, and cleaned up by `mount`."""
        process, point = foreground
        (point / "a").write_text("1")
        process.kill()
        process.wait()
        assert f"{point}: its daemon is dead" in host.run("status").stdout
        host.run("mount", "store", point)
        assert (point / "a").read_text() == "1"


class TestSync:
    def test_everything_below_a_path_is_stored(self, host, here, s3_store):
        """`mountd.sync()` returns when what others have written, though not closed, is in the store."""
        mount = host.mount(s3_store)
        (mount / "run").mkdir()
        with open(mount / "run" / "a", "w") as one, open(mount / ".hidden", "w") as two:
            for file in (one, two):
                file.write("written")
                file.flush()
            mountd.sync(mount / "run")
            assert s3_store.get("run/a") == b"written"
            mountd.sync(mount / ".hidden")
            assert s3_store.get(".hidden") == b"written"
            mountd.sync()
        with pytest.raises(UserError, match="not under a mount"):
            mountd.sync("/usr")

    def test_the_reason_is_raised(self, host, here, s3_store, outage):
        """When the store is away, or time runs out; the file is named, and later it is stored by itself."""
        configure(host, SETTINGS)
        mount = host.mount(s3_store)
        write_in_vain(mount / "a", outage)
        with pytest.raises(UserError, match="not everything could be stored") as failed:
            mountd.sync(mount.path)
        assert failed.value.exit_code == EXIT_PENDING
        with pytest.raises(UserError, match=r"after 0.1 s 1 files .* first of all a"):
            mountd.sync(mount / "a", timeout=0.1)
        outage(False)
        mountd.sync(mount / "a", timeout=60)
        assert s3_store.get("a") == b"written"

    def test_fsync_of_a_directory_is_a_barrier(self, host, s3_store, outage):
        """For what another process holds open below; it fails where something fails, and status names the file."""
        configure(host, SETTINGS)
        mount = host.mount(s3_store)
        (mount / "run" / "deep").mkdir(parents=True)
        script = "exec 3>a 4>deep/b; echo one >&3; echo two >&4; sync -d a deep/b 2>/dev/null; echo ok; read x"
        holder = subprocess.Popen(
            ["sh", "-c", script], cwd=mount / "run", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert holder.stdout.readline() == "ok\n"
            fsync(mount / "run")
            assert (s3_store.get("run/a"), s3_store.get("run/deep/b")) == (b"one\n", b"two\n")
            outage(True)
            with open(mount / "run" / "c", "wb", buffering=0) as file:
                file.write(b"three")
                with pytest.raises(OSError):
                    os.fsync(file.fileno())
                with pytest.raises(OSError):
                    fsync(mount / "run")
                (pending,) = mount.status()["pending"]
                assert (pending["path"], bool(pending["error"])) == ("run/c", True)
                outage(False)
                fsync(mount / "run")
                assert mount.status()["pending"] == []
            assert s3_store.get("run/c") == b"three"
        finally:
            holder.communicate("\n")

    def test_an_error_stays_until_it_is_resolved(self, host, s3_store, outage):
        """By deleting the file; by a retry, see above."""
        configure(host, SETTINGS)
        mount = host.mount(s3_store)
        write_in_vain(mount / "a", outage)
        for _ in range(2):
            (pending,) = mount.status()["pending"]
            assert (pending["path"], bool(pending["error"])) == ("a", True)
        outage(False)
        (mount / "a").unlink()
        assert mount.status()["pending"] == []
        mount.unmount()
        assert s3_store.keys() == []

    def test_the_state_of_a_file_is_told(self, host, s3_store, outage):
        """`absent`, `partial`, `cached`, `dirty`, `uploading`, in the attribute `user.mountd.state`. [xattr-virtual]"""
        configure(host, SETTINGS.replace('retry_budget = "1s"', 'retry_budget = "1h"'))
        s3_store.put("large", b"x" * (40 << 20))
        mount = host.mount(s3_store)
        assert state(mount / "large") == "absent"
        with open(mount / "large", "rb", buffering=0) as file:
            file.seek(20 << 20)
            file.read(4096)
            until(lambda: state(mount / "large") == "partial")
            file.seek(0)
            while file.read(1 << 20):
                pass
        until(lambda: state(mount / "large") == "cached")
        file = os.open(mount / "large", os.O_WRONLY)
        os.write(file, b"y" * (1 << 20))
        subprocess.run(["sync", "-f", "/tmp"], check=False)
        outage(True)
        closing = subprocess.Popen(["sh", "-c", f"echo x >> {mount.path}/large"])
        until(lambda: state(mount / "large") == "uploading")
        outage(False)
        closing.wait()
        os.close(file)
        assert state(mount / "large") == "cached"

    def test_no_success_while_the_kernel_has_bytes_of_an_open_file(self, host, s3_store, outage, here):
        """Where a store that does not answer has to be asked about the name before they can be had."""
        s3_store.put("a", b"old")
        configure(host, SETTINGS)
        mount = host.mount(s3_store)
        with open(mount / "a", "r+b", buffering=0) as file:
            assert file.read() == b"old"
            file.seek(0)
            outage(True)
            time.sleep(1.1)  # until what was heard of the name does not count any more
            file.write(b"new")
            with pytest.raises(UserError, match="stored") as caught:
                mountd.sync(timeout=0.01)
            assert caught.value.exit_code == EXIT_PENDING
            outage(False)
            mountd.sync(mount / "a")
            assert s3_store.get("a") == b"new"


def state(path):
    return os.getxattr(path, "user.mountd.state").decode()


def fsync(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def test_the_list_of_a_mounts_bounds_is_in_its_status(host, local_store):
    """What settings limit, as it is now."""
    mount = host.mount(local_store)
    for i in range(10):
        (mount / f"f{i}").write_text("x")
    assert mount.status()["names"] >= 10
    assert mount.status()["open_files"] == 0
    assert Path(mount.path).is_mount()
