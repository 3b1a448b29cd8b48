"""`mountd sync`: what it says of each mount, to people and to programs."""

import json
import os

import pytest

from mountd.errors import EXIT_PENDING, EXIT_USAGE
from tests.kits import Bucket
from tests.proxy import answered, any_request, proxied, s3_error


@pytest.fixture
def bucket(s3_server):
    """An empty bucket with an independent client."""
    return Bucket(s3_server)


def entry(mount, store, path, **fields):
    """Return what is said of a mount where everything is stored, or of what is otherwise."""
    found = {"store": mount.name, "root": store.root, "mount_point": str(mount.path), "path": str(path)}
    return found | {"stored": True, "error": None} | fields


def test_each_mount_has_an_entry(host, bucket, s3_server):
    """Of all mounts, or of the one that holds a path; it is in the store by then."""
    other = Bucket(s3_server)
    mounts = {name: host.mount(each, "--write-back", name=name) for name, each in (("lab", bucket), ("prod", other))}
    (mounts["lab"] / "d").mkdir()
    (mounts["lab"] / "d" / "a").write_bytes(b"1")
    below = mounts["lab"] / "d"
    assert json.loads(host.run("sync", below, "--json").stdout) == [entry(mounts["lab"], bucket, below)]
    assert bucket.get("d/a") == b"1"
    (mounts["prod"] / "b").write_bytes(b"2")
    found = json.loads(host.run("sync", "--json").stdout)
    wanted = [entry(mounts["lab"], bucket, mounts["lab"].path), entry(mounts["prod"], other, mounts["prod"].path)]
    assert sorted(found, key=lambda each: each["store"]) == wanted
    assert other.get("b") == b"2"
    assert host.run("sync").stdout == ""


def test_a_mount_that_fails_is_told_and_the_others_are_stored(host, bucket, s3_server):
    """Whatever the order; the exit code is 7, with --json and without, where it is one line on standard error."""
    with proxied(s3_server.endpoint) as proxy:
        broken = Bucket(s3_server)
        broken.options = broken.options | {"endpoint_url": proxy.endpoint}
        host.configure(retry_budget="0.5s", freshness="inf")
        good = host.mount(bucket, "--write-back", name="good")
        bad = host.mount(broken, "--write-back", name="bad")
        os.listdir(bad.path)  # names that are not known need the store
        proxy.on(any_request, answered(s3_error(503, "SlowDown")))
        (bad / "a").write_bytes(b"1")
        (good / "b").write_bytes(b"2")
        done = host.run("sync", "--json", "--timeout=20", check=False)
        assert (done.returncode, done.stderr) == (EXIT_PENDING, "")
        found = {each["store"]: each for each in json.loads(done.stdout)}
        assert found["good"] == entry(good, bucket, good.path)
        assert (found["bad"]["stored"], found["bad"]["path"]) == (False, str(bad.path))
        assert f"{bad.path} stays mounted" in found["bad"]["error"]
        assert bucket.get("b") == b"2"
        plain = host.run("sync", "--timeout=20", check=False)
        assert (plain.returncode, plain.stdout, plain.stderr.count("\n")) == (EXIT_PENDING, "", 1)
        proxy.clear()
        host.run("sync")
        assert broken.get("a") == b"1"
        host.close()


def test_nothing_mounted_and_a_path_elsewhere(host):
    """An empty list is the truth of the first; the second is a mistake, and no JSON."""
    assert json.loads(host.run("sync", "--json").stdout) == []
    done = host.run("sync", "/etc", "--json", check=False)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert "not under a mount" in done.stderr
