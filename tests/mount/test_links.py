"""Files with several names: each is an object of its own, and all stand for one file, here and elsewhere."""

import os
import stat
import time

import pytest


def test_links_share_bytes_and_attributes(mount, store, make_host):
    """A write through one name is seen through the others, here, in the store and on other machines.

    [link-objects] [link-count] [link-writes] [link-attributes]
    """
    (mount / "a").write_bytes(b"first")
    os.mkdir(mount / "d")
    os.link(mount / "a", mount / "d" / "b")
    os.link(mount / "d" / "b", mount / "c")
    assert {(mount / name).stat().st_ino for name in ("a", "d/b", "c")} == {(mount / "a").stat().st_ino}
    assert (mount / "c").stat().st_nlink == 3
    with open(mount / "d" / "b", "ab") as file:
        file.write(b" second")
    (mount / "c").chmod(0o640)
    for name in ("a", "d/b", "c"):
        assert (mount / name).read_bytes() == store.get(name) == b"first second"
    mount.host.run("sync")
    other = make_host().mount(store)
    assert {(other / name).stat().st_ino for name in ("a", "d/b", "c")} == {(other / "a").stat().st_ino}
    assert [(other / name).stat().st_nlink for name in ("a", "d/b", "c")] == [3, 3, 3]
    assert stat.S_IMODE((other / "d" / "b").stat().st_mode) == 0o640
    with open(other / "c", "wb") as file:
        file.write(b"third")
    assert [store.get(name) for name in ("a", "d/b", "c")] == [b"third"] * 3


def test_links_are_removed_one_by_one(mount, store):
    """The file lives until its last name is gone; renaming one leaves the others."""
    (mount / "a").write_bytes(b"bytes")
    os.link(mount / "a", mount / "b")
    os.link(mount / "a", mount / "c")
    os.unlink(mount / "a")
    assert (mount / "b").stat().st_nlink == 2
    os.mkdir(mount / "d")
    os.rename(mount / "b", mount / "d" / "b")
    assert (mount / "c").stat().st_ino == (mount / "d" / "b").stat().st_ino
    mount.remount()
    assert (mount / "c").stat().st_nlink == (mount / "d" / "b").stat().st_nlink == 2
    os.rename(mount / "d", mount / "e")
    assert (mount / "c").stat().st_ino == (mount / "e" / "b").stat().st_ino
    (mount / "c").write_bytes(b"changed")
    assert (mount / "e" / "b").read_bytes() == store.get("e/b") == b"changed"
    os.unlink(mount / "c")
    assert (mount / "e" / "b").stat().st_nlink == 1
    assert (mount / "e" / "b").read_bytes() == b"changed"
    os.unlink(mount / "e" / "b")
    mount.host.run("sync")
    assert store.keys() == []


def test_a_name_that_others_replace_is_linked_no_longer(host, store):
    """Their object stays theirs; the other names go on together. [link-dissolves]"""
    mount = host.mount(store, "--freshness", "0")
    (mount / "a").write_bytes(b"shared")
    os.link(mount / "a", mount / "b")
    os.link(mount / "a", mount / "c")
    store.put("a", b"theirs")
    assert (mount / "a").read_bytes() == b"theirs"
    (mount / "b").write_bytes(b"ours")
    assert store.get("a") == b"theirs"
    assert store.get("b") == store.get("c") == b"ours"
    assert (mount / "a").stat().st_ino != (mount / "b").stat().st_ino


CHANGES = {
    "write": lambda path: path.write_bytes(b"changed"),
    "append": lambda path: append(path, b"more"),
    "truncate": lambda path: os.truncate(path, 2),
    "chmod": lambda path: path.chmod(0o640),
    "utime": lambda path: os.utime(path, (1, 1)),
    "setxattr": lambda path: os.setxattr(path, "user.x", b"1"),
    "removexattr": lambda path: os.removexattr(path, "user.first"),
    "rename": lambda path: path.rename(path.with_name("z")).write_bytes(b"changed"),
}


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reaches_names_that_nobody_has_looked_at(mount, store, change):
    """Right after mounting, when one name is known and the others are only said to be there. [link-writes]"""
    (mount / "a").write_bytes(b"first")
    os.setxattr(mount / "a", "user.first", b"1")
    os.mkdir(mount / "d")
    os.link(mount / "a", mount / "d" / "b")
    mount.remount()
    CHANGES[change](mount / "a")
    mount.host.run("sync")
    first = "z" if change == "rename" else "a"
    assert store.get("d/b") == store.get(first)
    changed = seen(mount / first)
    mount.remount()
    assert seen(mount / "d" / "b") == changed
    assert (mount / "d" / "b").stat().st_nlink == 2
    assert (mount / "d" / "b").stat().st_ino == (mount / first).stat().st_ino


def seen(path):
    """Return what two names of a file have in common, here and after a remount."""
    state = path.stat()
    xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return state.st_mode, state.st_mtime_ns, xattrs, path.read_bytes()


def test_a_name_that_another_machine_has_given_a_file_is_heard_of(make_host, s3_store):
    """By a mount that knows the file already, within `--freshness`; what it writes is stored under both."""
    mount, other = make_host().mount(s3_store), make_host().mount(s3_store)
    (mount / "a").write_bytes(b"first")
    mount.host.run("sync")
    assert (other / "a").read_bytes() == b"first"
    assert (other / "a").stat().st_nlink == 1
    os.link(mount / "a", mount / "b")
    mount.host.run("sync")
    time.sleep(1.1)
    assert (other / "a").stat().st_nlink == 2
    (other / "a").write_bytes(b"second")
    assert s3_store.get("b") == b"second"
    assert (other / "b").stat().st_ino == (other / "a").stat().st_ino
