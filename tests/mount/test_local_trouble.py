"""Trouble on this machine: a full disk, a damaged journal, a folder that is deleted, clocks that jump."""

import errno
import os
import subprocess
import time

import pytest

from tests.mount.damage import drop

MiB = 1024 * 1024
DISK = 24 * MiB


def until(true):
    """Wait for something that is to come."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


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

        [write-no-space] [errno-space]
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
