"""Every kind of object store, opened as the daemon opens it, on a real service."""

import contextlib

import pytest

from mountd.config import MountSettings
from mountd.objects.memory import MemoryStore
from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig
from tests.objects.services import Service
from tests.proxy import proxied

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 5})
KINDS = [
    "memory",
    "local",
    "s3",
    "s3-prefix",
    "s3-poor",
    "gcs",
    "gcs-prefix",
    "azure",
    "azure-prefix",
    "azure-folders",
    "fsspec-memory",
    "fsspec-local",
]


@pytest.fixture
def config_of(request, tmp_path, monkeypatch):
    """Return what makes the registration of an empty store of a kind."""

    def config(kind, **options):
        if kind == "local":
            return StoreConfig("test", "local", str(tmp_path / "store"))
        if kind == "fsspec-memory":
            return StoreConfig("test", "fsspec", f"memory://{tmp_path.name}")
        if kind == "fsspec-local":
            return StoreConfig("test", "fsspec", f"file://{tmp_path}/store")
        prefix = "/team/a" if kind.endswith("-prefix") else ""
        if kind.startswith("gcs"):
            server = request.getfixturevalue("gcs_server")
            return StoreConfig("test", "gcs", f"gs://{server.make_bucket()}{prefix}", server.options() | options)
        if kind.startswith("azure"):
            server = request.getfixturevalue("folders_server" if kind == "azure-folders" else "azure_server")
            monkeypatch.setenv("TEST_AZURE_CONNECTION", server.connection_string)
            root = f"abfs://{server.make_container()}{prefix}"
            return StoreConfig("test", "azure", root, server.options() | options)
        server = request.getfixturevalue("poor_s3_server" if kind == "s3-poor" else "s3_server")
        monkeypatch.setenv("TEST_S3_SECRET", server.secret)
        return StoreConfig("test", "s3", f"s3://{server.make_bucket()}{prefix}", server.options() | options)

    return config


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
async def store(kind, config_of, tmp_path):
    """An empty store of each kind."""
    async with contextlib.AsyncExitStack() as stack:
        if kind == "memory":
            yield MemoryStore()
        else:
            opened = await stack.enter_async_context(open_store(config_of(kind), SETTINGS, data=tmp_path / "state"))
            await opened.store.check()
            yield opened.store


@pytest.fixture(params=["s3", "gcs", "azure"])
def service(request, monkeypatch):
    """An empty store of each cloud's kind behind a proxy; see `tests.objects.services.Service`."""
    server = request.getfixturevalue(f"{request.param}_server")
    with proxied(server.endpoint) as proxy:
        yield Service(request.param, server, proxy, monkeypatch)


@pytest.fixture
def s3_service(s3_server, monkeypatch):
    """An empty S3 store behind a proxy; see `tests.objects.services.Service`."""
    with proxied(s3_server.endpoint) as proxy:
        yield Service("s3", s3_server, proxy, monkeypatch)
