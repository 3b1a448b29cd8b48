"""Stores and mounts on the real kernel, as for the tests of mounts."""

from tests.mount.conftest import (
    azure_store,
    folder,
    gcs_store,
    host,
    local_store,
    make_host,
    mount,
    s3_store,
    store,
)

__all__ = [
    "azure_store",
    "folder",
    "gcs_store",
    "host",
    "local_store",
    "make_host",
    "mount",
    "s3_store",
    "store",
]
