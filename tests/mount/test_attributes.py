"""Modes, owners, times, links, special files, xattrs: kept in the store, seen elsewhere, hidden from listings."""

import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import time

import pytest

from tests.harness import until

SIDECAR = ".mountd-attributes.json"


def remount(mount, *options):
    mount.unmount()
    mount.host.run("mount", mount.name, mount.path, *options)


def described(path):
    """Return what stat(2) and its friends say of a path, the part that must last."""
    state = path.lstat()
    target = os.readlink(path) if path.is_symlink() else None
    xattrs = {} if path.is_symlink() else {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return state.st_mode, state.st_uid, state.st_gid, state.st_mtime_ns, state.st_nlink, state.st_rdev, target, xattrs


@pytest.fixture
def dressed(mount):
    """A mount with a file of each kind that differs from the defaults."""
    (mount / "script").write_text("#!/bin/sh\n")
    (mount / "script").chmod(0o4751)
    (mount / "owned").write_text("1")
    os.chown(mount / "owned", 1234, 5678)
    (mount / "old").write_text("1")
    os.utime(mount / "old", ns=(10**18 + 1, 10**18 + 123_456_789))
    os.symlink("old", mount / "link")
    os.symlink("/nowhere/ü\udce4".encode("utf-8", "surrogateescape"), os.fsencode(mount / "dangling"))
    os.mkfifo(mount / "pipe", 0o600)
    os.mknod(mount / "device", 0o640 | stat.S_IFBLK, os.makedev(7, 300))
    with socket.socket(socket.AF_UNIX) as sock:
        folder = os.open(mount.path, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    (mount / "tagged").write_text("1")
    os.setxattr(mount / "tagged", "user.note", b"bytes \0\xff")
    os.setxattr(mount / "tagged", "user.empty", b"")
    os.mkdir(mount / "private", 0o700)
    (mount / "private" / "inside").write_text("1")
    (mount / "private" / "inside").chmod(0o600)
    os.utime(mount / "private", ns=(10**18, 10**18))
    return mount


NAMES = [
    "script",
    "owned",
    "old",
    "link",
    "dangling",
    "pipe",
    "device",
    "socket",
    "tagged",
    "private",
    "private/inside",
]


def test_attributes_outlast_a_remount_and_are_seen_elsewhere(dressed, store, make_host):
    """Everything is the same after a remount, and on another machine that mounts the same store.

    [attributes-persist] [special-files]
    """
    before = {name: described(dressed / name) for name in NAMES}
    remount(dressed)
    assert {name: described(dressed / name) for name in NAMES} == before
    other = make_host().mount(store)
    assert {name: described(other / name) for name in NAMES} == before


def test_attributes_outlast_the_daemons_death(dressed):
    """What was acknowledged is in the journal, if not in the store yet. [attributes-journaled]"""
    before = {name: described(dressed / name) for name in NAMES}
    (dressed / "late").write_text("1")
    (dressed / "late").chmod(0o640)
    dressed.kill()
    dressed.host.run("mount", dressed.name, dressed.path)
    assert {name: described(dressed / name) for name in NAMES} == before
    assert stat.S_IMODE((dressed / "late").stat().st_mode) == 0o640


def test_every_name_is_a_plain_object(dressed, store):
    """Other clients see the files as they are, symbolic links as their target's text, and one sidecar per directory.

    A folder needs no sidecars. [symlink-object] [plain-object]
    """
    dressed.host.run("sync")
    keys = store.keys()
    assert store.get("link") == b"old"
    if store.kind == "local":
        in_store = {name: described(store.folder / name) for name in NAMES}
        assert {name: described(dressed / name) for name in NAMES} == in_store
        return
    assert set(NAMES) - {"private"} <= set(keys)
    assert [key for key in keys if key not in NAMES] == [SIDECAR, f"private/{SIDECAR}"]
    assert json.loads(store.get(SIDECAR))["version"] == 1


def test_sidecars_cannot_be_seen_or_touched_through_the_mount(dressed):
    """Neither listed, nor opened, nor made, nor replaced. [hidden-names]"""
    dressed.host.run("sync")
    assert sorted(os.listdir(dressed.path)) == sorted(name for name in NAMES if "/" not in name)
    assert not (dressed / SIDECAR).exists()
    for act in (
        lambda: (dressed / SIDECAR).write_text("{}"),
        lambda: os.rename(dressed / "old", dressed / SIDECAR),
        lambda: os.mkdir(dressed / ".mountd-x"),
    ):
        with pytest.raises(PermissionError):
            act()


def test_a_store_without_special_attributes_has_no_sidecar(host, s3_store):
    """Plain files in plain directories leave nothing beside them; nor does what was set back to the default.

    [no-sidecar]
    """
    mount, store = host.mount(s3_store), s3_store
    os.mkdir(mount / "d")
    (mount / "d" / "a").write_text("1")
    shutil.copyfile(mount / "d" / "a", mount / "b")
    mount.host.run("sync")
    assert store.keys() == ["b", "d/a"]
    (mount / "b").chmod(0o600)
    mount.host.run("sync")
    assert SIDECAR in store.keys()
    (mount / "b").chmod(0o644)
    os.utime(mount / "b")
    os.unlink(mount / "b")
    mount.host.run("sync")
    assert store.keys() == ["d/a"]


def test_times_of_what_was_written_here_do_not_jump(mount):
    """Not when the upload finishes, nor with a remount, though the store rounds them; a rename changes no mtime.

    [mtime-steady] [rename-mtime]
    """
    path = mount / "a"
    with open(path, "wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        time.sleep(1.2)
        before = path.stat().st_mtime_ns
    assert path.stat().st_mtime_ns == before
    os.rename(path, mount / "b")
    assert (mount / "b").stat().st_mtime_ns == before
    remount(mount)
    assert (mount / "b").stat().st_mtime_ns == before
    time.sleep(2.5)
    os.mkdir(mount / "d")
    os.rename(mount / "b", mount / "d" / "b")
    os.rename(mount / "d", mount / "e")
    remount(mount)
    assert (mount / "e" / "b").stat().st_mtime_ns == before


def test_a_write_ends_the_time_that_was_set(mount):
    """After touch -d and a write, the file is as old as the write, also after a remount."""
    (mount / "a").write_text("1")
    os.utime(mount / "a", (1, 1))
    assert (mount / "a").stat().st_mtime == 1
    (mount / "a").write_text("2")
    written = (mount / "a").stat().st_mtime_ns
    assert abs(written / 1e9 - time.time()) < 10
    remount(mount)
    assert (mount / "a").stat().st_mtime_ns == written


def test_an_object_that_others_replaced_has_its_own_time(host, store):
    """A time that was set holds for the version it was set on; the mode stays with the name, but for a folder's file.

    [attributes-version]
    """
    mount = host.mount(store, "--freshness", "0")
    (mount / "a").write_text("1")
    (mount / "a").chmod(0o600)
    os.utime(mount / "a", (1, 1))
    mount.host.run("sync")
    store.put("a", b"theirs")
    state = (mount / "a").stat()
    assert abs(state.st_mtime - time.time()) < 60
    assert stat.S_IMODE(state.st_mode) == (0o644 if store.kind == "local" else 0o600)


def test_two_machines_set_attributes_side_by_side(make_host, store):
    """Changes of different names are merged, whoever stores first."""
    one, two = (make_host().mount(store, "--freshness", "0") for _ in range(2))
    for i in range(10):
        (one / f"f{i}").write_text("1")
    for i in range(10):
        ((one, two)[i % 2] / f"f{i}").chmod(0o600 + i % 2)
    one.host.run("sync")
    two.host.run("sync")
    for mount in (one, two):
        modes = [stat.S_IMODE((mount / f"f{i}").stat().st_mode) for i in range(10)]
        assert modes == [0o600, 0o601] * 5


@pytest.mark.parametrize(
    "damage", [b"{not json", b'{"format": "other"}', b'{"format": "mountd-attributes", "version": 9}']
)
def test_a_damaged_sidecar_hides_no_file_and_is_kept(host, s3_store, damage):
    """Files have default attributes, the damage is reported, and the next change sets the damaged object aside.

    [sidecar-damaged]
    """
    store = s3_store
    store.put("a", b"bytes")
    store.put(SIDECAR, damage)
    mount = host.mount(store)
    assert (mount / "a").read_bytes() == b"bytes"
    assert any(SIDECAR in each["message"] for each in mount.status()["errors"])
    assert store.get(SIDECAR) == damage
    (mount / "a").chmod(0o600)
    mount.host.run("sync")
    (kept,) = [key for key in store.keys() if key.startswith(".mountd-damaged-")]
    assert store.get(kept) == damage
    assert os.listdir(mount.path) == ["a"]
    remount(mount)
    assert stat.S_IMODE((mount / "a").stat().st_mode) == 0o600


def test_with_attributes_off_nothing_is_pretended(host, store):
    """chmod and friends fail, no sidecar is written; plain files work. [attributes-off]"""
    mount = host.mount(store, "--attributes", "off")
    (mount / "a").write_text("1")
    with open(mount / "a", "a") as file:
        file.write("2")
    for act in (
        lambda: (mount / "a").chmod(0o600),
        lambda: os.chown(mount / "a", 1, 1),
        lambda: os.symlink("a", mount / "l"),
        lambda: os.link(mount / "a", mount / "l"),
        lambda: os.mkfifo(mount / "l"),
        lambda: os.setxattr(mount / "a", "user.x", b"1"),
    ):
        with pytest.raises(OSError) as refused:
            act()
        assert refused.value.errno == errno.EOPNOTSUPP
    mount.host.run("sync")
    assert store.keys() == ["a"]


def test_with_xattrs_off_other_attributes_are_kept(mount, store, make_host):
    """Nobody can set, read or list any, and those that were set elsewhere outlast what is changed here. [xattr-off]"""
    (mount / "a").write_text("1")
    os.setxattr(mount / "a", "user.x", b"1")
    mount.host.run("sync")
    without = make_host().mount(store, "--xattrs", "off")
    for act in (
        lambda: os.setxattr(without / "a", "user.y", b"1"),
        lambda: os.getxattr(without / "a", "user.x"),
        lambda: os.getxattr(without / "a", "user.mountd.uri"),
        lambda: os.listxattr(without / "a"),
        lambda: os.removexattr(without / "a", "user.x"),
    ):
        with pytest.raises(OSError) as refused:
            act()
        assert refused.value.errno == errno.EOPNOTSUPP
    (without / "a").chmod(0o640)
    without.unmount()
    remount(mount)
    assert stat.S_IMODE((mount / "a").stat().st_mode) == 0o640
    assert os.getxattr(mount / "a", "user.x") == b"1"


def exchange(one, two):
    """renameat2(..., RENAME_EXCHANGE)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(two), 2) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def test_two_names_are_exchanged(mount, store):
    """Files, directories, and one of each, with their attributes. [rename-exchange]"""
    (mount / "a").write_text("1")
    (mount / "a").chmod(0o600)
    (mount / "b").write_text("2")
    os.mkdir(mount / "d")
    (mount / "d" / "x").write_text("3")
    exchange(mount / "a", mount / "b")
    assert [(mount / name).read_text() for name in "ab"] == ["2", "1"]
    assert stat.S_IMODE((mount / "b").stat().st_mode) == 0o600
    exchange(mount / "a", mount / "d")
    assert (mount / "a" / "x").read_text() == "3"
    assert (mount / "d").read_text() == "2"
    os.mkdir(mount / "e")
    exchange(mount / "a", mount / "e")
    assert os.listdir(mount / "a") == []
    assert (mount / "e" / "x").read_text() == "3"
    assert [key for key in store.keys() if not key.startswith(".mountd-")] == ["b", "d", "e/x"]
    with pytest.raises(FileNotFoundError):
        exchange(mount / "a", mount / "missing")
    remount(mount)
    assert sorted(os.listdir(mount.path)) == ["a", "b", "d", "e"]


def test_virtual_attributes_tell_about_a_file(mount, store):
    """Its URI, version and what of it is here; they are not listed, so that nothing copies them. [xattr-virtual]"""
    store.put("big", b"x" * (20 * 1024 * 1024))

    def tell(name, what):
        done = subprocess.run(
            ["getfattr", "--only-values", "-n", f"user.mountd.{what}", mount / name],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    in_place = store.kind == "local"  # what the folder has is on this machine
    assert tell("big", "state") == ("cached" if in_place else "absent")
    with open(mount / "big", "rb") as file:
        file.read(10)
        until(lambda: tell("big", "state") in ("partial", "cached"))  # what was read is served before it is written
        file.read()
    until(lambda: tell("big", "state") == "cached")  # what was read last is still being written
    assert tell("big", "uri") == f"{store.root}/big"
    assert tell("big", "etag") == tell("big", "version") != ""
    with open(mount / "big", "r+b") as file:
        file.write(b"y")
        file.flush()
        os.utime(file.fileno(), (1, 1))  # which has the kernel hand over what it holds back
        # Not by another process: closing the descriptors that it inherits would store the file.
        assert os.getxattr(mount / "big", "user.mountd.state") == b"dirty"
    assert os.listxattr(mount / "big") == []
    with pytest.raises(PermissionError):
        os.setxattr(mount / "big", "user.mountd.state", b"1")


def test_groups_are_inherited_below_a_setgid_directory(mount):
    """New files take the directory's group, new directories its bit as well. [permissions-checked]"""
    os.mkdir(mount / "shared")
    os.chown(mount / "shared", -1, 4321)
    (mount / "shared").chmod(0o2775)
    (mount / "shared" / "f").write_text("1")
    os.mkdir(mount / "shared" / "d")
    assert (mount / "shared" / "f").stat().st_gid == 4321
    state = (mount / "shared" / "d").stat()
    assert (state.st_gid, bool(state.st_mode & stat.S_ISGID)) == (4321, True)


def test_owner_and_mode_of_unmarked_files_can_be_chosen(host, s3_store):
    """--uid, --gid and --umask speak of what nobody has said anything about. [default-mode]"""
    store = s3_store
    store.put("d/a", b"1")
    mount = host.mount(store, "--uid", "1111", "--gid", "2222", "--umask", "027")
    state = (mount / "d" / "a").stat()
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (1111, 2222, 0o640)
    assert stat.S_IMODE((mount / "d").stat().st_mode) == 0o750


def test_the_kernel_checks_permissions(host, store):
    """Another user, let in with --allow-other, gets what mode and owner allow; the sticky bit protects names.

    [permissions-checked]
    """
    mount = host.mount(store, "--allow-other")
    for folder in (host.folder.parent, host.folder, host.folder / "mnt"):
        folder.chmod(0o755)
    (mount / "open").write_text("1")
    (mount / "secret").write_text("1")
    (mount / "secret").chmod(0o600)
    os.mkdir(mount / "tmp")
    (mount / "tmp").chmod(0o1777)
    (mount / "tmp" / "ours").write_text("1")

    def as_other(command):
        become = f"os.setgroups([777]); os.setgid(4242); os.setuid(4242); os.chdir({str(mount.path)!r})"
        script = f"import os; {become}; {command}"
        return subprocess.run(["python3", "-c", script], capture_output=True, text=True, check=False).stderr

    assert as_other("open('open').read()") == ""
    assert "PermissionError" in as_other("open('secret').read()")
    assert "PermissionError" in as_other("open('open', 'a')")
    assert "PermissionError" in as_other("open('new', 'w')")
    assert as_other("open('tmp/theirs', 'w').write('1')") == ""
    assert (mount / "tmp" / "theirs").stat().st_uid == 4242
    assert "PermissionError" in as_other("os.unlink('tmp/ours')")
    assert as_other("os.unlink('tmp/theirs')") == ""
    assert as_other("assert os.access('open', os.R_OK) and not os.access('secret', os.R_OK)") == ""
    os.chown(mount / "secret", -1, 777)
    (mount / "secret").chmod(0o640)
    assert as_other("open('secret').read()") == "", "a supplementary group counts"
