"""What others do in the store is seen in time, and never as a mix of two versions."""

import errno
import os
import threading
import time

import pytest

from tests.harness import until

MiB = 1024 * 1024


@pytest.fixture(params=["local", "s3", "gcs", "azure"])
def store(request):
    """An empty store of each kind that decides conditions itself, with an independent client."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def fresh(host, store):
    """The store, mounted so that every open asks."""
    return host.mount(store, "--freshness", "0")


def test_a_replaced_object_is_read_at_the_next_open(fresh, store):
    """With `--freshness 0`, each `open()` gets what was there before it. [open-fresh] [open-retries]"""
    for i in range(20):
        store.put("a", b"version %d" % i + b"." * i)
        assert (fresh / "a").read_bytes() == b"version %d" % i + b"." * i


def test_a_replacement_of_equal_size_is_read_too(fresh, store):
    """Neither size nor a time in whole seconds tells them apart; the version does."""
    for i in range(10):
        store.put("a", b"version %d" % i)
        assert (fresh / "a").read_bytes() == b"version %d" % i


def test_a_new_and_a_deleted_object_are_seen(fresh, store):
    """Also where the name was looked up in vain, or found, a moment ago."""
    assert not (fresh / "a").exists()
    store.put("a", b"1")
    assert (fresh / "a").read_bytes() == b"1"
    assert os.listdir(fresh.path) == ["a"]
    store.delete("a")
    assert not (fresh / "a").exists()
    assert os.listdir(fresh.path) == []


def test_within_the_freshness_what_is_known_counts(host, store):
    """With `--freshness inf` nothing that is known is asked again. [freshness]"""
    store.put("a", b"old")
    mount = host.mount(store, "--freshness", "inf")
    assert (mount / "a").read_bytes() == b"old"
    store.put("a", b"newer")
    with mount.counting() as requests:
        assert (mount / "a").read_bytes() == b"old"
        assert (mount / "a").stat().st_size == 3
    assert requests == {}


def test_after_the_freshness_the_new_bytes_are_read(host, store):
    """By default a replaced object is read one second later at the latest. [freshness] [open-fresh]"""
    store.put("a", b"old")
    mount = host.mount(store)
    assert (mount / "a").read_bytes() == b"old"
    store.put("a", b"newer")
    time.sleep(1.1)
    assert (mount / "a").read_bytes() == b"newer"
    assert (mount / "a").stat().st_size == 5


def test_an_open_handle_never_sees_two_versions(host, s3_store):
    """A handle goes on with the version that it opened, or gets ESTALE; a new one reads the new bytes.

    [read-one-version] [read-stale]
    """
    s3_store.put("a", b"1" * (24 * MiB))
    mount = host.mount(s3_store, "--freshness", "0")
    fd = os.open(mount / "a", os.O_RDONLY)
    try:
        assert os.pread(fd, 10, 0) == b"1" * 10
        s3_store.put("a", b"2" * (24 * MiB))
        try:
            rest = os.pread(fd, 10, 20 * MiB)
        except OSError as exc:
            assert exc.errno == errno.ESTALE
        else:
            assert rest == b"1" * 10
        assert (mount / "a").read_bytes() == b"2" * (24 * MiB)
    finally:
        os.close(fd)


def test_no_read_mixes_versions_while_another_client_overwrites(fresh, store):
    """Whole files read under fire are each one version, all the way through. [read-one-version] [whole-objects]"""
    size = 300_000
    store.put("a", bytes([0]) * size)
    done = threading.Event()
    seen = set()
    started = time.monotonic()
    assert (fresh / "a").read_bytes() == bytes(size)
    pause = 0.02 + time.monotonic() - started  # long enough for some reads to come through, whatever the service

    def write():
        for i in range(1, 40):
            store.put("a", bytes([i]) * size)
            time.sleep(pause)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        try:
            data = (fresh / "a").read_bytes()
        except OSError as exc:
            assert exc.errno == errno.ESTALE
            continue
        assert len(data) == size
        assert len(set(data)) == 1
        seen.add(data[0])
    writer.join()
    assert (fresh / "a").read_bytes() == bytes([39]) * size
    assert len(seen) > 1


def test_two_mounts_see_each_others_closed_files(make_host, store):
    """With `--freshness 0` on both, each `open()` reads what the other has closed: files, directories, renames.

    [close-to-open]
    """
    one, two = (make_host().mount(store, "--freshness", "0") for _ in range(2))
    for i in range(10):
        writer, reader = (one, two) if i % 2 else (two, one)
        (writer / "shared").write_bytes(b"turn %d" % i)
        assert (reader / "shared").read_bytes() == b"turn %d" % i
        os.mkdir(writer / f"d{i}")
        (writer / f"d{i}" / "f").write_bytes(b"%d" % i)
        assert (reader / f"d{i}" / "f").read_bytes() == b"%d" % i
        os.rename(reader / f"d{i}", reader / f"e{i}")
        assert (writer / f"e{i}" / "f").read_bytes() == b"%d" % i
        assert not (writer / f"d{i}").exists()
        os.unlink(reader / f"e{i}" / "f")
        os.rmdir(writer / f"e{i}")
        assert not (reader / f"e{i}").exists()


def test_a_lock_file_works_between_two_mounts(make_host, store):
    """O_EXCL lets one of two machines through at a time: no increment of a shared counter is lost. [excl-one-winner]"""
    mounts = [make_host().mount(store, "--freshness", "0") for _ in range(2)]
    (mounts[0] / "counter").write_text("0")

    def increment(mount):
        for _ in range(5):
            while True:
                try:
                    os.close(os.open(mount / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    break
                except FileExistsError:
                    time.sleep(0.01)
            (mount / "counter").write_text(str(int((mount / "counter").read_text()) + 1))
            os.unlink(mount / "lock")

    threads = [threading.Thread(target=increment, args=(mount,)) for mount in mounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("counter") == b"10"


@pytest.mark.parametrize("freshness", ["0", "600"])
def test_a_write_over_a_foreign_change_keeps_both(make_host, store, freshness):
    """`close()` says ESTALE, the store keeps theirs, and ours lies beside it. [first-close-wins] [conflict-kept]

    However long the kernel may keep a name and the pages behind it: what is read under that afterwards is theirs.
    """
    mount = make_host().mount(store, "--freshness", freshness)
    (mount / "a").write_bytes(b"base")
    file = open(mount / "a", "r+b", buffering=0)
    file.write(b"ours")
    store.put("a", b"theirs")
    with pytest.raises(OSError) as refused:
        file.close()
    assert refused.value.errno == errno.ESTALE
    assert store.get("a") == b"theirs"
    (conflict,) = [key for key in store.keys() if key.startswith("a.conflict-")]
    assert store.get(conflict) == b"ours"
    assert (mount / "a").read_bytes() == b"theirs"


CALLS = {
    "truncate": lambda path: os.truncate(path, 3),
    "chmod": lambda path: path.chmod(0o600),
    "utime": lambda path: os.utime(path, (5, 5)),
    "setxattr": lambda path: os.setxattr(path, "user.a", b"b"),
    "link": lambda path: os.link(path, f"{path}.link"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("opened", [False, True])
def test_after_a_conflict_calls_by_name_are_about_theirs(host, s3_store, call, opened):
    """Though the kernel was told to keep the name of ours for ten minutes, and whether ours is still open or not."""
    mount = host.mount(s3_store, "--freshness", "600")
    path = mount / "a"
    path.write_bytes(b"base")
    with open(path, "r+b", buffering=0) as file:
        file.write(b"ours")
        reader = open(path, "rb") if opened else None
        s3_store.put("a", b"theirs")
        with pytest.raises(OSError, match="Stale"):
            file.close()
    until(lambda: path.stat().st_size == len(b"theirs"))
    CALLS[call](path)
    seen = path.stat()
    assert path.read_bytes() == (b"the" if call == "truncate" else b"theirs")
    assert s3_store.get("a") == path.read_bytes()
    assert (oct(seen.st_mode)[-3:] == "600") == (call == "chmod")
    assert (seen.st_mtime == 5) == (call == "utime")
    assert ("user.a" in os.listxattr(path)) == (call == "setxattr")
    assert seen.st_nlink == (2 if call == "link" else 1)
    if reader is not None:
        assert reader.read() == b"ours"
        reader.close()
