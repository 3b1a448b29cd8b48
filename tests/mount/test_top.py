"""`mountd top` and the metrics: what programs do shows, by kind, by process, and to Prometheus."""

import json
import os
import pty
import select
import sys
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def mount(host, s3_store):
    """A mounted bucket with a file of 1 MiB."""
    s3_store.put("data", os.urandom(1 << 20))
    return host.mount(s3_store, name="prod")


@pytest.fixture
def busy(mount):
    """Somebody reads and writes all the time."""
    ended = threading.Event()

    def work():
        number = 0
        while not ended.wait(0.02):
            number += 1
            (mount / f"new{number % 5}").write_bytes(b"x" * 1000)
            os.listdir(mount.path)
            if number % 10 == 1:
                assert len((mount / "data").read_bytes()) == 1 << 20

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_what_happens_shows(mount, busy):
    """As numbers for machines, and as lines in a pipe."""
    found = json.loads(mount.host.run("top", "--json").stdout)
    operations = {each["name"]: each for each in found["operations"]}
    requests = {each["name"]: each for each in found["requests"]}
    assert operations["write"]["rate"] > 1
    assert 0 < operations["write"]["median"] <= operations["write"]["slow"]
    assert requests["put"]["rate"] > 1
    assert found["written"] > 1000
    ours = next(each for each in found["processes"] if each["pid"] == os.getpid())
    assert ours["written"] > 1000
    printed = mount.host.run("top", "prod").stdout
    assert "put" in printed
    assert str(os.getpid()) in printed
    assert "\x1b" not in printed


def test_hits_are_told_from_misses(mount):
    """The first read waits for the store, the next one does not."""
    before = metrics(mount.host)
    (mount / "data").read_bytes()
    first = metrics(mount.host)
    os.posix_fadvise(fd := os.open(mount / "data", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    assert len(os.pread(fd, 1 << 20, 0)) == 1 << 20
    os.close(fd)
    second = metrics(mount.host)
    hit, miss = "mountd_cache_hit_bytes_total", "mountd_cache_miss_bytes_total"
    assert first[miss] - before[miss] > 0
    assert first[miss] + first[hit] - before[miss] - before[hit] == 1 << 20
    assert second[miss] == first[miss]
    assert second[hit] - first[hit] == 1 << 20


def metrics(host):
    """Return what Prometheus' parser reads of `mountd status --prometheus`, by name, the largest of each."""
    found = {}
    for family in text_string_to_metric_families(host.run("status", "--prometheus").stdout):
        for sample in family.samples:
            found[sample.name] = max(found.get(sample.name, 0), sample.value)
    return found


def test_prometheus_gets_what_it_expects(mount, busy):
    """Types, help, base units, cumulative buckets and labels."""
    time.sleep(0.5)
    families = {
        family.name: family
        for family in text_string_to_metric_families(mount.host.run("status", "--prometheus").stdout)
    }
    assert all(family.documentation for family in families.values())
    assert families["mountd_written_bytes"].type == "counter"
    assert families["mountd_cache_limit_bytes"].samples[0].value == 10 << 30
    took = families["mountd_operation_duration_seconds"]
    assert took.type == "histogram"
    writes = [each for each in took.samples if each.labels.get("operation") == "write"]
    assert {each.labels["store"] for each in writes} == {"prod"}
    buckets = [each.value for each in writes if each.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    (count,) = [each.value for each in writes if each.name.endswith("_count")]
    assert buckets[-1] == count > 0


def test_at_a_terminal_it_is_live_until_q(mount, busy):
    """On a screen of its own, which is given back."""
    pid, fd = pty.fork()
    if not pid:
        os.execvpe(sys.executable, mount.host.command("top", "-d", "0.2"), mount.host.environment | {"TERM": "xterm"})
    shown = b""
    try:
        while b"per second" not in shown or shown.count(b"read") < 3:
            assert select.select([fd], [], [], 20)[0], shown
            shown += os.read(fd, 65536)
        os.write(fd, b"q")
        while True:
            try:
                piece = os.read(fd, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
    finally:
        os.close(fd)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"\x1b[?1049h" in shown
    assert b"\x1b[?1049l" in shown


def test_which_mount_is_asked(host, mount):
    """One line, where that is not clear."""
    done = host.run("top", "other", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"prod at {mount.path}" in done.stderr


def test_of_several_mounts_that_of_the_active_store_is_meant(host, mount, tmp_path):
    """Unless that is not mounted: then they are named."""
    for name in "one", "two":
        (tmp_path / name).mkdir()
        host.run("store", "register", name, "--path", tmp_path / name)
        host.run("mount", name)
    host.run("store", "set", "two")
    assert str(tmp_path / "two") in host.run("top", "-d", "0.1").stdout
    host.run("unmount", "two")
    done = host.run("top", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"prod at {mount.path}" in done.stderr
    assert "one at" in done.stderr
    host.run("unmount", "one")
