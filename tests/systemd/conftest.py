"""A bucket that is registered as `prod`."""

import pytest

from tests.kits import Bucket


@pytest.fixture
def bucket(s3_server):
    """An empty bucket with an independent client."""
    return Bucket(s3_server)


@pytest.fixture
def registered(host, bucket):
    """A host whose store `prod` is the bucket."""
    host.environment |= bucket.environment
    pairs = [part for key, value in bucket.options.items() for part in ("--option", f"{key}={value}")]
    host.run("store", "register", "prod", f"--path={bucket.root}", *pairs)
    return host
