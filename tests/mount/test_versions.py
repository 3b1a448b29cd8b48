"""An open file is one version of its object: read on where the bucket keeps versions, ESTALE elsewhere, never a mix."""

import errno
import os

import pytest

MiB = 1024 * 1024
SIZE = 24 * MiB  # more than a reader fetches ahead


@pytest.fixture
def opened(request):
    """Return what opens a cold file and reads its first bytes; it is closed in the end."""
    descriptors = []

    def open_file(path):
        descriptors.append(os.open(path, os.O_RDONLY))
        assert os.pread(descriptors[-1], 10, 0) == b"1" * 10
        return descriptors[-1]

    yield open_file
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_a_bucket_that_keeps_versions_serves_the_one_that_is_open(request, host, opened, kind):
    """After another client has overwritten the object, twice, and after it has deleted it. [read-kept-version]"""
    store = request.getfixturevalue(f"{kind}_store")
    store.keep_versions()
    for name in ("overwritten", "deleted"):
        store.put(name, b"1" * SIZE)
    mount = host.mount(store, "--freshness", "0")
    overwritten, deleted = opened(mount / "overwritten"), opened(mount / "deleted")
    store.put("overwritten", b"2" * SIZE)
    store.put("overwritten", b"3" * SIZE)
    store.delete("deleted")
    for descriptor in (overwritten, deleted):
        for offset in (20 * MiB, 12 * MiB, SIZE - 10):
            assert os.pread(descriptor, 10, offset) == b"1" * 10
    assert (mount / "overwritten").read_bytes() == b"3" * SIZE
    assert not (mount / "deleted").exists()


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_without_versions_the_one_that_is_open_is_stale(request, host, opened, kind):
    """Bytes that were not read before fail with ESTALE once the object is another one, or none. [read-stale]"""
    store = request.getfixturevalue(f"{kind}_store")
    for name in ("overwritten", "deleted"):
        store.put(name, b"1" * SIZE)
    mount = host.mount(store, "--freshness", "0")
    overwritten, deleted = opened(mount / "overwritten"), opened(mount / "deleted")
    store.put("overwritten", b"2" * SIZE)
    store.delete("deleted")
    for descriptor in (overwritten, deleted):
        with pytest.raises(OSError) as failure:
            os.pread(descriptor, 10, 20 * MiB)
        assert failure.value.errno == errno.ESTALE
    assert (mount / "overwritten").read_bytes() == b"2" * SIZE
