"""Trouble on this machine: a full disk, a damaged journal, a folder that is deleted, clocks that jump."""

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.harness import until
from tests.mount.damage import drop, reach_the_daemon

MiB = 1024 * 1024
DISK = 24 * MiB


class TestFullDisk:
    """The state folder lies on a disk of 24 MiB."""

    @pytest.fixture
    def disk(self, folder):
        """The small disk."""
        if os.geteuid() != 0:
            pytest.skip("mounting a small disk takes root")
        path = folder / "disk"
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", path], check=True)
        yield path
        subprocess.run(["umount", "-l", path], check=True)

    @pytest.fixture
    def host(self, disk, make_host):
        host = make_host()
        (host.folder / "state").symlink_to(disk)
        return host

    @pytest.fixture
    def mount(self, host, s3_store):
        return host.mount(s3_store)

    def fill(self, disk):
        """Take what room is left, and return what to delete to give it back."""
        path = disk / "filler"
        with open(path, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(65536))
        return path

    def test_a_writer_is_told_and_nothing_else_is_broken(self, mount, s3_store):
        """ENOSPC for what does not fit, and the stored object stays; smaller files are stored as before.

        [write-no-space] [errno-space] [full-disk]
        """
        s3_store.put("a", b"before")
        with pytest.raises(OSError) as failed, open(mount / "a", "wb", buffering=0) as file:
            for _ in range(60):
                file.write(os.urandom(MiB))
        assert failed.value.errno == errno.ENOSPC
        until(lambda: any("a: given up" in each["message"] for each in mount.status()["errors"]))
        assert mount.status()["pending"] == []
        assert s3_store.get("a") == b"before"
        data = os.urandom(5 * MiB)
        (mount / "b").write_bytes(data)
        assert s3_store.get("b") == data
        assert s3_store.get("a") == b"before"
        assert (mount / "a").read_bytes() == b"before"
        (mount / "a").write_bytes(b"after")
        assert s3_store.get("a") == b"after"

    def test_what_was_given_up_is_not_read_from_the_kernel_either(self, host, s3_store):
        """Though it has the pages, and the name, for as long as `--freshness` lets it."""
        mount = host.mount(s3_store, "--freshness", "600")
        s3_store.put("a", b"before")
        with pytest.raises(OSError), open(mount / "a", "wb", buffering=0) as file:
            for _ in range(60):
                file.write(os.urandom(MiB))
        until(lambda: any("a: given up" in each["message"] for each in mount.status()["errors"]))
        with open(mount / "a", "rb") as file:
            assert file.read(6) == b"before"
            assert os.fstat(file.fileno()).st_size == 6

    def test_reads_go_on_without_room(self, mount, s3_store, disk):
        """What does not fit on the disk goes from the store to the reader."""
        large = os.urandom(2 * DISK)
        s3_store.put("large", large)
        self.fill(disk)
        assert (mount / "large").read_bytes() == large
        drop(mount / "large")
        with open(mount / "large", "rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, DISK + 5) == large[DISK + 5 :][:4096]

    def test_work_goes_on_when_there_is_room_again(self, mount, s3_store, disk):
        """Without a remount, names and attributes included; what was acknowledged before is there."""
        (mount / "early").write_bytes(b"1" * MiB)
        filler = self.fill(disk)
        for act in (
            lambda: (mount / "new").write_bytes(os.urandom(MiB)),
            lambda: (mount / "early").rename(mount / "renamed"),
            lambda: (mount / "early").chmod(0o600),
            lambda: (mount / "directory").mkdir(),
        ):
            try:
                act()
            except OSError as exc:
                assert exc.errno == errno.ENOSPC
        assert mount.host.status()
        filler.unlink()
        (mount / "late").write_bytes(b"2" * MiB)
        (mount / "late").rename(mount / "later")
        (mount / "later").chmod(0o600)
        mount.remount()
        assert s3_store.get("later") == (mount / "later").read_bytes() == b"2" * MiB
        assert (mount / "later").stat().st_mode & 0o777 == 0o600
        early = mount / "early" if (mount / "early").exists() else mount / "renamed"
        assert early.read_bytes() == b"1" * MiB
        assert "Traceback" not in mount.host.logs()

    def test_unmounting_needs_no_room(self, mount, s3_store, disk):
        """Nothing is lost but what the cache would have remembered."""
        (mount / "a").write_bytes(b"1" * MiB)
        (mount / "a").chmod(0o600)
        self.fill(disk)
        with contextlib.suppress(OSError):
            (mount / "a").chmod(0o640)
        (mount / "a").read_bytes()
        mount.unmount()
        assert s3_store.get("a") == b"1" * MiB
        (disk / "filler").unlink()
        mount.host.run("mount", mount.name, mount.path)
        assert (mount / "a").read_bytes() == b"1" * MiB
        assert "Traceback" not in mount.host.logs()


def garbage(journal):
    journal.write_bytes(os.urandom(8192))


def cut_in_the_middle(journal):
    os.truncate(journal, journal.stat().st_size // 2 // 4096 * 4096)


def scratched(journal):
    """Overwrite every page but the first."""
    with open(journal, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(journal.stat().st_size - 4096))


def gone_without_its_log(journal):
    journal.unlink()
    (journal.parent / "journal.db-wal").write_bytes(b"changes" * 1000)


def of_another_version(journal):
    with contextlib.closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("damage", [garbage, cut_in_the_middle, scratched, gone_without_its_log, of_another_version])
def test_a_journal_that_cannot_be_read_is_told_and_left_alone(host, s3_store, damage):
    """It may hold changes that the store does not have: one line names it and says what to do. [journal-damaged]"""
    mount = host.mount(s3_store)
    s3_store.put("a", b"x" * MiB)
    assert (mount / "a").read_bytes() == b"x" * MiB
    mount.unmount()
    (journal,) = (host.folder / "state" / "mountd").glob("*/journal.db")
    damage(journal)
    before = {path.name: path.read_bytes() for path in journal.parent.glob("journal.db*")}
    done = host.run("mount", mount.name, mount.path, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(journal) in line
    assert "move" in line
    assert {path.name: path.read_bytes() for path in journal.parent.glob("journal.db*")} == before
    assert "journal" in host.run("cache", "info", mount.name, check=False).stderr
    for path in journal.parent.glob("journal.db*"):
        path.rename(path.with_name(f"{path.name}.damaged"))
    host.run("mount", mount.name, mount.path)
    assert (mount / "a").read_bytes() == b"x" * MiB


def test_a_state_folder_that_is_deleted_underneath_ends_nothing(host, s3_store):
    """Calls go on or fail, none of them hangs, and what was acknowledged is in the store."""
    mount = host.mount(s3_store)
    s3_store.put("other", b"2" * MiB)
    (mount / "early").write_bytes(b"1" * MiB)
    assert (mount / "other").read_bytes() == b"2" * MiB
    with open(mount / "open", "wb", buffering=0) as file:
        file.write(b"3" * MiB)
        shutil.rmtree(host.folder / "state" / "mountd")
        file.write(b"4" * MiB)
    drop(mount / "other")
    assert (mount / "early").read_bytes() == b"1" * MiB
    assert (mount / "other").read_bytes() == b"2" * MiB
    (mount / "new").write_bytes(b"5" * MiB)
    for act in (
        lambda: (mount / "new").rename(mount / "renamed"),
        lambda: (mount / "early").chmod(0o600),
        lambda: (mount / "directory").mkdir(),
    ):
        with contextlib.suppress(OSError):
            act()
    (mount / "late").write_bytes(b"6" * MiB)
    assert s3_store.get("open") == b"3" * MiB + b"4" * MiB
    assert s3_store.get("late") == b"6" * MiB
    assert (mount / "renamed" if (mount / "renamed").exists() else mount / "new").read_bytes() == b"5" * MiB
    host.status()
    mount.unmount()
    assert host.daemons() == []
    host.run("mount", mount.name, mount.path)
    assert (mount / "open").read_bytes() == b"3" * MiB + b"4" * MiB


def test_files_that_a_crash_has_left_are_removed_however_old_they_are(host, s3_store):
    """And none of those that the new mount makes meanwhile, nor those that it knows. [leftovers-swept]"""
    mount = host.mount(s3_store)
    (mount / "a").write_bytes(b"a" * MiB)
    with open(mount / "lost", "wb", buffering=0) as file:
        file.write(b"b" * (MiB + 1))
        left = reach_the_daemon(file, mount, MiB + 1)
        mount.kill()
        with contextlib.suppress(OSError):
            file.close()
    future = left.with_name("f" * 32)
    future.write_bytes(b"x" * 1000)
    os.utime(future, (4e9, 4e9))
    host.run("mount", mount.name, mount.path)
    (mount / "new").write_bytes(b"c" * MiB)
    until(lambda: not left.exists() and not future.exists())
    mount.remount()
    with mount.counting() as requests:
        assert (mount / "new").read_bytes() == b"c" * MiB
    assert "read_range" not in requests


def test_a_clock_that_jumps_changes_nothing(host, local_store):
    """Uptime is counted by a clock that nobody sets, and so is how long what is known counts as fresh."""
    script = (
        "import sys, time\n"
        "from mountd.cli import run\n"
        "real, begun = time.time, time.time()\n"
        "time.time = lambda: real() - (1e8 if real() > begun + 1 else 0)\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    point = host.folder / "mnt"
    command = [sys.executable, "-c", script, "mount", local_store.root, point, "--foreground"]
    process = subprocess.Popen(command, env=host.environment, stdout=subprocess.PIPE, text=True)
    host.foreground.append(process)
    assert "Mounted" in process.stdout.readline()
    (point / "a").write_bytes(b"1")
    time.sleep(1.5)
    local_store.put("b", b"2")
    time.sleep(1.1)
    assert sorted(os.listdir(point)) == ["a", "b"]
    (point / "a").write_bytes(b"11")
    (state,) = host.status()
    assert 2 < state["uptime"] < 100
    host.run("unmount", point)
    assert process.wait(20) == 0
