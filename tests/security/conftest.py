"""Stores and mounts on the real kernel, as for the tests of mounts."""

from tests.mount.conftest import (
    azure_store,
    gcs_store,
    local_store,
    mount,
    s3_store,
    store,
)

__all__ = [
    "azure_store",
    "gcs_store",
    "local_store",
    "mount",
    "s3_store",
    "store",
]
