"""`mountd explain`: what is here, what it cost, and what the last access waited for."""

import json
import os

MiB = 1 << 20


def explain(mount, path):
    return json.loads(mount.host.run("explain", "--json", path).stdout)


def printed(mount, path):
    return mount.host.run("explain", path).stdout


def test_a_file_is_explained_from_absent_to_cached(host, s3_store):
    """As it is read: extents, requests, bytes, and what was waited for."""
    s3_store.put("d/large", os.urandom(20 * MiB))
    mount = host.mount(s3_store)
    found = explain(mount, mount / "d/large")
    assert (found["size"], found["state"], found["bytes"]["absent"]) == (20 * MiB, "absent", 20 * MiB)
    assert "nothing of it is on this machine" in printed(mount, mount / "d/large")
    with open(mount / "d/large", "rb", buffering=0) as file:
        os.pread(file.fileno(), 4096, 15 * MiB)
    found = explain(mount, mount / "d/large")
    assert found["state"] == "partial"
    assert 0 < found["bytes"]["cached"] < 8 * MiB
    assert sum(end - start for start, end, state in found["runs"] if state == "cached") == found["bytes"]["cached"]
    assert found["requests"]["read_range"] >= 1
    assert found["received"] == found["bytes"]["cached"]
    last = found["last"][-1]
    assert (last["name"], last["error"]) == ("read_range", "")
    assert last["seconds"] > 0
    said = printed(mount, mount / "d/large")
    assert "waited" in said
    assert "fetched 128 KiB" in said
    assert len((mount / "d/large").read_bytes()) == 20 * MiB
    said = printed(mount, f"{mount.status()['root']}/d/large")
    assert "all of it is on this machine" in said


def test_a_write_is_explained_until_it_is_stored(host, s3_store):
    """What is only here, and what storing it took."""
    mount = host.mount(s3_store)
    with open(mount / "new", "wb", buffering=0) as file:
        file.write(b"x" * 5000)
        os.fsync(file.fileno())
        file.write(b"y")
        found = explain(mount, mount / "new")
        assert found["opens"] == 1
    found = explain(mount, mount / "new")
    assert (found["state"], found["size"], found["sent"]) == ("cached", 5001, 10_001)
    assert found["version"] == s3_store.client.head_object(Bucket=s3_store.bucket, Key="new")["ETag"].strip('"')
    assert "stored 4.9 KiB" in printed(mount, mount / "new")


def test_directories_and_what_is_not_there(host, s3_store):
    """A directory's cost is its listing; a wrong path is one line."""
    s3_store.put("d/a", b"1")
    s3_store.put("d/b", b"2")
    mount = host.mount(s3_store)
    os.listdir(mount / "d")
    found = explain(mount, mount / "d")
    assert (found["kind"], found["names"], found["listed"]) == ("directory", 2, True)
    assert found["requests"] == {"list_page": found["pages"]} or found["requests"]["list_page"] >= 1
    assert "a directory of 2 names" in printed(mount, mount / "d")
    assert "/: a directory" in printed(mount, mount.path)
    done = mount.host.run("explain", mount / "missing", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
