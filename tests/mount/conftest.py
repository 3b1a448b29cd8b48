"""Stores and mounts for tests on the real kernel."""

import itertools
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from tests.harness import Corner, open_hosts
from tests.kits import Below, open_store


def _fixture_of(kind):
    """Return a fixture that is an empty store of a kind."""

    @pytest.fixture(name=f"{kind.replace('-', '_')}_store")
    def store(folder, request):
        with open_store(kind, folder, request.getfixturevalue) as made:
            yield made

    return store


# How many directories the tests of one file have for themselves.
CORNERS = 25

local_store = _fixture_of("local")
s3_store = _fixture_of("s3")
gcs_store = _fixture_of("gcs")
azure_store = _fixture_of("azure")
azure_folders_store = _fixture_of("azure-folders")


@pytest.fixture(params=["local", "s3"])
def store(request):
    """An empty store of each kind, with an independent client: `put`, `get`, `delete`, `keys`."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def mount(host, store):
    """The store, mounted."""
    return host.mount(store)


@pytest.fixture(scope="module")
def shared(request):
    """A store of the kind that the parameter names, and its mount, for all tests of a file: mounting is what costs."""
    folder = Path(tempfile.mkdtemp(prefix="mountd-test-"))
    with open_store(request.param, folder, request.getfixturevalue) as store, open_hosts(folder) as make_host:
        mount = make_host().mount(store)
        if request.param == "memory":
            store.seen_at = mount.path
        for number in range(CORNERS):
            (mount / f"test{number:02}").mkdir()
        time.sleep(1.1)  # as long as a directory made here counts as empty, whatever others put there
        yield store, mount, itertools.count()
    shutil.rmtree(folder)


@pytest.fixture
def corner(shared):
    """An empty directory of the shared mount, and the part of the store that is below it."""
    store, mount, numbers = shared
    name = f"test{next(numbers):02}"
    return Below(store, name), Corner(mount, name)
