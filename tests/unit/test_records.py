"""Records of running mounts: what is said of them is true at the moment it is asked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mountd.daemon.records import MountRecord, active_mounts, dead_mounts, published

DAEMON = """
import sys
from mountd.daemon.records import MountRecord, published
with published(MountRecord.from_json(sys.argv[1])):
    print("published", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def runtime(monkeypatch, tmp_path):
    """The folder that the records are in."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "mountd"


def record(folder, point, name="prod"):
    return MountRecord(name, "s3://bucket", Path(point), os.getpid(), folder / f"{name}.socket")


def test_what_changes_is_seen_at_once(runtime):
    """Also what changes faster than a file system's clock ticks: no answer is one of a moment before."""
    assert active_mounts() == []
    for turn in range(200):
        first = record(runtime, f"/mnt/{turn % 2}")
        with published(first):
            assert active_mounts() == [first]
            second = record(runtime, f"/mnt/{turn % 2}/runs", "runs")
            with published(second):
                assert active_mounts() == [first, second]
            assert active_mounts() == [first]
        assert active_mounts() == []


def test_a_record_whose_daemon_was_killed_is_a_dead_one_at_once(runtime):
    """It is still there, and nothing of it has changed."""
    left = record(runtime, "/mnt/left")
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, left.to_json()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout.readline() == "published\n"
        for _ in range(3):
            assert (active_mounts(), dead_mounts()) == ([left], [])
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        assert (active_mounts(), dead_mounts()) == ([], [left])


def test_a_record_that_was_replaced_or_damaged_is_read_again(runtime):
    """Under the same name, and as long as before."""
    with published(record(runtime, "/mnt/a")):
        assert [each.mount_point for each in active_mounts()] == [Path("/mnt/a")]
        with published(record(runtime, "/mnt/b")):
            assert [each.mount_point for each in active_mounts()] == [Path("/mnt/b")]
            file = runtime / "prod.json"
            file.write_text(file.read_text().replace("/mnt/b", "/mnt/c"))
            assert [each.mount_point for each in active_mounts()] == [Path("/mnt/c")]
            file.write_text("{")
            assert active_mounts() == []
