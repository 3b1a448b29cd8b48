"""A daemon that dies at named points of its protocols; see `mountd.crash`."""

import os
import re

import pytest

from tests.harness import CHECKOUT
from tests.kits import open_store
from tests.model.system import System

MiB = 1 << 20
VARIABLE = "MOUNTD_CRASH_AT"


@pytest.fixture
def s3_store(folder, request):
    """An empty bucket, with an independent client."""
    with open_store("s3", folder, request.getfixturevalue) as store:
        yield store


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


def test_every_point_is_tried():
    """Whoever adds a point adds a test of it."""
    sources = [path.read_text() for path in (CHECKOUT / "mountd").rglob("*.py")]
    found = {name for text in sources for name in re.findall(r'\bcrash\.point\("([^"]+)"\)', text)}
    assert found == {point for points in POINTS.values() for point in points}


def renamed(mount, *names, flags=0):
    """Rename, and tell whether it was acknowledged."""
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


@pytest.mark.parametrize("point", [point for point in POINTS["through"] if not point.endswith("begun")])
def test_attributes_come_along_with_a_rename_that_is_finished(host, s3_store, point):
    """A link stays one, and modes stay as they were set, also where another file had the name. [crash-points]"""
    host.environment[VARIABLE] = point
    mount = host.mount(s3_store)
    os.symlink("somewhere", mount / "link")
    (mount / "d").mkdir(mode=0o700)
    (mount / "d" / "a").write_bytes(b"a")
    (mount / "d" / "a").chmod(0o600)
    (mount / "old").write_bytes(b"old")
    (mount / "old").chmod(0o604)
    moves = {"rename": ("link", "old"), "tree": ("d", "e"), "exchange": ("d", "link")}
    source, target = moves[point.partition("-")[0]]
    assert not renamed(mount, source, target, flags=2 if point.startswith("exchange") else 0)
    del host.environment[VARIABLE]
    host.run("mount", "store", mount.path)
    (link,) = [path for path in mount.path.iterdir() if path.is_symlink()]
    assert os.readlink(link) == "somewhere"
    (folder,) = [path for path in mount.path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "a").stat().st_mode & 0o777 == 0o600
    if not point.startswith("exchange"):
        assert (link if point.startswith("rename") else folder).name == target
    if not point.startswith("rename"):
        assert (mount / "old").stat().st_mode & 0o777 == 0o604


def test_write_back_a_link_that_was_being_renamed_is_one(host, s3_store):
    """The journal has the rename, and the daemon dies before it has what is said of the new name. [crash-points]"""
    mount = host.mount(s3_store, "--write-back")
    os.symlink("somewhere", mount / "link")
    mount.unmount()
    host.environment[VARIABLE] = "after-commit"
    host.run("mount", "store", mount.path, "--write-back")
    assert not renamed(mount, "link", "moved")
    del host.environment[VARIABLE]
    host.run("mount", "store", mount.path, "--write-back")
    assert os.listdir(mount.path) == ["moved"]
    assert os.readlink(mount / "moved") == "somewhere"
    host.run("sync")
    assert [key for key in s3_store.keys() if "mountd" not in key] == ["moved"]


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
