"""System calls on a mount do what `docs/semantics.md` says, and the store holds what they did."""

import contextlib
import errno
import mmap
import os
import shutil
import subprocess
import threading

import pytest

from tests.kits import ALL

MiB = 1024 * 1024


pytestmark = pytest.mark.parametrize("shared", ALL, indirect=True)


@pytest.fixture
def store(corner):
    """Part of a store of each kind, with an independent client."""
    return corner[0]


@pytest.fixture
def mount(corner):
    """That part, mounted."""
    return corner[1]


def test_what_is_closed_is_in_the_store(mount, store):
    """`close()` returned, so an independent client reads the same bytes. [close-stored] [plain-object]"""
    with open(mount / "a.txt", "wb") as file:
        file.write(b"hello")
    assert store.get("a.txt") == b"hello"


def test_what_is_synced_is_in_the_store_before_it_is_closed(mount, store):
    """`fsync()` returned, so the store has what was written until then. [fsync-stored]"""
    with open(mount / "a", "wb", buffering=0) as file:
        file.write(b"first")
        os.fsync(file.fileno())
        assert store.get("a") == b"first"
        file.write(b" second")
    assert store.get("a") == b"first second"


def test_objects_of_others_are_files(mount, store):
    """What an independent client stored is there, with its size, in directories made of its prefixes.

    [both-ways] [directory-prefix]
    """
    store.put("deep/down/object", b"from elsewhere")
    path = mount / "deep" / "down" / "object"
    assert path.stat().st_size == 14
    assert path.read_bytes() == b"from elsewhere"
    assert os.listdir(mount.path) == ["deep"]
    assert (mount / "deep").is_dir()


def test_bytes_are_read_and_written_at_any_offset(mount, store):
    """`pread` and `pwrite` in the middle, over the end and beyond; holes read as zeros.

    [write-local] [read-own-writes]
    """
    store.put("a", bytes(range(256)) * 1000)
    fd = os.open(mount / "a", os.O_RDWR)
    assert os.pread(fd, 10, 131_072) == (bytes(range(256)) * 1000)[131_072:131_082]
    os.pwrite(fd, b"middle", 1000)
    os.pwrite(fd, b"end", 300_000)
    os.close(fd)
    expected = bytearray(bytes(range(256)) * 1000 + bytes(44_000) + b"end")
    expected[1000:1006] = b"middle"
    assert store.get("a") == (mount / "a").read_bytes() == expected


def test_appending_adds_to_the_end(mount, store):
    """O_APPEND, by one writer after the other, and by the shell. [append-local]"""
    store.put("log", b"0\n")
    for i in range(1, 4):
        with open(mount / "log", "a") as file:
            file.write(f"{i}\n")
    subprocess.run(f"echo 4 >> {mount / 'log'}", shell=True, check=True)
    assert store.get("log") == b"0\n1\n2\n3\n4\n"


def test_truncating_shortens_and_extends(mount, store):
    """`truncate` and `ftruncate`, downwards and upwards, with zeros. [truncate-stored] [grow-zeros]"""
    store.put("a", b"0123456789")
    os.truncate(mount / "a", 4)
    assert store.get("a") == b"0123"
    with open(mount / "a", "r+b") as file:
        file.truncate(8)
    assert store.get("a") == b"0123\0\0\0\0"
    with open(mount / "a", "wb"):
        pass
    assert store.get("a") == b""


def test_a_sparse_file_costs_no_writes_for_its_hole(mount, store):
    """A file with a byte at its end reads as zeros before it, here and in the store. [holes-are-zeros]"""
    with open(mount / "sparse", "wb") as file:
        file.seek(3 * MiB)
        file.write(b"x")
    assert store.get("sparse") == bytes(3 * MiB) + b"x"
    assert (mount / "sparse").read_bytes() == bytes(3 * MiB) + b"x"


def test_a_shared_mapping_writes_the_file(mount, store):
    """Stores through `mmap` reach the object with `msync` and `close`. [mmap-coherent] [mmap-stored]"""
    store.put("a", bytes(3 * 4096))
    with open(mount / "a", "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as mapping:
            mapping[5000:5005] = b"hello"
            mapping.flush()
        os.fsync(file.fileno())
    assert store.get("a") == bytes(5000) + b"hello" + bytes(3 * 4096 - 5005)


def test_exclusive_creation_has_one_winner(mount, store):
    """Of many threads that create with O_EXCL, one succeeds, the others get EEXIST; the object is there at once.

    [excl-one-winner]
    """
    outcomes = []

    def create():
        try:
            os.close(os.open(mount / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            outcomes.append(0)
        except OSError as exc:
            outcomes.append(exc.errno)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [0] + [errno.EEXIST] * 7
    assert store.get("lock") == b""


def test_an_unlinked_file_works_until_it_is_closed(mount, store):
    """Handles go on reading and writing; the object is gone, and stays so. [unlink-open] [unlink-stored]"""
    store.put("a", b"bytes")
    with open(mount / "a", "r+b", buffering=0) as file:
        os.unlink(mount / "a")
        assert store.keys() == []
        assert file.read() == b"bytes"
        file.write(b" more")
        file.seek(0)
        assert file.read() == b"bytes more"
    assert store.keys() == []
    assert os.listdir(mount.path) == []


def test_directories_are_made_and_removed(mount, store):
    """`mkdir` lasts without files; `rmdir` needs an empty directory.

    [mkdir-stored] [rmdir-not-empty] [last-file-keeps-directory]
    """
    os.makedirs(mount / "a" / "b")
    assert (mount / "a" / "b").is_dir()
    (mount / "a" / "b" / "f").write_text("1")
    with pytest.raises(OSError) as refused:
        os.rmdir(mount / "a" / "b")
    assert refused.value.errno == errno.ENOTEMPTY
    os.unlink(mount / "a" / "b" / "f")
    assert (mount / "a" / "b").is_dir(), "a directory stays when its last file goes"
    os.rmdir(mount / "a" / "b")
    os.rmdir(mount / "a")
    assert os.listdir(mount.path) == []
    assert store.keys() == []


def test_an_empty_directory_is_there_after_a_remount(mount, store):
    """Markers keep it in the store."""
    if not store.lasts:
        pytest.skip("the store ends with the daemon")
    os.mkdir(mount / "empty")
    mount.remount()
    assert (mount / "empty").is_dir()


def objects(store):
    """Return the keys of files: a copy that took seconds is younger than its file, which a sidecar then says."""
    return [key for key in store.keys() if ".mountd-" not in key]


def test_a_file_is_renamed(mount, store):
    """To a new name, over another file, into another directory; also while it is open.

    [rename-file-stored] [rename-open]
    """
    (mount / "a").write_bytes(b"1")
    (mount / "b").write_bytes(b"2")
    os.mkdir(mount / "d")
    os.rename(mount / "a", mount / "b")
    assert objects(store) == ["b"]
    with open(mount / "b", "r+b") as file:
        os.rename(mount / "b", mount / "d" / "c")
        file.write(b"3")
    assert objects(store) == ["d/c"]
    assert store.get("d/c") == b"3"


def test_a_file_is_replaced_as_editors_do(mount, store):
    """Write a temporary file, sync it, rename it over the old one: the object has the new bytes. [rename-replaces]"""
    store.put("config.yaml", b"old")
    with open(mount / ".config.yaml.tmp", "wb") as file:
        file.write(b"new")
        os.fsync(file.fileno())
    os.replace(mount / ".config.yaml.tmp", mount / "config.yaml")
    assert store.keys() == ["config.yaml"]
    assert store.get("config.yaml") == b"new"


def test_a_directory_is_renamed_with_all_that_is_in_it(mount, store):
    """Every object below has its new key, and none its old one. [rename-directory-copies]"""
    for i in range(40):
        store.put(f"old/sub{i % 4}/file{i}", b"%d" % i)
    os.mkdir(mount / "old" / "empty")
    os.rename(mount / "old", mount / "new")
    assert store.keys() == sorted(f"new/sub{i % 4}/file{i}" for i in range(40))
    assert sorted(os.listdir(mount / "new")) == ["empty", "sub0", "sub1", "sub2", "sub3"]
    assert not (mount / "old").exists()
    assert (mount / "new" / "sub3" / "file7").read_bytes() == b"7"


def test_names_can_have_any_bytes(mount, store):
    """Spaces, quotes, umlauts, other scripts, bytes that are no UTF-8, 255 of them. [name-bytes] [name-max]"""
    names = [
        b"a b",
        b"'quoted'\"",
        "äöü 漢字 \U0001f40d".encode(),
        b"latin-1 \xe4\xf6",
        b"x" * 255,
        b"-rf",
        b"100%+?&#=",
    ]
    root = os.fsencode(mount.path)
    for name in names:
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
    assert sorted(os.listdir(root)) == sorted(names)
    if store.lasts:
        mount.remount()
    assert sorted(os.listdir(root)) == sorted(names)
    for name in names:
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == name
        os.unlink(os.path.join(root, name))
    assert store.keys() == []


def test_errors_are_the_ones_of_a_file_system(mount):
    """What is missing, is a directory, or is none, is told apart.

    [errno-plain] [rename-kinds] [rename-into-itself] [mkdir-exists]
    """
    (mount / "file").write_text("1")
    os.mkdir(mount / "dir")
    cases = [
        (lambda: os.stat(mount / "missing"), errno.ENOENT),
        (lambda: os.open(mount / "missing" / "x", os.O_RDONLY), errno.ENOENT),
        (lambda: os.stat(mount / "file" / "x"), errno.ENOTDIR),
        (lambda: os.open(mount / "dir", os.O_WRONLY), errno.EISDIR),
        (lambda: os.mkdir(mount / "file"), errno.EEXIST),
        (lambda: os.rmdir(mount / "file"), errno.ENOTDIR),
        (lambda: os.unlink(mount / "dir"), errno.EISDIR),
        (lambda: os.rename(mount / "file", mount / "dir"), errno.EISDIR),
        (lambda: os.rename(mount / "dir", mount / "dir" / "sub"), errno.EINVAL),
        (lambda: os.stat(mount / ("x" * 256)), errno.ENAMETOOLONG),
    ]
    for call, expected in cases:
        with pytest.raises(OSError) as failure:
            call()
        assert failure.value.errno == expected


def test_attributes_can_be_set(mount):
    """chmod, utime and size, as tools that copy files do."""
    path = mount / "a"
    path.write_text("1")
    path.chmod(0o750)
    os.utime(path, ns=(10**18, 10**18 + 5))
    state = path.stat()
    assert (state.st_mode & 0o7777, state.st_mtime_ns) == (0o750, 10**18 + 5)
    shutil.copy2(path, mount / "b")
    assert (mount / "b").stat().st_mtime_ns == 10**18 + 5


def test_statfs_leaves_room(mount):
    """`df` and installers see free space. [statfs-large] [statfs-namemax]"""
    state = os.statvfs(mount.path)
    assert state.f_bavail * state.f_frsize > 1 << 40
    assert state.f_namemax == 255


def test_standard_tools_work(mount, store, tmp_path):
    """cp, tar, git and sqlite3 in the mount, as on a disk."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(mount / "repo")]
    os.mkdir(mount / "repo")
    subprocess.run([*git, "init", "-q"], check=True)
    (mount / "repo" / "code.py").write_text("print(1)\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    subprocess.run([*git, "fsck", "--strict"], check=True, capture_output=True)
    subprocess.run(["cp", "-r", mount / "repo", mount / "copy"], check=True)
    subprocess.run(["tar", "-C", mount.path, "-cf", mount / "repo.tar", "repo"], check=True)
    subprocess.run(["tar", "-C", tmp_path, "-xf", mount / "repo.tar"], check=True)
    subprocess.run(["diff", "-r", tmp_path / "repo", mount / "copy"], check=True)
    assert store.get("copy/code.py") == b"print(1)\n"
    subprocess.run(["rm", "-rf", mount / "repo", mount / "copy", mount / "repo.tar"], check=True)
    assert store.keys() == []


def test_many_writers_and_readers_at_once(mount, store):
    """Files written and read back by many threads are each as they were written."""
    failures = []

    def work(i):
        data = bytes([i]) * (100_000 + i)
        for turn in range(3):
            path = mount / f"f{i}-{turn}"
            path.write_bytes(data)
            if path.read_bytes() != data or store.get(path.name) != data:
                failures.append(path)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(os.listdir(mount.path)) == 36


def test_a_directory_can_change_while_it_is_read(mount):
    """Files that stay are listed once each, whatever is removed meanwhile. [readdir-snapshot]"""
    for i in range(300):
        (mount / f"f{i:03}").touch()
    seen = []
    with os.scandir(mount.path) as entries:
        for entry in entries:
            seen.append(entry.name)
            if int(entry.name[1:]) % 2:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)
    assert len(seen) == len(set(seen))
    assert {f"f{i:03}" for i in range(0, 300, 2)} <= set(seen)
    assert len(os.listdir(mount.path)) == 150


def test_a_read_only_mount_refuses_changes(host, store):
    """EROFS for each of them, and reads work. [errno-read-only]"""
    if not store.lasts:
        pytest.skip("another daemon has another store")
    store.put("a", b"1")
    mount = host.mount(store, "--read-only")
    assert (mount / "a").read_bytes() == b"1"
    for change in (
        lambda: open(mount / "b", "w"),
        lambda: open(mount / "a", "r+"),
        lambda: os.unlink(mount / "a"),
        lambda: os.mkdir(mount / "d"),
        lambda: os.rename(mount / "a", mount / "b"),
    ):
        with pytest.raises(OSError) as refused:
            change()
        assert refused.value.errno == errno.EROFS
    assert store.keys() == ["a"]
