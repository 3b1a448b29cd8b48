"""Records of running mounts: what is said of them is true at the moment it is asked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mountd.daemon import client
from mountd.daemon.records import MountRecord, active_mounts, dead_mounts, published

DAEMON = """
import sys
from mountd.daemon.records import MountRecord, published
with published(MountRecord.from_json(sys.argv[1])):
    print("published", flush=True)
    sys.stdin.read()
"""

# Holds its lock for so long, and hears nobody, as one does that was killed and of which a thread lives still.
ENDING = """
import dataclasses, os, socket, sys, time
from mountd.daemon.records import MountRecord, published
record = dataclasses.replace(MountRecord.from_json(sys.argv[1]), pid=os.getpid())
with published(record), socket.socket(socket.AF_UNIX) as listener:
    listener.bind(str(record.socket))
    listener.listen()
    print(record.to_json(), flush=True)
    time.sleep(float(sys.argv[2]))
    os._exit(0)
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


@pytest.mark.parametrize(("lives", "goes_on"), [(0.5, False), (60, True)])
def test_a_daemon_that_holds_its_lock_and_hears_nobody_ends_or_hangs(runtime, monkeypatch, lives, goes_on):
    """It is given the time to end; of one that does not, the store stays."""
    monkeypatch.setattr(client, "ENDING", 5.0 if lives < 5 else 0.2)
    template = record(runtime, "/mnt/left").to_json()
    with subprocess.Popen(
        [sys.executable, "-c", ENDING, template, str(lives)], stdout=subprocess.PIPE, text=True
    ) as daemon:
        left = MountRecord.from_json(daemon.stdout.readline())
        assert active_mounts() == [left]
        assert client.goes_on(left) == goes_on
        assert (active_mounts() == [left]) == goes_on
        daemon.kill()
