"""A mounted folder keeps attributes, links and bytes where they are: in its own files."""

import errno
import os
import stat
import subprocess

import pytest

from tests.kits import LocalFolder

MiB = 1024 * 1024


@pytest.fixture
def store(local_store):
    return local_store


@pytest.fixture
def folder_of(store):
    """The folder itself, for programs that know nothing of the mount."""
    return store.folder


@pytest.fixture
def fresh(host, store):
    """The folder, mounted so that every open and stat asks."""
    return host.mount(store, "--freshness", "0")


def test_attributes_set_in_the_folder_are_seen_on_the_mount(fresh, folder_of):
    """Mode, owner, times, xattrs and links that a program set without mountd. [local-attributes]"""
    (folder_of / "a").write_bytes(b"1")
    assert stat.S_IMODE((fresh / "a").stat().st_mode) == stat.S_IMODE((folder_of / "a").stat().st_mode)
    (folder_of / "a").chmod(0o4710)
    os.chown(folder_of / "a", 12, 34)
    os.utime(folder_of / "a", ns=(10**18, 10**18 + 7))
    os.setxattr(folder_of / "a", "user.note", b"x")
    os.symlink("a", folder_of / "link")
    os.link(folder_of / "a", folder_of / "b")
    os.mkdir(folder_of / "d", 0o710)
    (folder_of / "a").chmod(0o4710)
    for name in ("a", "b", "d", "link"):
        here, there = (fresh / name).lstat(), (folder_of / name).lstat()
        for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_size" if name != "d" else "st_uid"):
            assert getattr(here, field) == getattr(there, field), (name, field)
    assert os.getxattr(fresh / "a", "user.note") == b"x"
    assert os.readlink(fresh / "link") == "a"
    assert (fresh / "a").stat().st_ino == (fresh / "b").stat().st_ino
    assert (fresh / "a").stat().st_nlink == 2


def test_attributes_set_on_the_mount_are_the_folders_own(mount, folder_of):
    """They are in the folder when the call returns, with nothing beside the files. [local-attributes]"""
    (mount / "a").write_bytes(b"1")
    (mount / "a").chmod(0o751)
    assert stat.S_IMODE((folder_of / "a").stat().st_mode) == 0o751
    os.chown(mount / "a", 12, 34)
    assert (folder_of / "a").stat().st_uid == 12
    os.utime(mount / "a", ns=(10**18, 10**18 + 7))
    assert (folder_of / "a").stat().st_mtime_ns == 10**18 + 7
    os.setxattr(mount / "a", "user.note", b"x")
    assert os.getxattr(folder_of / "a", "user.note") == b"x"
    os.removexattr(mount / "a", "user.note")
    assert os.listxattr(folder_of / "a") == []
    os.symlink("nowhere", mount / "link")
    assert os.readlink(folder_of / "link") == "nowhere"
    os.mkfifo(mount / "pipe", 0o640)
    assert (folder_of / "pipe").stat().st_mode == stat.S_IFIFO | 0o640
    assert sorted(os.listdir(folder_of)) == ["a", "link", "pipe"]


def test_a_private_file_is_private_from_the_start(mount, folder_of):
    """A file made with mode 0600 is never readable by others in the folder."""
    fd = os.open(mount / "secret", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    assert stat.S_IMODE((folder_of / "secret").stat().st_mode) == 0o600
    os.write(fd, b"secret")
    os.close(fd)
    assert stat.S_IMODE((folder_of / "secret").stat().st_mode) == 0o600


def test_hard_links_are_the_folders_own(fresh, folder_of):
    """`link()` makes one; a write through one name reaches all of them, also those that the mount has never seen.

    [local-links]
    """
    (fresh / "a").write_bytes(b"first")
    os.link(fresh / "a", fresh / "b")
    assert os.path.samefile(folder_of / "a", folder_of / "b")
    os.makedirs(folder_of / "elsewhere" / "deep")
    os.link(folder_of / "a", folder_of / "elsewhere" / "deep" / "c")
    with open(fresh / "b", "wb") as file:
        file.write(b"second")
    names = ("a", "b", "elsewhere/deep/c")
    assert {(folder_of / name).read_bytes() for name in names} == {b"second"}
    assert {(fresh / name).read_bytes() for name in names} == {b"second"}
    assert (folder_of / "a").stat().st_nlink == (fresh / "a").stat().st_nlink == 3
    assert all(os.path.samefile(folder_of / "a", folder_of / name) for name in names)
    (fresh / "a").unlink()
    assert (fresh / "b").stat().st_nlink == 2
    assert (fresh / "b").read_bytes() == b"second"


def test_renames_are_the_folders_own(mount, folder_of):
    """A file and a directory keep their inodes: nothing is copied. [local-rename]"""
    os.makedirs(mount / "d" / "e")
    (mount / "d" / "e" / "a").write_bytes(b"bytes")
    inodes = {name: (folder_of / name).stat().st_ino for name in ("d", "d/e", "d/e/a")}
    with mount.counting() as requests, open(mount / "d" / "e" / "a", "rb") as file:
        (mount / "d").rename(mount / "moved")
        assert file.read() == b"bytes"
    assert "copy" not in requests
    assert requests["rename"] == 1
    assert inodes == {name: (folder_of / name.replace("d", "moved", 1)).stat().st_ino for name in inodes}
    (mount / "moved" / "e" / "a").rename(mount / "a")
    assert (folder_of / "a").stat().st_ino == inodes["d/e/a"]
    assert (mount / "a").read_bytes() == b"bytes"
    assert os.listdir(mount / "moved" / "e") == []


def test_what_lies_on_this_disk_lies_there_once(mount, folder_of):
    """Neither reads nor writes leave a copy with mountd; what was written is the folder's own file. [local-once]"""
    (folder_of / "read").write_bytes(os.urandom(20 * MiB))
    assert (mount / "read").read_bytes() == (folder_of / "read").read_bytes()
    (mount / "written").write_bytes(bytes(20 * MiB))
    with open(mount / "written", "r+b") as file:
        file.seek(5 * MiB)
        file.write(b"edited")
    expected = bytearray(20 * MiB)
    expected[5 * MiB : 5 * MiB + 6] = b"edited"
    assert (mount / "written").read_bytes() == (folder_of / "written").read_bytes() == expected
    assert mount.status()["cache"]["bytes"] == 0
    used = subprocess.run(
        ["du", "-s", "-B1", mount.host.folder / "state"], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert int(used) < 2 * MiB
    assert os.getxattr(mount / "read", "user.mountd.state") == b"cached"


def test_a_handle_goes_on_reading_what_it_opened(fresh, folder_of, store):
    """Replaced or removed here or elsewhere: the bytes are those that were opened. [local-once] [unlink-open]"""
    for name in ("a", "b", "c"):
        (folder_of / name).write_bytes(name.encode() * MiB)
    files = [open(fresh / name, "rb") for name in ("a", "b", "c")]
    try:
        assert [file.read(10) for file in files] == [b"a" * 10, b"b" * 10, b"c" * 10]
        store.put("a", b"x" * MiB)
        (fresh / "b").unlink()
        (folder_of / "c").unlink()
        for file, letter in zip(files, (b"a", b"b", b"c"), strict=True):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == letter * (MiB - 10)
        assert (fresh / "a").read_bytes() == b"x" * MiB
    finally:
        for file in files:
            file.close()


def test_a_file_that_is_changed_in_place_is_never_mixed(fresh, folder_of):
    """A program that writes into the folder's file: a handle of before fails, a new one reads the new bytes.

    [read-stale]
    """
    (folder_of / "a").write_bytes(b"o" * MiB)
    with open(fresh / "a", "rb", buffering=0) as file:
        assert file.read(10) == b"o" * 10
        with open(folder_of / "a", "r+b") as inside:
            inside.write(b"n" * MiB)
        os.utime(folder_of / "a")
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with pytest.raises(OSError) as refused:
            os.pread(file.fileno(), 10, 512 * 1024)
        assert refused.value.errno == errno.ESTALE
        assert (fresh / "a").read_bytes() == b"n" * MiB


def test_a_file_is_written_while_it_is_published(mount, folder_of):
    """Many fsyncs of a growing file: each finds all that was written before it, and none spoils what comes after."""
    expected = b""
    with open(mount / "log", "ab", buffering=0) as file:
        for i in range(50):
            line = b"%06d\n" % i
            file.write(line)
            expected += line
            os.fsync(file.fileno())
            assert (folder_of / "log").read_bytes() == expected
    assert (mount / "log").read_bytes() == expected
    assert len(os.listdir(f"/proc/{mount.pid}/fd")) < 40


def test_with_attributes_off_links_are_followed(host, store, folder_of, folder):
    """A link in the folder is taken for what it leads to. [attributes-off]"""
    (folder / "outside").write_bytes(b"outside")
    os.symlink(folder / "outside", folder_of / "link")
    mount = host.mount(store, "--attributes", "off")
    assert not (mount / "link").is_symlink()
    assert (mount / "link").read_bytes() == b"outside"


@pytest.fixture(params=["ramfs", "tmpfs"])
def elsewhere(request, folder):
    """A store in a folder on another disk: one that keeps no extended attributes, and one that does."""
    place = folder / request.param
    place.mkdir()
    subprocess.run(["mount", "-t", request.param, "none", place], check=True)
    yield LocalFolder(place / "store")
    subprocess.run(["umount", "-l", place], check=True)


def test_a_folder_on_another_disk(host, elsewhere):
    """Files are copied there; where its file system lacks something, sidecars keep it. [local-attributes]"""
    mount = host.mount(elsewhere)
    with open(mount / "a", "wb") as file:
        file.write(bytes(20 * MiB))
        file.write(b"end")
    (mount / "small").write_bytes(b"1")
    (mount / "small").chmod(0o640)
    os.setxattr(mount / "small", "user.note", b"x")
    os.symlink("small", mount / "link")
    assert elsewhere.get("a") == bytes(20 * MiB) + b"end"
    mount.unmount()
    sidecars = [key for key in elsewhere.keys() if ".mountd" in key]
    assert len(sidecars) == (0 if elsewhere.folder.parent.name == "tmpfs" else 1)
    mount = host.mount(elsewhere)
    assert (mount / "a").read_bytes() == bytes(20 * MiB) + b"end"
    assert stat.S_IMODE((mount / "link").stat().st_mode) == 0o640
    assert os.getxattr(mount / "link", "user.note") == b"x"
