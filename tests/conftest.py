"""Fixtures for all tests: real servers, started once, hosts to mount on, and a package that brings a flavor."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from tests.commands import open_commands
from tests.harness import Host, open_hosts
from tests.servers import azurite, fake_gcs, hierarchical, rclone_s3, rclone_webdav, seaweedfs

# How long an example takes is no property of the code on a machine where other tests run.
hypothesis.settings.register_profile("mountd", deadline=None)
hypothesis.settings.load_profile("mountd")


def pytest_addoption(parser):
    group = parser.getgroup("mountd")
    group.addoption("--store", help="run tests/objects/test_contract.py on this store alone: a name, a URI or a path")
    group.addoption("--store-option", action="append", default=[], metavar="KEY=VALUE", help="option of that store")


@pytest.fixture(scope="session", autouse=True)
def commands():
    """What hosts run their commands with."""
    with open_commands() as Host.commands:
        yield
    Host.commands = None


@pytest.fixture(scope="session")
def s3_server():
    """A running S3 server; see `tests.servers.S3Server`."""
    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server():
    """A running server of Google Cloud Storage's API; see `tests.servers.GcsServer`."""
    with fake_gcs() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server():
    """A running server of Azure Blob Storage's API; see `tests.servers.AzureServer`."""
    with azurite() as server:
        yield server


@pytest.fixture(scope="session")
def folders_server(azure_server):
    """A running account of Azure with a hierarchical namespace; see `tests.hierarchical`."""
    with hierarchical(azure_server) as server:
        yield server


@pytest.fixture(scope="session")
def poor_s3_server():
    """A running S3 server without conditions, versions and part copy; see `tests.servers.S3Server`."""
    with rclone_s3() as server:
        yield server


@pytest.fixture(scope="session")
def webdav_server():
    """A running WebDAV server; see `tests.servers.WebdavServer`."""
    with rclone_webdav() as server:
        yield server


@pytest.fixture
def folder():
    """A folder that is gone afterwards; not pytest's, which keeps the last ones."""
    path = Path(tempfile.mkdtemp(prefix="mountd-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_host(folder):
    """Return what makes hosts; all their mounts and processes end with the test."""
    with open_hosts(folder) as make:
        yield make


@pytest.fixture
def host(make_host):
    return make_host()


@pytest.fixture(scope="session")
def installed_flavor(tmp_path_factory):
    """The folder into which pip has installed `tests/flavor_package`; to be put on `PYTHONPATH` or `sys.path`."""
    package = tmp_path_factory.mktemp("package") / "shelf"
    shutil.copytree(Path(__file__).parent / "flavor_package", package)  # a build leaves files behind
    site = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", site)
    subprocess.run([sys.executable, "-m", "pip", "install", *options, package], check=True)
    return site
