"""Stores and mounts for tests on the real kernel."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.harness import AzureContainer, Bucket, GcsBucket, Host, LocalFolder


@pytest.fixture
def folder():
    """A folder that is gone afterwards; not pytest's, which keeps the last ones."""
    path = Path(tempfile.mkdtemp(prefix="mountd-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_host(folder):
    """Return what makes hosts; all their mounts and processes end with the test."""
    hosts = []

    def make():
        hosts.append(Host(folder / f"host{len(hosts)}"))
        hosts[-1].folder.mkdir()
        return hosts[-1]

    yield make
    failures = []
    for host in hosts:
        try:
            host.close()
        except AssertionError as exc:
            failures.append(str(exc))
    assert not failures, "\n".join(failures)


@pytest.fixture
def host(make_host):
    return make_host()


@pytest.fixture
def s3_store(s3_server):
    """An empty bucket."""
    return Bucket(s3_server)


@pytest.fixture
def gcs_store(gcs_server):
    """An empty bucket of Google Cloud Storage."""
    return GcsBucket(gcs_server)


@pytest.fixture
def azure_store(azure_server):
    """An empty container of Azure Blob Storage."""
    store = AzureContainer(azure_server)
    yield store
    store.client.close()


@pytest.fixture
def folders_store(folders_server):
    """An empty container of an account with a hierarchical namespace."""
    store = AzureContainer(folders_server)
    yield store
    store.client.close()


@pytest.fixture
def local_store(folder):
    """An empty folder as a store."""
    return LocalFolder(folder / "store")


@pytest.fixture(params=["local", "s3"])
def store(request):
    """An empty store of each kind, with an independent client: `put`, `get`, `delete`, `keys`."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def mount(host, store):
    """The store, mounted."""
    return host.mount(store)
