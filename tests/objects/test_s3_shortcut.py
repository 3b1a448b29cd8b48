"""When requests to S3 go past botocore's layers, and what is made of what happens to them then."""

import asyncio

import botocore.awsrequest
import pytest
import s3fs
from botocore.exceptions import ClientError

from mountd.config import MountSettings
from mountd.errors import BadCredentials, Denied, NotFound, Throttled, Unavailable, VersionChanged
from mountd.objects.interface import Key
from mountd.objects.s3_obstore import NotUnderstood, _understood, takes
from mountd.objects.s3_route import obstacle, obstacle_to_obstore, route_of
from tests.proxy import Answer, answered, changed, cut, s3_error

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0})
PATIENT = MountSettings.merge({"request_deadline": 20, "retry_budget": 10})
A = Key("a")
ENDPOINT = "https://s3.example.com"
CONFIG = {"response_checksum_validation": "when_required"}  # which is mountd's
KEYS = {"key": "k", "secret": "s"}
# Of requests that are signed, as botocore does it, and in ways that nothing here knows.
SIGNED = "AWS4-HMAC-SHA256 Credential=k/20261125/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=abc"
EXPRESS = {"Authorization": SIGNED, "x-amz-s3session-token": "t"}


@pytest.fixture
def environment(monkeypatch):
    """Without what the machine of the tests says of proxies and authorities."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def looked_at(options, look):
    """Return what `look` says of a file system with these options and the client that it makes."""

    async def ask():
        given = {**options, "config_kwargs": CONFIG | options.get("config_kwargs", {})}
        filesystem = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True, **given)
        client = await filesystem.set_session()
        try:
            return look(filesystem, client)
        finally:
            await filesystem._s3creator.__aexit__(None, None, None)

    return asyncio.run(ask())


def route(client, base=ENDPOINT, **headers):
    """Return the route that is seen in a listing with these headers."""
    request = botocore.awsrequest.AWSPreparedRequest("GET", f"{base}/bucket?list-type=2", headers, b"", False)
    return route_of(request, client)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"anon": True}, None),
        (KEYS, None),
        ({**KEYS, "endpoint_url": ENDPOINT, "client_kwargs": {"region_name": "r", "verify": "/ca.pem"}}, None),
        ({**KEYS, "config_kwargs": {"s3": {"addressing_style": "path"}}}, None),
        ({**KEYS, "config_kwargs": {"proxies": {"https": "http://proxy:3128"}}}, None),
        ({**KEYS, "config_kwargs": {"signature_version": "s3"}}, "a way to sign"),
        ({**KEYS, "config_kwargs": {"request_checksum_calculation": "when_required"}}, "config_kwargs"),
        ({**KEYS, "config_kwargs": {"response_checksum_validation": "when_supported"}}, "checks of answers"),
        ({**KEYS, "config_kwargs": {"user_agent_extra": "x"}}, "config_kwargs"),
        ({**KEYS, "config_kwargs": {"s3": {"payload_signing_enabled": True}}}, "settings of S3"),
        ({**KEYS, "config_kwargs": {"s3": {"use_accelerate_endpoint": True}}}, "settings of S3"),
        ({**KEYS, "client_kwargs": {"aws_account_id": "1"}}, "client_kwargs"),
        ({**KEYS, "cache_regions": True}, "a client for each region"),
    ],
)
def test_what_is_not_known_to_be_harmless_is_an_obstacle(options, reason, environment):
    """Options of the store, as s3fs and botocore have understood them."""
    assert looked_at(options, obstacle) == reason


def test_settings_of_the_environment_count_too(environment):
    """botocore reads many."""
    environment.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    assert looked_at(KEYS, obstacle) == "less checksums"


@pytest.mark.parametrize(
    ("options", "variables", "reason"),
    [
        (KEYS, {}, None),
        ({**KEYS, "s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}, {}, None),
        ({**KEYS, "requester_pays": True}, {}, "arguments of each request"),
        ({**KEYS, "s3_additional_kwargs": {"SSECustomerKey": "x"}}, {}, "arguments of each request"),
        ({**KEYS, "config_kwargs": {"client_cert": "/c.pem"}}, {}, "a certificate of the client"),
        ({**KEYS, "config_kwargs": {"proxies": {"https": "http://proxy:3128"}}}, {}, "a proxy"),
        (KEYS, {"https_proxy": "http://proxy:3128"}, "a proxy"),
        (KEYS, {"https_proxy": "http://proxy:3128", "no_proxy": "example.com"}, "a proxy"),
        ({**KEYS, "client_kwargs": {"verify": "/ca.pem"}}, {}, "authorities to trust"),
        ({**KEYS, "client_kwargs": {"verify": False}}, {}, "authorities to trust"),
        (KEYS, {"AWS_CA_BUNDLE": "/ca.pem"}, "authorities to trust"),
        (KEYS, {"AWS_SSE_CUSTOMER_KEY_BASE64": "x"}, "variables"),
    ],
)
def test_what_obstore_would_do_otherwise_is_an_obstacle_to_it(options, variables, reason, environment):
    """It trusts more, sees proxies differently, and adds nothing to requests."""
    for name, value in variables.items():
        environment.setenv(name, value)

    def look(filesystem, client):
        return obstacle_to_obstore(filesystem, route(client, Authorization=SIGNED))

    assert looked_at(options, look) == reason


@pytest.mark.parametrize(
    ("options", "headers", "region"),
    [
        (KEYS, {"Authorization": SIGNED}, "eu-west-1"),
        (KEYS, {"Authorization": SIGNED.encode()}, "eu-west-1"),
        ({"anon": True}, {}, ""),
        (KEYS, {}, None),
        (KEYS, EXPRESS, None),
        (KEYS, {"Authorization": SIGNED.replace("/s3/", "/s3express/")}, None),
        (KEYS, {"Authorization": SIGNED.replace("HMAC", "ECDSA-P256")}, None),
        (KEYS, {"Authorization": "AWS k:abc"}, None),
    ],
)
def test_the_route_is_seen_in_what_botocore_sends(options, headers, region, environment):
    """Where it is signed in no other way than the common one."""
    found = looked_at(options, lambda _, client: route(client, **headers))
    assert (found and (found.base, found.region)) == (None if region is None else (f"{ENDPOINT}/bucket", region))


@pytest.mark.parametrize("name", ["", "a/", "/a", "a//b", ".", "a/../b", "a\tb", "a\x7f"])
def test_names_that_obstore_would_change_are_not_given_to_it(name):
    assert not takes(name)


def said(status, reason, body):
    return Exception(
        f"Generic S3 error: Error performing GET http://x/y in 1ms - Server returned non-2xx status code: {status} "
        f'{reason}: {body}\n\nDebug source:\nGeneric {{\n    store: "S3",\n}}'
    )


@pytest.mark.parametrize(
    ("status", "code"), [(404, "NoSuchKey"), (412, "PreconditionFailed"), (403, "AccessDenied"), (500, "InternalError")]
)
def test_answers_of_the_service_are_understood(status, code):
    """Code, message and the rest of the body become what botocore makes of them."""
    body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>no: it\n\nis not</Message><Key>k</Key></Error>'
    found = _understood(said(status, "Some Reason", body), "k")
    assert isinstance(found, ClientError)
    assert found.response["Error"] == {"Code": code, "Message": "no: it\n\nis not", "Key": "k"}
    assert found.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize("body", ["", "<html><p>Forbidden", "<Error><Code>", "text"])
def test_answers_that_say_nothing_have_their_status(body):
    assert _understood(said(403, "Forbidden", body), "k").response["Error"]["Code"] == "403"


@pytest.mark.parametrize(
    "error",
    [
        said(503, "Service Unavailable", "<Error><Code>SlowDown</Code></Error>"),
        said(301, "Moved Permanently", ""),
        Exception("Generic S3 error: Received non-partial response when range requested\n\nDebug source:\n..."),
        Exception("Server returned non-2xx status code: 404"),
        ValueError("Could not parse path"),
    ],
)
def test_everything_else_is_asked_of_botocore(error):
    assert isinstance(_understood(error, "k"), NotUnderstood)


def reads(request):
    return request.method == "GET" and request.path.endswith("/a")


def by_botocore(request):
    return "boto" in request.headers["User-Agent"].lower()


async def test_ranges_are_read_past_botocore(s3_service):
    """Bytes, size, time and version are those that its client brings."""
    async with s3_service.holding(A, SETTINGS) as (store, made):
        chunk = await store.read_range(A, 5, 100, version=made.version)
        assert chunk.data == b"bytes"
        assert chunk.info == await store.stat(A)
        asked = [each for each in s3_service.proxy.requests if reads(each)]
        assert [by_botocore(each) for each in asked] == [False]
        with pytest.raises(VersionChanged):
            await store.read_range(A, 0, 1, version="0" * 32)
        with pytest.raises(NotFound):
            await store.read_range(Key("b"), 0, 1)
        assert (await store.read_range(A, 10, 5)).data == b""


@pytest.mark.parametrize(
    ("word", "error"), [("denied", Denied), ("unknown", BadCredentials), ("expired", BadCredentials)]
)
async def test_refusals_are_named_as_ever(s3_service, word, error):
    async with s3_service.holding(A, SETTINGS) as (store, made):
        s3_service.proxy.on(reads, answered(s3_service.words[word]))
        with pytest.raises(error):
            await store.read_range(A, 0, 10, version=made.version)


async def test_a_busy_service_is_not_asked_the_short_way_again_at_once(s3_service):
    """So that how long it asks to be left alone is heard."""
    async with s3_service.holding(A, SETTINGS) as (store, made):
        s3_service.proxy.on(reads, answered(s3_service.words["throttled"].with_header("Retry-After", "1")))
        with pytest.raises(Throttled) as failed:
            await store.read_range(A, 0, 10, version=made.version)
        assert failed.value.retry_after == 1.0
        assert all(by_botocore(each) for each in s3_service.proxy.requests[1:])


@pytest.mark.parametrize(
    "act",
    [
        cut(3),
        changed(lambda answer: answer.with_body(answer.body[:-1])),
        changed(lambda answer: answer.with_header("Content-Range", "bytes 1-10/10")),
        answered(s3_error(500, "InternalError", "We encountered an internal error.")),
    ],
)
async def test_a_read_that_goes_wrong_once_is_done_again(s3_service, act):
    """And never is less believed to be all."""
    async with s3_service.holding(A, PATIENT) as (store, made):
        rule = s3_service.proxy.on(reads, act, times=1)
        assert (await store.read_range(A, 0, 10, version=made.version)).data == b"some bytes"
        assert rule.left == 0


async def test_a_service_without_ranges_is_read_by_botocore(s3_service):
    """Its answers hold all of the object, whatever was asked for."""
    async with s3_service.holding(A, SETTINGS) as (store, made):
        said = (("ETag", f'"{made.version}"'), ("Last-Modified", "Wed, 25 Nov 2026 01:54:04 GMT"))
        s3_service.proxy.on(reads, answered(Answer(200, said).with_body(b"some bytes")))
        assert (await store.read_range(A, 5, 2, version=made.version)).data == b"by"


async def test_large_ranges_are_not_copied(s3_service):
    """What obstore has received is handed on as a view."""
    async with s3_service.holding(A, SETTINGS) as (store, _):
        data = bytes(range(256)) * 1024
        await store.put(A, data)
        chunk = await store.read_range(A, 0, len(data))
        assert isinstance(chunk.data, memoryview)
        assert chunk.data == data


async def test_a_connection_that_breaks_is_unavailable(s3_service):
    async with s3_service.holding(A, SETTINGS) as (store, made):
        s3_service.proxy.on(reads, cut(3))
        with pytest.raises(Unavailable):
            await store.read_range(A, 0, 10, version=made.version)
