"""Write-through: what the store could not take is kept; and a daemon that dies at any point of the protocols."""

import errno
import os

import pytest

from tests.proxy import answered, any_request, proxied, s3_error

MiB = 1 << 20
VARIABLE = "MOUNTD_CRASH_AT"


@pytest.fixture
def troubled(host, s3_server, s3_store):
    """A bucket behind a proxy, mounted with little patience, and the proxy."""
    with proxied(s3_server.endpoint) as proxy:
        s3_store.options = s3_store.options | {"endpoint_url": proxy.endpoint}
        (host.folder / "config" / "mountd").mkdir(parents=True)
        settings = host.folder / "config" / "mountd" / "config.toml"
        settings.write_text('[mount]\nretry_budget = "0.5s"\nfreshness = "inf"\n')
        mount = host.mount(s3_store)
        os.listdir(mount.path)
        yield mount, proxy
        proxy.clear()
        host.close()


def refuse(proxy):
    """Have the store answer nothing but that it is too busy."""
    proxy.on(any_request, answered(s3_error(503, "SlowDown")))


def write(path, data):
    """Write a file, and return the error of its close, if any."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, data)
    try:
        os.close(descriptor)
    except OSError as exc:
        return exc.errno
    return None


@pytest.mark.parametrize("size", [5, 3 * MiB])
def test_what_close_refused_survives_the_daemon(troubled, s3_store, size):
    """It is readable, listed with the reason, there after `kill -9`, and stored when that is possible.

    [through-stored] [dirty-survives] [through-kept-told]
    """
    mount, proxy = troubled
    assert write(mount / "before", b"stored") is None
    assert s3_store.get("before") == b"stored"
    data = os.urandom(size)
    refuse(proxy)
    assert write(mount / "a", data) == errno.EIO
    assert (mount / "a").read_bytes() == data
    (kept,) = mount.status()["pending"]
    assert (kept["path"], kept["safe"], kept["change"]) == ("a", True, "put")
    assert "reduce your request rate" in kept["error"] or "SlowDown" in kept["error"]
    with open(mount / "a", "rb") as file, pytest.raises(OSError, match="Input/output"):
        os.fsync(file.fileno())
    mount.kill()
    proxy.clear()
    mount.host.run("mount", "store", mount.path)
    assert (mount / "a").read_bytes() == data
    mount.host.run("sync")
    assert s3_store.get("a") == data
    assert mount.host.mounted().status()["pending"] == []


def test_a_kept_file_can_be_written_again_and_removed(troubled, s3_store):
    """The last state is what is stored; of one that is removed nothing is. [through-kept-removed]"""
    mount, proxy = troubled
    refuse(proxy)
    assert write(mount / "a", b"first") == errno.EIO
    assert write(mount / "a", b"second") == errno.EIO
    assert write(mount / "b", b"gone") == errno.EIO
    os.unlink(mount / "b")
    assert not (mount / "b").exists()
    proxy.clear()
    mount.host.run("sync")
    assert s3_store.get("a") == b"second"
    assert [key for key in s3_store.keys() if "mountd" not in key] == ["a"]


POINTS = {
    "back": [
        "before-commit",
        "after-commit",
        "spool-linked",
        "spool-written",
        "before-send",
        "after-send",
        "before-done",
        "after-done",
        "conflict",
    ],
    "through": [
        "rename-begun",
        "rename-copied",
        "rename-deleted",
        "tree-begun",
        "tree-copied",
        "tree-deleted",
        "exchange-begun",
        "exchange-aside",
        "exchange-half",
    ],
}


def renamed(mount, *names, flags=0):
    """Rename, and tell whether it was acknowledged."""
    from tests.model.system import System

    try:
        System(mount.path).rename(*names, flags)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("point", POINTS["through"])
def test_a_rename_that_dies_half_way_is_finished(host, s3_store, point):
    """Whatever the daemon was about to do, nothing is lost, and nothing is there twice. [crash-points]"""
    s3_store.put("file", b"file")
    s3_store.put("d/a", b"a")
    s3_store.put("d/b/c", b"c")
    host.environment[VARIABLE] = point
    mount = host.mount(s3_store)
    moves = {"rename": ("file", "moved"), "tree": ("d", "e"), "exchange": ("d", "file")}
    source, target = moves[point.partition("-")[0]]
    assert not renamed(mount, source, target, flags=2 if point.startswith("exchange") else 0)
    del host.environment[VARIABLE]
    host.run("mount", "store", mount.path)
    assert host.mounted().status()["recovered"]
    found = {str(p.relative_to(mount.path)): p.read_bytes() for p in mount.path.rglob("*") if p.is_file()}
    host.run("sync")
    stored = {key: s3_store.get(key) for key in s3_store.keys() if "mountd" not in key and not key.endswith("/")}
    assert found == stored
    assert sorted(stored.values()) == [b"a", b"c", b"file"]
    if point.startswith("tree"):
        assert stored == {"e/a": b"a", "e/b/c": b"c", "file": b"file"}
    elif point.startswith("rename"):
        assert stored == {"moved": b"file", "d/a": b"a", "d/b/c": b"c"}


def attempt(operation, *arguments):
    """Carry out a call on a mount whose daemon may die of it, and tell whether it was acknowledged."""
    try:
        operation(*arguments)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("point", POINTS["back"])
def test_write_back_that_dies_at_a_point_loses_nothing(host, s3_store, point):
    """What was acknowledged is there after the next mount, here and in the store; the rest is wholly there or not.

    [crash-points]
    """
    big, edited, at = os.urandom(200_000), bytearray(os.urandom(6 * MiB)), 5 * MiB
    s3_store.put("edited", bytes(edited))
    s3_store.put("contested", b"old")
    host.environment[VARIABLE] = point
    mount = host.mount(s3_store, "--write-back", "--freshness", "inf")

    def edit():
        with open(mount / "edited", "r+b", buffering=0) as file:
            file.seek(at)
            file.write(b"edit")

    done = {
        "small": attempt((mount / "small").write_bytes, b"small"),
        "big": attempt((mount / "big").write_bytes, big),
        "edited": attempt(edit),
        "d": attempt((mount / "d").mkdir),
        "moved": attempt(os.rename, mount / "small", mount / "d" / "moved"),
        "contested": attempt((mount / "contested").write_bytes, b"ours"),
    }
    s3_store.put("contested", b"theirs")
    host.run("sync", check=False)
    assert host.daemons() == [], "the daemon did not come to the point"
    del host.environment[VARIABLE]
    host.run("mount", "store", mount.path, "--write-back", "--freshness", "0")
    host.run("sync")
    stored = {key: s3_store.get(key) for key in s3_store.keys() if "mountd" not in key and not key.endswith("/")}
    found = {str(p.relative_to(mount.path)): p.read_bytes() for p in mount.path.rglob("*") if p.is_file()}
    assert found == stored
    assert stored.pop("big", None) in ([big] if done["big"] else [big, None])
    changed = edited[:at] + b"edit" + edited[at + 4 :]
    assert stored.pop("edited") in ([changed] if done["edited"] else [changed, edited])
    assert stored.pop("contested") == b"theirs"
    ours = [stored.pop(key) for key in list(stored) if key.startswith("contested.conflict-")]
    assert ours in ([[b"ours"]] if done["contested"] else [[b"ours"], []])
    assert list(stored.values()) in ([[b"small"]] if done["small"] else [[b"small"], []])
    if done["moved"]:
        assert list(stored) == ["d/moved"]
