"""Files larger than any buffer go both ways, in bounded memory."""

import hashlib
import os

import pytest

from tests.harness import until

MiB = 1024 * 1024
SIZE = 300 * MiB
MEMORY = 400 * MiB


def blocks(seed, size=SIZE):
    """Yield `size` bytes that do not repeat, a MiB at a time."""
    for i in range(size // MiB):
        yield hashlib.shake_128(f"{seed}-{i}".encode()).digest(MiB)


@pytest.fixture(scope="module")
def digest():
    """SHA-256 of the 300 MiB."""
    total = hashlib.sha256()
    for block in blocks("large"):
        total.update(block)
    return total.hexdigest()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_300_mib_go_to_the_store_and_back(make_host, store, digest):
    """Written here, read cold by another machine, with equal checksums and under 400 MiB of memory each."""
    writer = make_host().mount(store)
    with open(writer / "large", "wb") as file:
        for block in blocks("large"):
            file.write(block)
    assert hashlib.sha256(store.get("large")).hexdigest() == digest
    reader = make_host().mount(store)
    assert sha256(reader / "large") == digest
    assert sha256(writer / "large") == digest
    assert writer.peak_memory() < MEMORY
    assert reader.peak_memory() < MEMORY


def test_300_mib_of_another_client_are_read_with_a_small_cache(host, store, digest):
    """A file larger than the cache is read, and twice, though the cache never holds it whole."""
    store.put("large", b"".join(blocks("large")))
    mount = host.mount(store, "--cache-size", "64MiB")
    assert sha256(mount / "large") == digest
    os.posix_fadvise(fd := os.open(mount / "large", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    assert sha256(mount / "large") == digest
    until(lambda: mount.status()["cache"]["bytes"] <= 64 * MiB)  # what came last is still making room
    assert mount.peak_memory() < MEMORY


def test_a_small_edit_of_a_large_object(host, s3_store):
    """4 KiB changed in the middle: the rest is copied inside the store, and the object is whole."""
    data = b"".join(blocks("edit", 64 * MiB))
    s3_store.put("large", data)
    mount = host.mount(s3_store)
    with mount.counting() as requests, open(mount / "large", "r+b") as file:
        file.seek(30 * MiB)
        file.write(b"x" * 4096)
    assert s3_store.get("large") == data[: 30 * MiB] + b"x" * 4096 + data[30 * MiB + 4096 :]
    assert requests["put_part"] <= 2
    assert requests["copy_part"] >= 1
