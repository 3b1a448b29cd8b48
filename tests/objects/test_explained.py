"""What a service says in its own terms is told in those of users: what is wrong, and what to do about it."""

import datetime

import pytest

from mountd.config import MountSettings
from mountd.errors import BadCredentials, Denied, Misdirected, NotFound, exit_code_of
from mountd.objects.interface import Key
from mountd.stores.store import StoreConfig
from tests.objects.services import Service
from tests.proxy import answered, gcs_error, proxied, s3_error

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0.1})
A = Key("a")


def anything(request):
    return True


def skewed(minutes):
    """Return the answer of an S3 service whose clock is so many minutes ahead of ours."""
    there = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    message = "The difference between the request time and the current time is too large."
    return s3_error(403, "RequestTimeTooSkewed", message, ServerTime=there.strftime("%Y-%m-%dT%H:%M:%SZ"))


MOVED = "The bucket you are attempting to access must be addressed using the specified endpoint."
REGION = (("x-amz-bucket-region", "eu-west-1"),)
S3_ERRORS = {
    "clock-behind": (lambda: skewed(20), BadCredentials, ["clock", "20 minutes behind", "timedatectl"]),
    "clock-ahead": (lambda: skewed(-31), BadCredentials, ["clock", "31 minutes ahead of", "timedatectl"]),
    "clock": (s3_error(403, "RequestTimeTooSkewed"), BadCredentials, ["clock", "timedatectl"]),
    "region": (
        s3_error(400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong", Region="eu-west-1"),
        Misdirected,
        ["in region eu-west-1", "region=eu-west-1"],
    ),
    "redirect": (s3_error(301, "PermanentRedirect", MOVED, headers=REGION), Misdirected, ["region=eu-west-1"]),
    "endpoint": (
        s3_error(301, "PermanentRedirect", MOVED, Endpoint="b.s3.example.com"),
        Misdirected,
        ["endpoint_url"],
    ),
    "opt-in": (s3_error(400, "IllegalLocationConstraintException", "no"), Misdirected, ["endpoint_url and region"]),
    "expired": (s3_error(400, "ExpiredToken", "The provided token has expired."), BadCredentials, ["expired", "renew"]),
    "unknown": (s3_error(403, "InvalidAccessKeyId", "No such key id."), BadCredentials, ["No such key id."]),
    "denied": (s3_error(403, "AccessDenied", "Access Denied"), Denied, ["do not allow listing", "s3:ListBucket"]),
}


@pytest.mark.parametrize("case", S3_ERRORS)
async def test_an_error_of_s3_is_explained_at_mount(s3_service, case):
    """In one line, which names the bucket and says what to do; the exit code is that of a store that cannot be used."""
    answer, kind, words = S3_ERRORS[case]
    s3_service.proxy.on(anything, answered(answer() if callable(answer) else answer))
    async with s3_service.open(SETTINGS) as opened:
        with pytest.raises(kind) as failed:
            await opened.store.check()
    message = str(failed.value)
    assert [word for word in [*words, s3_service.bucket] if word not in message] == []
    assert "\n" not in message
    assert exit_code_of(failed.value) == 4


async def test_the_region_that_a_service_names_is_used(s3_service):
    """One request that was sent to the wrong region finds out, and the others go to the right one."""
    s3_service.proxy.on(anything, answered(s3_error(301, "PermanentRedirect", MOVED, headers=REGION)), times=1)
    async with s3_service.open(SETTINGS) as opened:
        await opened.store.check()
        await opened.store.put(A, b"bytes")
    regions = [request.headers["Authorization"].split("/")[2] for request in s3_service.proxy.requests]
    assert regions == ["us-east-1"] + ["eu-west-1"] * (len(regions) - 1)


async def test_expired_credentials_are_told_from_a_bad_request(s3_service):
    """The answer to HEAD has no words; what has expired is found out, so that looking at an object is denied."""
    async with s3_service.open(SETTINGS) as opened:
        await opened.store.put(A, b"bytes")
        s3_service.proxy.on(anything, answered(s3_error(400, "ExpiredToken", "The provided token has expired.")))
        store = opened.store
        for request in (lambda: store.stat(A), lambda: store.read_range(A, 0, 9), lambda: store.put(A, b"1")):
            with pytest.raises(BadCredentials):
                await request()


@pytest.mark.parametrize(
    ("word", "kind", "words"),
    [
        ("denied", Denied, "do not allow listing"),
        ("unknown", BadCredentials, "does not accept the credentials"),
        ("expired", BadCredentials, "does not accept the credentials"),
    ],
)
async def test_credentials_that_do_not_serve_are_told_apart(service, word, kind, words):
    """At mount in a line of its own; when it happens later, at once and without repeats. [told-apart]"""
    async with service.open(SETTINGS) as opened:
        await opened.store.check()
        rule = service.proxy.on(anything, answered(service.words[word]))
        with pytest.raises(kind) as failed:
            await opened.store.check()
        assert words in str(failed.value)
        assert service.bucket in str(failed.value)
        assert exit_code_of(failed.value) == 4
        sent = rule.seen
        with pytest.raises(Denied):
            await opened.store.put(A, b"1")
        with pytest.raises(Denied):
            await opened.store.list_page(Key(""))
        assert rule.seen <= sent + 2


async def test_a_bucket_that_is_not_there_is_named(service):
    """And the address, where it is not the cloud's own."""
    config = service.config
    for scheme in ("s3", "gs", "abfs"):
        if config.root.startswith(f"{scheme}://"):
            service.config = StoreConfig("test", config.flavor, f"{scheme}://no-such-one", config.options)
    async with service.open(SETTINGS) as opened:
        with pytest.raises(NotFound, match="no-such-one"):
            await opened.store.check()


async def test_a_project_that_wants_to_be_paid_is_told_from_missing_rights(gcs_server, monkeypatch):
    """Google's own words are kept where they say more than the status."""
    with proxied(gcs_server.endpoint) as proxy:
        service = Service("gcs", gcs_server, proxy, monkeypatch)
        words = "Bucket is a requester pays bucket but no user project provided."
        proxy.on(anything, answered(gcs_error(400, "required", words)))
        async with service.open(SETTINGS) as opened:
            with pytest.raises(Exception, match=words):
                await opened.store.check()
