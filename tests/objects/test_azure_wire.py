"""Requests to Azure that are put together here, against those of its client, which knows best."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline import AsyncPipeline
from azure.core.rest import HttpRequest
from azure.storage.blob.aio import BlobPrefix, BlobServiceClient

from mountd.config import MountSettings
from mountd.errors import BadCredentials, NotFound, Unavailable, VersionChanged
from mountd.objects import azure_listing as listing
from mountd.objects import azure_values as values
from mountd.objects.azure import AzureStore
from mountd.objects.azure_wire import Wire
from mountd.objects.interface import ABSENT, Key
from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0})
A = Key("a")
ODD = "odd/a b+ü%20~\"'&<>#?=;:@"


def with_client(azure, act):
    """Return what `act` returns, called with a container's client and the wire beside it."""

    async def main():
        async with BlobServiceClient.from_connection_string(azure.server.connection_string) as client:
            return await act(client.get_container_client(azure.container), Wire(client))

    return asyncio.run(main())


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("prefix", ["", "odd/", "nothing/"])
def test_pages_are_those_of_the_client(azure, recursive, prefix):
    """Names, sizes, versions, times, and where the next one begins."""
    for key in ("a", ODD, "b/c", "b/d/e", "c "):
        azure.put(key, key.encode())

    async def pages(container, wire):
        find = container.list_blobs if recursive else container.walk_blobs
        cursor = None
        while True:
            asked = listing.query(prefix, recursive=recursive, cursor=cursor, limit=2)
            answer = await wire.send("GET", container.url, "container", params=asked)
            page = listing.parse(answer.body, 0)
            told = find(name_starts_with=prefix, results_per_page=2).by_page(cursor)
            items = [item async for item in await anext(told)]
            blobs = [item for item in items if not isinstance(item, BlobPrefix)]
            assert list(page.objects) == [values.info(Key(each.name), each.size, each) for each in blobs]
            assert list(page.prefixes) == [each.name for each in items if isinstance(each, BlobPrefix)]
            assert page.cursor == (told.continuation_token or None)
            cursor = page.cursor
            if cursor is None:
                return

    with_client(azure, pages)


def test_names_that_xml_cannot_hold_are_decoded():
    """The service sends them percent-encoded, and says so."""
    entry = "<Properties><Last-Modified>Sat, 28 Nov 2026 08:57:44 GMT</Last-Modified><Etag>0x1</Etag>%s</Properties>"
    size = "<Content-Length>3</Content-Length>"
    blob = f'<Blob><Name Encoded="true">p/a%EF%BF%BFb</Name>{entry % size}</Blob>'
    page = listing.parse(f"<EnumerationResults><Blobs>{blob}</Blobs><NextMarker/></EnumerationResults>".encode(), 2)
    assert [(each.key, each.size, each.version) for each in page.objects] == [("a\uffffb", 3, "0x1")]
    assert page.cursor is None


def test_a_page_with_the_entries_that_are_known_is_told_without_them():
    """What continues the listing may be another text each time."""
    entry = (
        "<Properties><Last-Modified>Sat, 28 Nov 2026 08:57:44 GMT</Last-Modified><Content-Length>%d</Content-Length>"
    )
    blob = f"<Blob><Name>a</Name>{entry}<Etag>0x1</Etag></Properties></Blob>"
    page = f"<R><Blobs>{blob}</Blobs><NextMarker>%s</NextMarker></R>"
    before = listing.parse((page % (3, "m")).encode(), 0)
    again = listing.parse((page % (3, "n")).encode(), 0, before.digest)
    assert (again.unchanged, again.objects, again.cursor, again.digest) == (True, [], "n", before.digest)
    other = listing.parse((page % (4, "n")).encode(), 0, before.digest)
    assert (other.unchanged, [each.size for each in other.objects]) == (False, [4])


@pytest.mark.parametrize("body", [b"<html></html>", b"not xml", b"", b"<R><Blobs><Blob/></Blobs></R>"])
def test_what_is_no_listing_is_said_to_be_none(body):
    """A portal on the way answers 200, too."""
    with pytest.raises(Unavailable, match="does not come from Azure"):
        listing.parse(body, 0)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_properties_are_those_of_the_client(azure, method):
    """All that a new version of the blob has to carry on, and the checksum of the whole."""
    azure.put_described(A, b"some bytes")

    async def both(container, wire):
        blob = container.get_blob_client(A)
        wanted = {"x-ms-range": "bytes=2-4"} if method == "GET" else {}
        answer = await wire.send(method, blob.url, A, headers=wanted)
        ours, theirs = values.properties_of(answer.headers, 10), await blob.get_blob_properties()
        assert answer.body == (b"me " if wanted else b"")
        assert values.info(A, 10, ours) == values.info(A, theirs.size, theirs)
        kept, known = values.description(ours), values.description(theirs)
        if method == "GET":  # does not tell the tier
            del kept["standard_blob_tier"], known["standard_blob_tier"]
        assert vars(kept.pop("content_settings")) == vars(known.pop("content_settings"))
        assert kept == known
        assert values.checksum(ours) == values.checksum(theirs) is not None

    with_client(azure, both)


@pytest.mark.parametrize("key", [ODD, "a//b", "ü~!$&'()*+,;=[]@^`{|}"])
@pytest.mark.parametrize("signature", ["", "?sv=2025&sig=a%2Bb%3D"])
def test_addresses_are_those_of_the_client(key, signature):
    """With the signature that grants access, where there is one."""
    client = BlobServiceClient(f"http://127.0.0.1:1/account{signature}")
    filesystem = SimpleNamespace(service_client=client)
    store = AzureStore(filesystem, None, container="team", prefix="p/", read_only=False)
    assert store.url(Key(key)) == store.blob(Key(key)).url
    asyncio.run(client.close())


def opened_on(azure):
    """Open the store that is the container."""
    return open_store(StoreConfig("test", "azure", azure.root, azure.options), SETTINGS)


async def play(store, azure):
    """Put, read, list, look at and remove blobs, also where that is refused."""
    for key in (A, Key(ODD)):
        made = await store.put(key, b"bytes" * 1000, expect=ABSENT)
        assert await store.stat(key) == made
        assert (await store.read_range(key, 4, 3, version=made.version)).data == b"sby"
        whole = await store.read_range(key, 0, 5000)
        assert (whole.data, whole.info) == (b"bytes" * 1000, made)
        with pytest.raises(VersionChanged):
            await store.put(key, b"", expect=ABSENT)
        with pytest.raises(VersionChanged):
            await store.read_range(key, 0, 5, version="0x1")
        assert made in (await store.list_page(Key(""), recursive=True)).objects
        again = await store.put(key, b"", expect=made.version)
        assert azure.get(key) == b""
        with pytest.raises(VersionChanged):
            await store.delete(key, expect=made.version)
        await store.delete(key, expect=again.version)
        for gone in (store.stat(key), store.read_range(key, 0, 5)):
            with pytest.raises(NotFound):
                await gone


async def test_nothing_of_that_goes_through_the_layers_of_the_client(azure, monkeypatch):
    """Which would take several times as long."""
    sent = []
    run = AsyncPipeline.run

    async def noted(self, request, **options):
        sent.append(f"{request.method} {request.url}")
        return await run(self, request, **options)

    monkeypatch.setattr(AsyncPipeline, "run", noted)
    async with opened_on(azure) as opened:
        await opened.store.check()
        assert sent  # what the mount asks for once
        sent.clear()
        await play(opened.store, azure)
        assert sent == []


async def test_the_client_does_the_same(azure, monkeypatch):
    """It is asked where the connections are none of the usual ones."""

    async def send(self, *_, **__):
        await self.connect()

    monkeypatch.setattr(Wire, "send", send)
    async with opened_on(azure) as opened:
        await play(opened.store, azure)


def test_tokens_are_those_of_the_credential_and_sent_over_tls_alone():
    """As with the client, which asks for one when the last has expired."""

    class Credential:
        asked = 0

        async def get_token(self, *scopes, **_):
            self.asked += 1
            return AccessToken(f"token {self.asked}", int(time.time()) + 3600)

    async def main():
        async with BlobServiceClient("https://account.blob.core.windows.net", credential=Credential()) as client:
            wire = Wire(client)
            for _ in range(2):
                request = HttpRequest("GET", "https://account.blob.core.windows.net/c/a")
                await wire._sign(request)
                assert request.headers["Authorization"] == "Bearer token 1"
            with pytest.raises(Exception, match=r"TLS|https"):
                await wire._sign(HttpRequest("GET", "http://account.blob.core.windows.net/c/a"))

    asyncio.run(main())


async def test_a_wrong_key_is_named(azure, monkeypatch):
    """The client is not asked again for what the service has said clearly."""
    monkeypatch.setenv("TEST_AZURE_CONNECTION", azure.server.connect(f"AccountKey={'A' * 86}=="))
    async with opened_on(azure) as opened:
        with pytest.raises(BadCredentials, match="does not accept the credentials"):
            await opened.store.check()
