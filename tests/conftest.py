"""Fixtures for all tests: real servers, started once."""

import pytest

from tests.servers import azurite, fake_gcs, hierarchical, rclone_s3, seaweedfs


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
