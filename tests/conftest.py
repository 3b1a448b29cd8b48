"""Fixtures for all tests: real servers, started once."""

import pytest

from tests.servers import seaweedfs


@pytest.fixture(scope="session")
def s3_server():
    """A running S3 server; see `tests.servers.S3Server`."""
    with seaweedfs() as server:
        yield server
