"""What requests say, noted by a proxy before the server: for what no server of these tests would keep or check."""

import json

import pytest

from mountd.config import MountSettings
from mountd.errors import MountdError, Unsupported
from mountd.objects.interface import Key
from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig
from tests.harness import AzureContainer, Bucket, GcsBucket
from tests.proxy import in_front_of

MiB = 1024 * 1024
SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0})
A, B = Key("a"), Key("b")


@pytest.fixture
def gcs(gcs_server):
    return GcsBucket(gcs_server)


@pytest.fixture
def azure(azure_server, monkeypatch):
    made = AzureContainer(azure_server)
    monkeypatch.setenv("TEST_AZURE_CONNECTION", azure_server.connection_string)
    yield made
    made.client.close()


@pytest.fixture
def s3(s3_server, monkeypatch):
    monkeypatch.setenv("TEST_S3_SECRET", s3_server.secret)
    return Bucket(s3_server)


def config_of(outside, **options):
    return StoreConfig("test", outside.kind, outside.root, outside.options | options)


async def test_google_is_told_everything_when_it_copies_and_composes(gcs, tmp_path):
    """Storage class, custom time and all the rest are in the requests that make objects out of objects."""
    expected = gcs.put_described(A, b"x" * 1000)
    with in_front_of(gcs.server.endpoint) as proxy:
        async with open_store(config_of(gcs, endpoint_url=proxy.url), SETTINGS, data=tmp_path) as opened:
            source = await opened.store.stat(A)
            await opened.store.copy(source, B)
            (copied,) = [json.loads(each.body) for each in proxy.requests if "/rewriteTo/" in each.path]
            assert copied == expected
            upload = await opened.store.open_upload(A, replaces=source.version)
            await upload.put_part(1, 0, b"y")
            await upload.complete([1], expect=source.version)
            composed = [each for each in proxy.requests if each.path.split("?")[0].endswith("/compose")]
            assert json.loads(composed[0].body)["destination"] == expected


async def test_azure_is_shown_where_to_take_a_block_from(azure, azure_server, tmp_path):
    """Taking a range of another blob needs a signature of its own, and names the version. Azurite cannot do it."""
    azure.put("a", b"x" * 1000)
    endpoint = azure_server.endpoint
    with in_front_of(endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_AZURE_CONNECTION", azure_server.connection_string.replace(endpoint, proxy.url))
        async with open_store(config_of(azure), SETTINGS, data=tmp_path) as opened:
            source = await opened.store.stat(A)
            upload = await opened.store.open_upload(B)
            with pytest.raises(Unsupported):
                await upload.copy_part(1, 0, source, 100, 200)
        sent = proxy.requests[-1].headers
        assert sent["x-ms-source-range"] == "bytes=100-299"
        assert sent["x-ms-source-if-match"] == f'"{source.version}"'
        address, _, signature = sent["x-ms-copy-source"].partition("?")
        assert address.endswith(f"/{azure.container}/a")
        assert "sig=" in signature


async def test_azure_keeps_an_encryption_scope(azure, azure_server, tmp_path):
    """What is in a scope stays in it: blocks and lists of blocks name it. (The scope is made up: Azurite has none.)"""
    azure.put("a", b"x" * 1000)
    endpoint = azure_server.endpoint

    def in_scope(request, answer):
        if request.method == "HEAD":
            answer.headers["x-ms-encryption-scope"] = "ours"

    with in_front_of(endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        proxy.spoil_answer = in_scope
        patch.setenv("TEST_AZURE_CONNECTION", azure_server.connection_string.replace(endpoint, proxy.url))
        async with open_store(config_of(azure), SETTINGS, data=tmp_path) as opened:
            source = await opened.store.stat(A)
            upload = await opened.store.open_upload(A, replaces=source.version)
            await upload.put_part(1, 0, b"y")
            made = await upload.complete([1], expect=source.version)
            await opened.store.put(A, b"z", expect=made.version)
            writing = [each for each in proxy.requests if each.method == "PUT"]
            assert [each.headers.get("x-ms-encryption-scope") for each in writing] == ["ours"] * 3
            with pytest.raises(MountdError):
                await opened.store.copy(await opened.store.stat(A), B)
            assert proxy.requests[-1].headers["x-ms-encryption-scope"] == "ours"
