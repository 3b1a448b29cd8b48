"""Two mounts of one bucket for all tests of a file, and a directory of it for each test."""

import itertools
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.harness import open_hosts
from tests.kits import Below, open_store
from tests.libraries.places import Place

# How many directories the tests of one file have for themselves.
PLACES = 30


# Servers are started by a fork with an exec right behind it, which is safe. Polars before 2 warns of every fork, which
# is an error here: it would fail whichever test starts the next server.
os.environ["POLARS_ALLOW_FORKING_THREAD"] = "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "library(name): the library that a test is about, see tests/libraries/page.py")


@pytest.fixture(scope="module")
def machines(request):
    """A store, by default S3, its mounts on two machines, and numbers for its directories.

    A folder needs no second machine: it is there to be looked at.
    """
    folder = Path(tempfile.mkdtemp(prefix="mountd-test-"))
    kind = getattr(request, "param", "s3")
    try:
        with open_store(kind, folder, request.getfixturevalue) as store, open_hosts(folder) as make_host:
            writer = make_host().mount(store)
            for number in range(PLACES):
                (writer / f"place{number:02}").mkdir()
            # After them: what it lists it takes for true for a while.
            reader = writer if kind == "local" else make_host().mount(store)
            yield store, writer, reader, itertools.count()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def place(machines, tmp_path):
    """An empty directory; see `Place`."""
    store, writer, reader, numbers = machines
    name = f"place{next(numbers):02}"
    return Place(writer / name, reader / name, Below(store, name), tmp_path)


@pytest.fixture
def remount(machines):
    """Return what unmounts the writer's mount and mounts it again, with another daemon."""
    return machines[1].remount
