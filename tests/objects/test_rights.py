"""What the credentials allow is found out at mount, by requests that change nothing."""

import json
import re
import urllib.parse

import pytest

from mountd.config import MountSettings
from mountd.errors import BadCredentials, Denied
from mountd.objects.interface import Key
from mountd.objects.opening import open_store
from mountd.objects.promises import foreseen, weaknesses
from mountd.stores.store import StoreConfig
from tests.objects.services import Container, Service
from tests.proxy import Answer, answered, azure_error, gcs_error, proxied, s3_error
from tests.servers import AZURITE_KEY

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0.1})
A = Key("a")


def opened_with(container, monkeypatch, credentials):
    """Open the container with credentials as in a connection string."""
    monkeypatch.setenv("TEST_AZURE_CONNECTION", container.server.connect(credentials))
    options = {"connection_string": "env:TEST_AZURE_CONNECTION"}
    return open_store(StoreConfig("test", "azure", f"abfs://{container.name}", options), SETTINGS)


@pytest.fixture
def container(azure_server):
    return Container(azure_server)


@pytest.mark.parametrize(
    ("permissions", "read_only", "deletes"),
    [("rl", True, True), ("rcwl", False, False), ("rcwdl", False, True), ("racwdxltmei", False, True)],
)
async def test_the_permissions_of_a_shared_access_signature_are_found_out(
    container, monkeypatch, permissions, read_only, deletes
):
    """Without `w` the store is read-only, without `d` nothing is deleted, and looking leaves nothing behind."""
    async with opened_with(
        container, monkeypatch, f"SharedAccessSignature={container.signature(permissions)}"
    ) as opened:
        await opened.store.check()
        can = opened.store.capabilities
        assert (await opened.store.read_range(A, 0, 9)).data == b"bytes"
    assert (can.read_only, can.denied_writing) == (read_only, read_only)
    assert read_only or can.deletes == deletes
    with container.server.client() as client:
        assert list(client.get_container_client(container.name).list_blob_names()) == ["a"]


async def test_a_signature_for_listing_alone_denies_reading(container, monkeypatch):
    """It is mounted, as there is something to see; reading is denied when it is asked for."""
    async with opened_with(container, monkeypatch, f"SharedAccessSignature={container.signature('l')}") as opened:
        await opened.store.check()
        assert opened.store.capabilities.read_only
        with pytest.raises(Denied):
            await opened.store.read_range(A, 0, 9)


async def test_wrong_credentials_of_azure_are_told_apart(container, monkeypatch):
    """Another account's key, a key that is none, a signature that has expired or is cut off, one without listing."""
    # Not within an escape like %2B: Azurite would answer 500.
    cut_off = re.sub("%.?$", "", container.signature("rl")[:-9])
    cases = [
        (f"AccountKey={AZURITE_KEY[:-8]}AAAAAA==", BadCredentials, "does not accept the credentials"),
        ("AccountKey=none", BadCredentials, "does not accept the credentials"),
        (f"SharedAccessSignature={container.signature('rl', hours=-1)}", BadCredentials, "does not accept"),
        (f"SharedAccessSignature={cut_off}", BadCredentials, "does not accept"),
        (f"SharedAccessSignature={container.signature('rw')}", Denied, "do not allow listing (permission List)"),
    ]
    for credentials, kind, words in cases:
        async with opened_with(container, monkeypatch, credentials) as opened:
            with pytest.raises(kind) as failed:
                await opened.store.check()
        message = str(failed.value)
        assert words in message
        assert container.name in message
        assert "\n" not in message
        assert AZURITE_KEY not in message
        assert "sig=" not in message


def granting(*permissions):
    """Return the answer of Google Cloud Storage to the question which permissions are granted."""
    return Answer(200, (("Content-Type", "application/json"),)).with_body(
        json.dumps({"kind": "storage#testIamPermissionsResponse", "permissions": permissions}).encode()
    )


@pytest.mark.parametrize(
    ("granted", "prefix", "read_only", "deletes"),
    [
        ((), "", True, True),
        (("storage.objects.create",), "", False, False),
        (("storage.objects.create", "storage.objects.delete"), "", False, True),
        ((), "/team/a", False, True),  # rights to a prefix alone are not seen when the bucket is asked about
    ],
)
async def test_the_permissions_of_google_are_asked_for(gcs_server, monkeypatch, granted, prefix, read_only, deletes):
    """With one request, which changes nothing."""
    with proxied(gcs_server.endpoint) as proxy:
        service = Service("gcs", gcs_server, proxy, monkeypatch)
        rule = proxy.on(lambda request: "testPermissions" in request.path, answered(granting(*granted)))
        service.config = StoreConfig("test", "gcs", service.config.root + prefix, service.config.options)
        async with service.open(SETTINGS) as opened:
            await opened.store.check()
            can = opened.store.capabilities
        assert (can.read_only, can.denied_writing) == (read_only, read_only)
        assert read_only or can.deletes == deletes
        assert rule.seen == 1
        assert [request.method for request in proxy.requests if request.method != "GET"] == []


@pytest.mark.parametrize(
    ("refusal", "matches"),
    [
        (gcs_error(403, "forbidden", "no storage.objects.delete access"), lambda request: request.method == "DELETE"),
        (gcs_error(403, "forbidden", "no storage.objects.create access"), lambda request: request.method == "POST"),
    ],
)
async def test_rights_of_google_that_end_later_deny(gcs_server, monkeypatch, refusal, matches):
    """A refusal after the mount is Denied, and what was there is untouched."""
    with proxied(gcs_server.endpoint) as proxy:
        service = Service("gcs", gcs_server, proxy, monkeypatch)
        async with service.open(SETTINGS) as opened:
            await opened.store.check()
            info = await opened.store.put(A, b"bytes")
            proxy.on(matches, answered(refusal))
            with pytest.raises(Denied):
                await opened.store.copy(info, Key("b"))
                await opened.store.delete(A)
            assert (await opened.store.read_range(A, 0, 9)).data == b"bytes"


async def test_an_account_of_azure_that_forbids_is_told_from_a_wrong_key(azure_server, monkeypatch):
    """The firewall of a storage account answers with a code of its own."""
    with proxied(azure_server.endpoint) as proxy:
        service = Service("azure", azure_server, proxy, monkeypatch)
        words = "This request is not authorized to perform this operation."
        proxy.on(lambda request: True, answered(azure_error(403, "AuthorizationFailure", words)))
        async with service.open(SETTINGS) as opened:
            with pytest.raises(Denied, match=words):
                await opened.store.check()


def names_in(kind, request):
    """Return the names of objects, or the prefixes of listings, that a request is about; none for the bucket."""
    if kind == "gcs":
        parts = [urllib.parse.unquote(each.split("/")[0]) for each in request.target.partition("?")[0].split("/o/")[1:]]
        named = [each.decode() for each in re.findall(rb'"name": ?"([^"]*)"', request.body)]
        listed = [request.query["prefix"]] if "prefix" in request.query else []
        return parts + named + listed
    inside = request.path.split("/", 3 if kind == "azure" else 2)
    key = inside[-1] if len(inside) == (4 if kind == "azure" else 3) else ""
    deleted = [each.decode() for each in re.findall(rb"<Key>(.*?)</Key>", request.body)]
    return [key] if key else deleted or [request.query.get("prefix", "")]


async def test_nothing_outside_the_prefix_is_asked_for(service):
    """Whatever is done to a store below a prefix; Google and Azure are asked once about the whole. [prefix-alone]"""
    config, prefix = service.config, "team/a/"
    service.config = StoreConfig("test", config.flavor, f"{config.root}/team/a", config.options)
    async with service.open(SETTINGS) as opened:
        store = opened.store
        await store.check()
        made = await store.put(A, b"bytes", expect=None)
        await store.copy(made, Key("d/b"))
        upload = await store.open_upload(Key("d/c"))
        await upload.put_part(1, 0, b"part")
        await upload.complete([1])
        await store.list_page(Key(""))
        await store.list_page(Key("d/"), recursive=True)
        await store.read_range(A, 0, 9)
        await store.stat(A)
        await store.delete(A)
    # What the account of Azure is, and what the bucket of Google allows.
    sent = [each for each in service.proxy.requests if each.query.get("restype") != "account"]
    asked = [(each.target, names_in(service.kind, each)) for each in sent]
    assert [each for each in asked if not all(name.startswith(prefix) for name in each[1])] == []
    assert [target for target, names in asked if not names and "testPermissions" not in target] == []


async def test_finding_out_leaves_nothing_in_a_versioned_bucket(s3_server, monkeypatch):
    """No object, no version and no delete marker, in the bucket and below a prefix. [probe-clean]"""
    monkeypatch.setenv("TEST_S3_SECRET", s3_server.secret)
    bucket, client = s3_server.make_bucket(), s3_server.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for root in (f"s3://{bucket}", f"s3://{bucket}/team/a"):
        async with open_store(StoreConfig("test", "s3", root, s3_server.options()), SETTINGS) as opened:
            await opened.store.check()
            assert opened.store.capabilities.conditional_put
            assert opened.store.capabilities.deletes
    left = client.list_object_versions(Bucket=bucket)
    assert left.get("Versions", []) + left.get("DeleteMarkers", []) == []


async def test_what_finding_out_made_on_a_service_without_conditions_is_removed(poor_s3_server, monkeypatch):
    """It takes the put that has to fail; what is weaker there is said."""
    monkeypatch.setenv("TEST_S3_SECRET", poor_s3_server.secret)
    bucket = poor_s3_server.make_bucket()
    config = StoreConfig("test", "s3", f"s3://{bucket}", poor_s3_server.options())
    async with open_store(config, SETTINGS) as opened:
        await opened.store.check()
        can = opened.store.capabilities
    assert not can.conditional_put
    assert [line for line in weaknesses(can) if "O_EXCL" in line]
    assert "Contents" not in poor_s3_server.client().list_objects_v2(Bucket=bucket)


async def test_a_service_without_conditions_or_deletions_is_mounted(poor_s3_server, monkeypatch):
    """What the look left there cannot be removed: that is no reason not to mount, and both are said."""
    monkeypatch.setenv("TEST_S3_SECRET", poor_s3_server.secret)
    with proxied(poor_s3_server.endpoint) as proxy:
        options = poor_s3_server.at(proxy.endpoint).options()
        config = StoreConfig("test", "s3", f"s3://{poor_s3_server.make_bucket()}", options)
        refusal = answered(s3_error(403, "AccessDenied", "Access Denied"))
        proxy.on(lambda request: request.method == "DELETE" or "delete" in request.query, refusal)
        async with open_store(config, SETTINGS) as opened:
            await opened.store.check()
            can = opened.store.capabilities
        assert (can.conditional_put, can.deletes, can.read_only) == (False, False, False)


@pytest.mark.parametrize("kind", ["local", "azure", "fsspec-memory", "fsspec-local"])
async def test_what_is_foreseen_of_a_store_is_what_a_mount_finds(config_of, kind):
    """`mountd store describe` says the same before and after mounting, where the credentials allow everything."""
    config = config_of(kind)
    async with open_store(config, SETTINGS) as opened:
        await opened.store.check()
        assert foreseen(kind.partition("-")[0], config.options) == weaknesses(opened.store.capabilities)
