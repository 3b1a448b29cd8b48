"""`mountd warm`: files are here before they are read."""

import json

import pytest

import mountd
from mountd.errors import UserError

KiB = 1024


def warm(mount, *paths, check=True):
    """Return what `mountd warm --json` says of each path, and the exit code."""
    done = mount.host.run("warm", "--json", *paths, check=check)
    return json.loads(done.stdout), done.returncode


def test_what_was_warmed_is_read_without_the_store(host, s3_store):
    """A directory with all below it, each byte once; what is here already is not fetched again."""
    files = {"d/a": b"1" * 10, "d/e/b": b"2" * (3 << 20), "d/e/empty": b"", "other": b"3"}
    for key, data in files.items():
        s3_store.put(key, data)
    mount = host.mount(s3_store, "--freshness", "inf")
    ((found,), code) = warm(mount, mount / "d")
    assert (found["files"], found["fetched"], found["here"], code) == (3, 10 + (3 << 20), 0, 0)
    with mount.counting() as requests:
        for key in ("d/a", "d/e/b", "d/e/empty"):
            assert (mount / key).read_bytes() == files[key]
        ((again,), _) = warm(mount, mount / "d", check=False)
    assert requests == {}
    assert (again["fetched"], again["here"]) == (0, 10 + (3 << 20))


def test_a_uri_will_do_and_python_too(host, s3_store, monkeypatch):
    """`mountd.warm` returns the bytes that came."""
    s3_store.put("a", b"x" * 100)
    mount = host.mount(s3_store)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, host.environment[name])
    assert mountd.warm(f"{s3_store.root}/a") == 100
    assert mountd.warm(mount / "a") == 0
    with pytest.raises(UserError, match="no such file"):
        mountd.warm(mount / "missing")
    with pytest.raises(UserError, match="not under a mount"):
        mountd.warm("/etc/passwd")


def test_what_has_no_room_is_left_out_and_said(host, s3_store):
    """What has just come is not pushed out again."""
    for number in range(4):
        s3_store.put(f"{number}", b"x" * (300 * KiB))
    mount = host.mount(s3_store, "--cache-size", "1MiB", "--freshness", "inf")
    ((found,), code) = warm(mount, mount.path, check=False)
    assert (found["fetched"], found["no_room"], code) == (900 * KiB, 300 * KiB, 1)
    said = host.run("warm", mount.path, check=False).stdout
    assert "mount with a larger --cache-size" in said
    with mount.counting() as requests:
        sizes = [len((mount / f"{number}").read_bytes()) for number in range(4)]
    assert sizes == [300 * KiB] * 4
    assert requests == {"read_range": 1}


def test_files_that_cannot_be_fetched_are_named(host, s3_store):
    """The others are fetched all the same."""
    s3_store.put("a", b"1")
    s3_store.put("b", b"2")
    mount = host.mount(s3_store, "--freshness", "inf")
    mount.host.run("status")
    assert sorted(path.name for path in mount.path.iterdir()) == ["a", "b"]
    s3_store.delete("a")
    ((found,), code) = warm(mount, mount.path, check=False)
    assert ([path for path, _ in found["failed"]], found["fetched"], code) == (["a"], 1, 1)


def test_a_folder_of_this_machine_has_nothing_to_fetch(host, local_store):
    """It is all here."""
    local_store.put("a", b"123")
    mount = host.mount(local_store)
    ((found,), _) = warm(mount, mount.path)
    assert (found["files"], found["here"], found["fetched"]) == (1, 3, 0)
