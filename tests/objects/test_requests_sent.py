"""What requests say, noted by a proxy before the server: for what no server of these tests would keep or check."""

import json
import socket

import pytest
from botocore.exceptions import ClientError

from mountd.config import MountSettings
from mountd.errors import MountdError, Unsupported
from mountd.objects.interface import Key
from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig
from tests.kits import Bucket, GcsBucket
from tests.proxy import any_request, changed, proxied

MiB = 1024 * 1024
SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0})
A, B = Key("a"), Key("b")


@pytest.fixture
def gcs(gcs_server):
    return GcsBucket(gcs_server)


@pytest.fixture
def s3(s3_server, monkeypatch):
    monkeypatch.setenv("TEST_S3_SECRET", s3_server.secret)
    return Bucket(s3_server)


def config_of(outside, **options):
    return StoreConfig("test", outside.kind, outside.root, outside.options | options)


async def test_google_is_told_everything_when_it_copies_and_composes(gcs, tmp_path):
    """Storage class, custom time and all the rest are in the requests that make objects out of objects."""
    expected = gcs.put_described(A, b"x" * 1000)
    with proxied(gcs.server.endpoint) as proxy:
        async with open_store(config_of(gcs, endpoint_url=proxy.endpoint), SETTINGS, data=tmp_path) as opened:
            source = await opened.store.stat(A)
            await opened.store.copy(source, B)
            (copied,) = [json.loads(each.body) for each in proxy.requests if "/rewriteTo/" in each.target]
            assert copied == expected
            upload = await opened.store.open_upload(A, replaces=source.version)
            await upload.put_part(1, 0, b"y")
            await upload.complete([1], expect=source.version)
            composed = [each for each in proxy.requests if each.target.split("?")[0].endswith("/compose")]
            assert json.loads(composed[0].body)["destination"] == expected


async def test_azure_is_shown_where_to_take_a_block_from(azure, azure_server, tmp_path):
    """Taking a range of another blob needs a signature of its own, and names the version. Azurite cannot do it."""
    azure.put("a", b"x" * 1000)
    endpoint = azure_server.endpoint
    with proxied(endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_AZURE_CONNECTION", azure_server.connection_string.replace(endpoint, proxy.endpoint))
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

    in_scope = changed(lambda answer: answer.with_header("x-ms-encryption-scope", "ours"))
    with proxied(endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        proxy.on(lambda request: request.method == "HEAD", in_scope)
        patch.setenv("TEST_AZURE_CONNECTION", azure_server.connection_string.replace(endpoint, proxy.endpoint))
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


EVERYWHERE = {"x-amz-request-payer": "requester"}
MAKING = {
    "x-amz-server-side-encryption": "AES256",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-acl": "bucket-owner-full-control",
}


def operation(request):
    """Return what a request asks of S3, as far as these tests tell."""
    query = request.target.partition("?")[2]
    if "x-amz-copy-source" in request.headers:
        return "copy part" if "partNumber" in query else "copy"
    name = {"PUT": "part" if "partNumber" in query else "put", "POST": "begin" if "uploads" in query else "complete"}
    return name.get(request.method, request.method)


async def test_options_reach_the_requests_that_take_them(s3, tmp_path):
    """Encryption, storage class and ACL go with what makes objects, the payer with every request."""
    size = 5 * MiB
    with proxied(s3.server.endpoint) as proxy:
        added = {"ServerSideEncryption": "AES256", "StorageClass": "STANDARD_IA", "ACL": MAKING["x-amz-acl"]}
        config = config_of(s3, endpoint_url=proxy.endpoint, requester_pays=True, s3_additional_kwargs=added)
        settings = MountSettings.merge({"request_deadline": 20, "retry_budget": 0, "copy_limit": size})
        async with open_store(config, settings, data=tmp_path) as opened:
            store = opened.store
            await store.check()
            proxy.clear()
            await store.put(A, b"bytes")
            upload = await store.open_upload(B)
            await upload.put_part(1, 0, b"x" * size)
            await upload.put_part(2, size, b"y")
            large = await upload.complete([1, 2])
            await store.copy(await store.stat(A), Key("c"))
            await store.copy(large, Key("d"))
            await store.read_range(A, 0, 10)
            await store.list_page(Key(""))
            await store.delete(A)
            await store.delete_many({Key("c"): None})
    sent = {operation(each): each.headers for each in proxy.requests}
    assert set(sent) == {"put", "part", "begin", "complete", "copy", "copy part", "HEAD", "GET", "DELETE"}
    for name, headers in sent.items():
        wanted = EVERYWHERE | (MAKING if name in ("put", "begin", "copy") else {})
        assert {header: headers.get(header) for header in EVERYWHERE | MAKING} == {
            header: wanted.get(header) for header in EVERYWHERE | MAKING
        }, name
    assert s3.described("b")["ServerSideEncryption"] == s3.described("d")["ServerSideEncryption"] == "AES256"


async def test_what_an_object_has_goes_before_options_for_new_ones(s3, tmp_path):
    """The storage class stays the object's own, also the plain one, which no answer names; encryption does not."""
    s3.client.put_object(Bucket=s3.bucket, Key="a", Body=b"x", StorageClass="GLACIER_IR", ServerSideEncryption="AES256")
    s3.put("b", b"x")
    added = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "ours", "StorageClass": "STANDARD_IA"}
    with proxied(s3.server.endpoint) as proxy:
        config = config_of(s3, endpoint_url=proxy.endpoint, s3_additional_kwargs=added)
        async with open_store(config, SETTINGS, data=tmp_path) as opened:
            for key, kept in ((A, "GLACIER_IR"), (B, "STANDARD")):
                with pytest.raises(MountdError):  # the server has no such key
                    await opened.store.put(key, b"y", expect=(await opened.store.stat(key)).version)
                sent = proxy.requests[-1].headers
                assert sent["x-amz-storage-class"] == kept
                assert sent["x-amz-server-side-encryption"] == "aws:kms"
                assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "ours"


async def test_objects_can_be_encrypted_with_a_key_of_the_customer(s3, tmp_path):
    """The key goes with every request that reads or writes bytes, the sources of copies included."""
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    with proxied(s3.server.endpoint) as proxy:
        config = config_of(s3, endpoint_url=proxy.endpoint, s3_additional_kwargs=key)
        async with open_store(config, SETTINGS, data=tmp_path) as opened:
            store = opened.store
            await store.check()
            small = await store.put(A, b"bytes")
            small = await store.put(A, b"other", expect=small.version)
            upload = await store.open_upload(B)
            await upload.put_part(1, 0, b"x" * (5 * MiB))
            await upload.put_part(2, 5 * MiB, b"y")
            large = await upload.complete([1, 2])
            await store.copy(small, Key("c"))
            assert (await store.read_range(Key("c"), 0, 10)).data == b"other"
            assert (await store.read_range(B, 5 * MiB - 1, 10)).data == b"xy"
            upload = await store.open_upload(B, replaces=large.version)
            with pytest.raises(Unsupported):  # by the server; AWS does it
                await upload.copy_part(1, 0, large, 0, 5 * MiB)
            assert "x-amz-copy-source-server-side-encryption-customer-key" in proxy.requests[-1].headers
            await upload.abort()
    for name in ("a", "b", "c"):
        with pytest.raises(ClientError):
            s3.get(name)
    assert s3.client.get_object(Bucket=s3.bucket, Key="c", **key)["Body"].read() == b"other"


@pytest.mark.parametrize("style", ["path", "virtual"])
async def test_both_ways_of_addressing_a_bucket(s3, tmp_path, style):
    """As a part of the path, and as the name of a host."""
    with proxied(s3.server.endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        find = socket.getaddrinfo

        def local(host, *arguments, **options):
            # Not every resolver knows the names below `localhost`.
            return find("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **options)

        patch.setattr(socket, "getaddrinfo", local)
        endpoint = proxy.endpoint.replace("127.0.0.1", "localhost")
        config = config_of(s3, endpoint_url=endpoint, config_kwargs={"s3": {"addressing_style": style}})
        async with open_store(config, SETTINGS, data=tmp_path) as opened:
            await opened.store.check()
            made = await opened.store.put(A, b"bytes")
            await opened.store.copy(made, B)
            assert (await opened.store.read_range(B, 0, 10)).data == b"bytes"
    assert s3.get("b") == b"bytes"
    hosts = {each.headers["Host"].partition(":")[0] for each in proxy.requests}
    assert hosts == {f"{s3.bucket}.localhost" if style == "virtual" else "localhost"}


async def test_google_copies_go_on_until_they_are_done(gcs, tmp_path):
    """Large copies, and ones that change the storage class, take several requests with the token of the one before."""
    gcs.put("a", b"bytes")
    tokens = []

    def half(request, forward):
        tokens.append(request.query.get("rewriteToken"))
        if len(tokens) == 3:
            return forward()
        return forward().with_body(json.dumps({"done": False, "rewriteToken": f"token {len(tokens)}"}).encode())

    with proxied(gcs.server.endpoint) as proxy:
        proxy.on(lambda request: "/rewriteTo/" in request.target, half)
        async with open_store(config_of(gcs, endpoint_url=proxy.endpoint), SETTINGS, data=tmp_path) as opened:
            copied = await opened.store.copy(await opened.store.stat(A), B)
            assert copied == await opened.store.stat(B)
    assert tokens == [None, "token 1", "token 2"]
    assert gcs.get("b") == b"bytes"


async def test_azure_copies_are_waited_for(azure, azure_server, tmp_path):
    """What the service has only begun to copy when it answers is there when `copy` returns."""
    azure.put("a", b"bytes")
    endpoint = azure_server.endpoint
    states = ["pending", "pending", "success"]

    def slow(request, forward):
        answer = forward()
        if "x-ms-copy-source" in request.headers:
            return answer.with_header("x-ms-copy-status", "pending")
        if request.method == "HEAD" and answer.header("x-ms-copy-status") and states:
            return answer.with_header("x-ms-copy-status", states.pop(0))
        return answer

    with proxied(endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_AZURE_CONNECTION", azure_server.connection_string.replace(endpoint, proxy.endpoint))
        async with open_store(config_of(azure), SETTINGS, data=tmp_path) as opened:
            source = await opened.store.stat(A)
            proxy.on(any_request, slow)
            copied = await opened.store.copy(source, B)
            assert states == []
            assert copied == await opened.store.stat(B)
