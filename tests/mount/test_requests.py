"""What is asked of the store, and what is not: requests cost money and round trips."""

import errno
import hashlib
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

MiB = 1024 * 1024


def test_ls_l_of_a_large_directory_is_its_listing(host, s3_store):
    """`ls -l` of 2500 objects takes three pages and no request per file, and nothing the second time.

    [readdir-attributes]
    """
    threads = [
        threading.Thread(target=lambda i=i: [s3_store.put(f"d/f{n:04}", b"x") for n in range(i, 2500, 8)])
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mount = host.mount(s3_store, "--freshness", "60")
    with mount.counting() as requests, os.scandir(mount / "d") as entries:
        assert sum(entry.stat().st_size for entry in entries) == 2500
    assert requests.pop("stat", 0) + requests["list_page"] <= 3 + 2  # and the name `d` itself
    assert set(requests) == {"list_page"}
    with mount.counting() as requests, os.scandir(mount / "d") as entries:
        assert sum(entry.stat().st_size for entry in entries) == 2500
    assert requests == {}


def fill(store, prefix, count):
    """Store small objects, several at a time."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.put(f"{prefix}f{i:04}", b"x"), range(count)))


def test_ls_l_asks_for_no_file_though_it_takes_longer_than_freshness(host, s3_store):
    """With the default freshness, 3500 objects cost their four pages, and a stat of each of them nothing more.

    [readdir-attributes] [listing-holds]
    """
    fill(s3_store, "", 3500)
    mount = host.mount(s3_store)
    with mount.counting() as requests:
        done = subprocess.run(["ls", "-l", mount.path], stdout=subprocess.PIPE, check=True)
    assert done.stdout.count(b"\n") == 3501
    assert requests == {"list_page": 4}


def test_creating_and_removing_many_files_is_a_request_for_each(host, s3_store):
    """In a directory that was made here nothing is listed, but for one page before the directory goes. [made-known]"""
    mount = host.mount(s3_store, "--freshness", "60")
    os.listdir(mount.path)
    with mount.counting() as requests:
        (mount / "d").mkdir()
        for i in range(100):
            (mount / f"d/f{i:02}").write_bytes(b"x")
        for i in range(100):
            assert (mount / f"d/f{i:02}").stat().st_size == 1
        assert len(os.listdir(mount / "d")) == 100
    assert requests == {"put": 101}
    with mount.counting() as requests:
        shutil.rmtree(mount / "d")
    assert requests == {"delete": 101, "list_page": 1}
    assert s3_store.keys() == []


def test_reading_many_cold_files_is_one_listing_and_a_request_for_each(host, s3_store):
    """The pages of the directory and of the one above vouch for all of them."""
    fill(s3_store, "d/", 200)
    mount = host.mount(s3_store, "--freshness", "60")
    with mount.counting() as requests:
        for i in range(200):
            assert (mount / f"d/f{i:04}").read_bytes() == b"x"
    assert requests == {"list_page": 2, "read_range": 200}


def test_copying_a_directory_asks_for_what_it_copies(host, s3_store):
    """`cp -r` makes each file exclusively, which the store decides, and stores it when it is closed: two puts."""
    fill(s3_store, "d/", 20)
    mount = host.mount(s3_store, "--freshness", "60")
    with mount.counting() as requests:
        subprocess.run(["cp", "-r", mount / "d", mount / "e"], check=True)
    assert requests == {"list_page": 2, "read_range": 20, "put": 1 + 20 * 2}


def test_copying_costs_one_put_for_each_file_where_the_machine_decides(host, s3_store):
    """[excl-machine]"""
    fill(s3_store, "d/", 20)
    mount = host.mount(s3_store, "--freshness", "60", "--exclusive", "machine")
    with mount.counting() as requests:
        subprocess.run(["cp", "-r", mount / "d", mount / "e"], check=True)
    assert requests == {"list_page": 2, "read_range": 20, "put": 1 + 20}


def test_a_directory_is_renamed_by_one_copy_for_each_object(host, s3_store):
    """One listing finds what is in it, one request deletes that, and one the marker."""
    mount = host.mount(s3_store, "--freshness", "60")
    os.listdir(mount.path)
    (mount / "d").mkdir()
    for i in range(20):
        (mount / f"d/f{i:02}").write_bytes(b"x")
    with mount.counting() as requests:
        (mount / "d").rename(mount / "e")
    assert requests == {"list_page": 1, "copy": 21, "delete_many": 2}


def test_what_is_known_is_not_asked_again(host, s3_store):
    """Within the freshness, repeated stats, opens and reads send nothing. [reopen-cached]"""
    s3_store.put("a", b"x" * 100_000)
    mount = host.mount(s3_store, "--freshness", "60")
    (mount / "a").read_bytes()
    with mount.counting() as requests:
        for _ in range(10):
            assert (mount / "a").stat().st_size == 100_000
            assert len((mount / "a").read_bytes()) == 100_000
            assert not (mount / "missing").exists() or True
    assert requests.get("read_range", 0) == 0
    assert sum(requests.values()) <= 2  # the first look for what is missing


def test_a_small_file_is_one_read_request(host, s3_store):
    """After a listing, opening and reading a small cold file costs one request; with its bytes come all of them."""
    for i in range(20):
        s3_store.put(f"d/f{i}", b"x" * 1000)
    mount = host.mount(s3_store, "--freshness", "60")
    os.listdir(mount / "d")
    with mount.counting() as requests:
        for i in range(20):
            assert (mount / "d" / f"f{i}").read_bytes() == b"x" * 1000
    assert requests == {"read_range": 20}


def test_a_write_of_a_small_file_is_one_put(host, s3_store):
    """Creating, writing and closing a file in a known directory sends its bytes once, and nothing else."""
    mount = host.mount(s3_store, "--freshness", "60")
    os.listdir(mount.path)
    with mount.counting() as requests:
        for i in range(10):
            (mount / f"f{i}").write_bytes(b"x" * 1000)
    assert requests == {"put": 10}


def test_what_was_written_is_not_downloaded(host, s3_store):
    """The bytes of a write are the cache of the reads that follow. [write-no-download]"""
    mount = host.mount(s3_store)
    (mount / "a").write_bytes(b"x" * MiB)
    with mount.counting() as requests:
        os.posix_fadvise(fd := os.open(mount / "a", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        assert (mount / "a").read_bytes() == b"x" * MiB
    assert "read_range" not in requests


def test_a_sequential_read_fetches_every_byte_once(host, s3_store):
    """Read-ahead brings each range once: no byte is downloaded twice."""
    s3_store.put("a", b"x" * (40 * MiB))
    mount = host.mount(s3_store)
    with mount.counting() as requests:
        assert len((mount / "a").read_bytes()) == 40 * MiB
    assert mount.status()["cache"]["bytes"] == 40 * MiB
    assert requests["read_range"] <= 12


def test_a_directory_of_many_objects_is_renamed_in_few_deletions(host, s3_store):
    """1100 objects are copied one by one, and deleted a thousand at a time."""
    threads = [
        threading.Thread(target=lambda i=i: [s3_store.put(f"old/f{n:04}", b"x") for n in range(i, 1100, 8)])
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mount = host.mount(s3_store)
    with mount.counting() as requests:
        (mount / "old").rename(mount / "new")
    assert requests["copy"] == 1100
    assert requests.get("delete", 0) == 0
    assert requests["delete_many"] <= 3  # and one for the sidecar, which is the last to go
    found = [key for key in s3_store.keys() if "/.mountd-" not in key]
    assert found == [f"new/f{n:04}" for n in range(1100)]


def test_where_the_machine_decides_two_machines_have_a_conflict(make_host, s3_store):
    """Each of them has one winner; of the two winners the second to close is told, and loses nothing. [excl-machine]"""
    one, two = [make_host().mount(s3_store, "--exclusive", "machine") for _ in range(2)]
    files = [os.open(mount / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY) for mount in (one, two)]
    with pytest.raises(FileExistsError):
        os.open(one / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert s3_store.keys() == []
    for number, file in enumerate(files):
        os.write(file, b"%d" % number)
    os.close(files[0])
    with pytest.raises(OSError) as told:
        os.close(files[1])
    assert told.value.errno == errno.ESTALE
    mine, theirs = sorted(s3_store.keys())
    assert mine == "lock"
    assert theirs.startswith("lock.conflict-")
    assert (s3_store.get(mine), s3_store.get(theirs)) == (b"0", b"1")


def write_arrays(path):
    """Write arrays into one archive, each of several parts."""
    with open(path, "wb") as file:
        np.savez(file, a=np.random.default_rng(1).random(3 * MiB), b=np.random.default_rng(2).random(3 * MiB))


def write_hdf5(path):
    """Write an array into an HDF5 file."""
    with h5py.File(path, "w") as file:
        file["a"] = np.random.default_rng(3).random(6 * MiB)


@pytest.mark.parametrize("write", [write_arrays, write_hdf5])
def test_a_format_that_goes_back_sends_every_byte_once(host, s3_store, write):
    """Its first part waits for what is filled in at the end, while the others go ahead."""
    mount = host.mount(s3_store)
    with mount.counting() as sent:
        write(mount / "a")
    size = (mount / "a").stat().st_size
    assert size > 40 * MiB
    assert sent["put_part"] == -(-size // (8 * MiB))
    assert hashlib.sha256(s3_store.get("a")).digest() == hashlib.sha256((mount / "a").read_bytes()).digest()
