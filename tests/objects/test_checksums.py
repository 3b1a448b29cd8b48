"""What is damaged between here and the service is never taken for stored, nor served as read."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.config import MountSettings
from mountd.errors import Corrupt, MountdError, NotFound, Unavailable
from mountd.objects import checksums
from mountd.objects.interface import Key
from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig
from tests.proxy import any_request, changed, lost, proxied

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0})
KEY = Key("a")
DATA = b"these are the bytes"


@pytest.fixture(params=["s3", "gcs", "azure"])
def place(request, monkeypatch):
    """Kind of service, and a proxy before it."""
    server = request.getfixturevalue(f"{request.param}_server")
    with proxied(server.endpoint) as proxy:
        monkeypatch.setenv("TEST_S3_SECRET", getattr(server, "secret", ""))
        connection = getattr(server, "connection_string", "").replace(server.endpoint, proxy.endpoint)
        monkeypatch.setenv("TEST_AZURE_CONNECTION", connection)
        options = {"endpoint_url": proxy.endpoint} if request.param != "azure" else {}
        bucket = server.make_container() if request.param == "azure" else server.make_bucket()
        scheme = {"s3": "s3", "gcs": "gs", "azure": "abfs"}[request.param]
        yield StoreConfig("test", request.param, f"{scheme}://{bucket}", server.options() | options), proxy


@pytest.fixture
async def store(place, tmp_path):
    async with open_store(place[0], SETTINGS, data=tmp_path) as opened:
        await opened.store.check()
        yield opened.store


def damage(body):
    """Return a body with other bytes in the place of `DATA`."""
    return body.replace(DATA, DATA.upper())


def spoil(request, forward):
    return forward(dataclasses.replace(request, body=damage(request.body)))


def sums(request):
    """Return the checksums that a request with `DATA` in it brings along."""
    found = [
        value
        for name, value in request.headers.items()
        if name.lower() in ("x-amz-checksum-crc32", "x-amz-checksum-sha256", "content-md5")
    ]
    return found + re.findall(rb'"crc32c": "([^"]+)"', request.body)


async def test_a_body_that_is_damaged_on_its_way_is_not_stored(place, store):
    """The request brings a checksum, and the service, or the comparison with its answer, tells the difference.

    A put, and a part of an upload.
    """
    kind, proxy = place[0].flavor, place[1]
    proxy.on(any_request, spoil)
    with pytest.raises(Corrupt if kind == "gcs" else MountdError):  # the test's server of Google's does not compare
        await store.put(KEY, DATA)
    upload = await store.open_upload(Key("b"))
    with pytest.raises(Corrupt if kind == "gcs" else MountdError):
        await upload.put_part(1, 0, DATA)
    sent = [each for each in proxy.requests if DATA in each.body]
    assert len(sent) == 2
    assert all(sums(each) for each in sent)
    if kind != "gcs":
        with pytest.raises(NotFound):
            await store.stat(KEY)
    proxy.clear()
    await upload.put_part(1, 0, DATA)
    await upload.complete([1])
    assert (await store.read_range(Key("b"), 0, 100)).data == DATA


async def test_a_service_that_reports_another_checksum_is_not_believed(place, store):
    """Where the answer brings the checksum of what was stored, it is compared. Azure's answers bring none."""
    if place[0].flavor == "azure":
        pytest.skip("the service compares by itself, and says no more")

    def lie(answer):
        answer = answer.with_body(re.sub(rb'"crc32c": ?"[^"]+"', b'"crc32c":"AAAAAA=="', answer.body))
        return (
            answer.with_header("x-amz-checksum-crc32", "AAAAAA==") if answer.header("x-amz-checksum-crc32") else answer
        )

    place[1].on(any_request, changed(lie))
    with pytest.raises(Corrupt):
        await store.put(KEY, DATA * 100_000)  # small ones the service alone compares on S3
    upload = await store.open_upload(Key("b"))
    with pytest.raises(Corrupt):
        await upload.put_part(1, 0, DATA)
    await upload.abort()


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.sampled_from(["crc32", "crc32c"]))
def test_checksums_of_parts_give_that_of_the_whole(parts, kind):
    """Without the bytes, whatever the lengths are."""
    of, polynomial = getattr(checksums, kind), getattr(checksums, kind.upper())
    assert checksums.joint([(of(part), len(part)) for part in parts], polynomial) == of(b"".join(parts))


FIRST = b"x" * (5 << 20)  # the least that S3 takes
WHOLE = {
    "s3": [checksums.crc32(FIRST + DATA), checksums.composite([checksums.crc32(FIRST), checksums.crc32(DATA)])],
    "gcs": [checksums.crc32c(FIRST + DATA)],
}


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
async def test_the_checksum_of_a_whole_object_is_compared_with_its_parts(place, store, right):
    """What the service reports when an upload is complete: of all bytes, or S3's composite of the parts' checksums."""
    if place[0].flavor == "azure":
        pytest.skip("the service reports none of blobs made of blocks")

    def is_last(request):
        return request.method == "POST" and (
            "uploadId=" in request.target or request.target.split("?")[0].endswith("/compose")
        )

    for number, whole in enumerate(WHOLE[place[0].flavor]):
        reported = (whole if right else "AAAAAA==").encode()

        def report(answer, reported=reported):
            body = answer.body.replace(b"<ETag>", b"<ChecksumCRC32>" + reported + b"</ChecksumCRC32><ETag>")
            if right:  # where the service reports one by itself, that is the one to be compared
                return answer.with_body(body)
            return answer.with_body(re.sub(rb'"crc32c": ?"[^"]+"', b'"crc32c":"AAAAAA=="', body))

        rule = place[1].on(is_last, changed(report))
        upload = await store.open_upload(Key(f"whole{number}"))
        await upload.put_part(1, 0, FIRST)
        await upload.put_part(2, len(FIRST), DATA)
        if right:
            made = await upload.complete([1, 2])
            assert (await store.read_range(made.key, len(FIRST) - 1, 100)).data == b"x" + DATA
        else:
            with pytest.raises(Corrupt):
                await upload.complete([1, 2])
        assert rule.seen >= 1
        place[1].clear()


async def test_a_lost_answer_to_the_last_request_of_an_upload_is_no_conflict(place, tmp_path):
    """The repeat finds the version changed, by the first attempt: what is there is compared with what was sent."""

    def is_last(request):
        if request.method == "POST" and "uploadId=" in request.target:
            return True
        return request.method in ("PUT", "POST") and any(
            each in request.target for each in ("/rewriteTo/", "comp=blocklist")
        )

    async with open_store(place[0], MountSettings.merge({"retry_budget": 5}), data=tmp_path) as opened:
        await opened.store.check()
        old = await opened.store.put(KEY, b"old")
        rule = place[1].on(is_last, lost, times=1)
        upload = await opened.store.open_upload(KEY, replaces=old.version)
        await upload.put_part(1, 0, DATA)
        made = await upload.complete([1], expect=old.version)
        assert rule.seen == 1
        assert made == await opened.store.stat(KEY)
        assert (await opened.store.read_range(KEY, 0, 100, version=made.version)).data == DATA


async def test_an_object_that_is_damaged_on_its_way_is_not_read(place, store):
    """Where the answer brings a checksum of exactly the bytes in it: whole objects of Google and Azure."""
    if place[0].flavor == "s3":
        pytest.skip("ranges, by which everything is read, have no checksum on S3")
    await store.put(KEY, DATA)

    place[1].on(any_request, changed(lambda answer: answer.with_body(damage(answer.body))))
    with pytest.raises(Unavailable, match="damaged"):
        await store.read_range(KEY, 0, 1000)
