"""Every kind of object store, opened as the daemon opens it, on a real service."""

import contextlib
import secrets
from dataclasses import replace

import pytest

from mountd.config import Folders, MountSettings
from mountd.objects.interface import Key
from mountd.objects.memory import MemoryStore
from mountd.objects.opening import open_store
from mountd.stores.options import parse_options
from mountd.stores.registry import Registry
from mountd.stores.store import StoreConfig
from tests.kits import AzureContainer
from tests.objects.services import Service
from tests.proxy import proxied
from tests.writeback.conftest import open_deferral

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
    "webdav",
    "custom",
    "pending",
    "overlaid",
]


@pytest.fixture
def config_of(request, tmp_path, monkeypatch):
    """Return what makes the registration of an empty store of a kind."""

    def fsspec(root):
        return lambda: StoreConfig("test", "fsspec", root)

    def webdav():
        server = request.getfixturevalue("webdav_server")
        return StoreConfig("test", "fsspec", f"webdav://{server.make_folder()}", server.options())

    def custom():
        monkeypatch.syspath_prepend(request.getfixturevalue("installed_flavor"))
        return StoreConfig("test", "shelf", "shelf://team/a", {"file": str(tmp_path / "shelf.db")})

    without_cloud = {
        "local": lambda: StoreConfig("test", "local", str(tmp_path / "store")),
        "fsspec-memory": fsspec(f"memory://{tmp_path.name}"),
        "fsspec-local": fsspec(f"file://{tmp_path}/store"),
        "webdav": webdav,
        "custom": custom,
    }

    def config(kind, **options):
        if kind in without_cloud:
            return without_cloud[kind]()
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


def _names_kinds(marker):
    """Tell whether a test's own list of parameters has the kinds."""
    names = marker.args[0]
    return "kind" in (names.replace(",", " ").split() if isinstance(names, str) else names)


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames and not any(map(_names_kinds, metafunc.definition.iter_markers("parametrize"))):
        metafunc.parametrize("kind", ["given"] if metafunc.config.getoption("store") else KINDS)


@pytest.fixture
async def store(kind, config_of, request, tmp_path):
    """An empty store of each kind, or an empty folder in the one that the command line names."""
    async with contextlib.AsyncExitStack() as stack:
        if kind == "memory":
            yield MemoryStore()
        elif kind in ("pending", "overlaid"):
            opening = open_deferral(tmp_path, MemoryStore(), write_back=kind == "pending")
            yield (await stack.enter_async_context(opening)).store
        elif kind == "given":
            yield await stack.enter_async_context(scratch(request.config))
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


@pytest.fixture
def azure(azure_server, monkeypatch):
    """A container of an Azurite, and an independent client of it."""
    made = AzureContainer(azure_server)
    monkeypatch.setenv("TEST_AZURE_CONNECTION", azure_server.connection_string)
    yield made
    made.client.close()


@contextlib.asynccontextmanager
async def scratch(config):
    """Open an empty folder in the store of the command line for the length of the block, and remove it afterwards."""
    registry = Registry(Folders.of_this_user())
    given = registry.resolve(config.getoption("store"))
    pairs = dict(pair.partition("=")[::2] for pair in config.getoption("store_option"))
    flavor = registry.catalogue.get(given.flavor)
    whole = replace(given, options={**given.options, **parse_options(flavor, given.root, pairs)})
    name = f"mountd-contract-{secrets.token_hex(6)}"
    async with open_store(replace(whole, root=f"{given.root}/{name}"), SETTINGS) as opened:
        await opened.store.check()
        yield opened.store
    async with open_store(whole, SETTINGS) as opened:
        await remove(opened.store, Key(f"{name}/"))


async def remove(store, prefix):
    """Remove all that is below a prefix, the deepest first, as folders have to be empty."""
    cursor, keys = None, [prefix]
    while True:
        page = await store.list_page(prefix, recursive=True, cursor=cursor)
        keys += [info.key for info in page.objects]
        cursor = page.cursor
        if cursor is None:
            break
    for key in sorted(set(keys), key=lambda key: key.rstrip("/").count("/"), reverse=True):
        await store.delete(key)
