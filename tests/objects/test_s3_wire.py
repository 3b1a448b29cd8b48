"""Requests to S3 that are put together here, against those of botocore's client, which know best."""

import asyncio
import contextlib
import urllib.parse

import botocore.parsers
import botocore.session
import pytest
import s3fs
from botocore.auth import S3SigV4Auth
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.handlers import decode_list_object_v2

from mountd.config import MountSettings
from mountd.errors import BadCredentials, Misdirected, Unavailable, VersionChanged
from mountd.objects import checksums
from mountd.objects.bridge import Bridge
from mountd.objects.interface import Key
from mountd.objects.s3_listing import moment, parse_listing
from mountd.objects.s3_route import Route
from mountd.objects.s3_shortcut import Shortcut
from mountd.objects.s3_wire import LARGE, Wire, _written
from tests.proxy import answered, changed, proxied, s3_error

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0})
A = Key("a")
ODD = "odd/a b+ü%20~\"'&<>\n"
SOURCE = {"CopySource": {"Bucket": "BUCKET", "Key": ODD}}
PARTS = {"Parts": [{"PartNumber": 1, "ETag": '"0123"', "ChecksumCRC32": "jt9Hdw=="}]}
DESCRIBED = {
    "ContentType": "text/x-test",
    "CacheControl": "no-store",
    "ContentDisposition": "inline",
    "ContentEncoding": "identity",
    "ContentLanguage": "de",
    "Metadata": {"team": "vision", "n": "1"},
    "StorageClass": "STANDARD",
    "Tagging": "a=1&b=2",
}

# Their headers say when and by whom a request was sent; the rest is only announced.
_OF_THE_MOMENT = {"authorization", "x-amz-date", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}
_OF_THE_CONNECTION = {"expect", "accept", "accept-encoding", "connection", "host", "content-length"}


@contextlib.asynccontextmanager
async def both_ways(server, proxy):
    """Yield a file system on a new bucket with `a` and an odd object, its shortcut and the bucket's name."""
    bucket = server.make_bucket()
    options = {"key": server.key, "secret": server.secret, "endpoint_url": proxy.endpoint}
    options["config_kwargs"] = {"response_checksum_validation": "when_required"}
    filesystem = s3fs.S3FileSystem(**options, asynchronous=True, skip_instance_cache=True)
    try:
        for key in (A, ODD):
            await filesystem._call_s3("put_object", Bucket=bucket, Key=key, Body=b"bytes", Metadata={"x": "y"})
        shortcut = Shortcut(filesystem, Bridge(asyncio.get_running_loop()))
        async with shortcut.watching("list_objects_v2"):
            await filesystem._call_s3("list_objects_v2", Bucket=bucket)
        proxy.clear()
        yield filesystem, shortcut, bucket
    finally:
        await filesystem._s3creator.__aexit__(None, None, None)


def plain(request):
    """Return what a request says, without what differs from one to the next."""
    left_out = _OF_THE_MOMENT | _OF_THE_CONNECTION
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() not in left_out}
    target = urllib.parse.urlsplit(request.target)
    return request.method, target.path, sorted(urllib.parse.parse_qsl(target.query, True)), headers, request.body


def told(answer):
    """Return what is used of an answer, and not made anew each time."""
    used = ("ETag", "ContentLength", "ContentRange", "LastModified", "Metadata", "ContentType", "TagSet", "IsTruncated")
    found = {name: answer[name] for name in used if name in answer}
    found["keys"] = [[each[name] for name in ("Key", "Size", "ETag")] for each in answer.get("Contents", ())]
    found["prefixes"] = [each["Prefix"] for each in answer.get("CommonPrefixes", ())]
    found["refused"] = [(each["Key"], each["Code"]) for each in answer.get("Errors", ())]
    return found


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("put_object", {"Key": A, "Body": b"", "IfNoneMatch": "*"}),
        ("put_object", {"Key": "b", "Body": b""}),
        ("put_object", {"Key": ODD, "Body": b"bytes", **DESCRIBED}),
        ("put_object", {"Key": "b", "Body": b"bytes" * 20_000, "IfMatch": '"0123"'}),
        ("head_object", {"Key": A}),
        ("head_object", {"Key": ODD, "IfMatch": '"0123"'}),
        ("head_object", {"Key": "missing"}),
        ("get_object", {"Key": A, "Range": "bytes=1-3"}),
        ("get_object", {"Key": A, "Range": "bytes=5-9"}),
        ("get_object_tagging", {"Key": A}),
        ("list_objects_v2", {"Prefix": "", "MaxKeys": 10, "Delimiter": "/"}),
        ("list_objects_v2", {"Prefix": "odd/", "MaxKeys": 1}),
        ("list_objects_v2", {"Prefix": "+ %ü&<\n"}),
        ("copy_object", {"Key": "b", **SOURCE}),
        (
            "copy_object",
            {"Key": ODD, **SOURCE, "MetadataDirective": "REPLACE", "ContentType": "text/x", "ACL": "private"},
        ),
        ("copy_object", {"Key": "b", **SOURCE, "CopySourceIfMatch": '"0123"', "IfNoneMatch": "*"}),
        ("delete_objects", {"Delete": {"Objects": [{"Key": ODD, "ETag": '"0"'}, {"Key": "c\r\n"}], "Quiet": False}}),
        ("delete_object", {"Key": "missing"}),
        ("create_multipart_upload", {"Key": "b", **DESCRIBED}),
        ("upload_part", {"Key": "b", "UploadId": "none", "PartNumber": 1, "Body": b"x" * 200_000}),
        ("complete_multipart_upload", {"Key": "b", "UploadId": "none", "MultipartUpload": PARTS, "IfMatch": '"0"'}),
        ("abort_multipart_upload", {"Key": "b", "UploadId": "none"}),
        ("upload_part_copy", {"Key": "b", "UploadId": "no", "PartNumber": 2, **SOURCE, "CopySourceRange": "bytes=0-9"}),
    ],
)
def test_requests_and_answers_are_those_of_botocore(method, arguments, s3_server):
    """Both send the same but for what is said of the moment, and give the same answer or the same error."""

    async def send(call, bucket):
        given = {**arguments, "Bucket": bucket}
        if "CopySource" in given:
            given["CopySource"] = {**given["CopySource"], "Bucket": bucket}
        try:
            return told(await call(method, given))
        except ClientError as exc:
            return exc.operation_name, {name: exc.response["Error"].get(name) for name in ("Code", "Message")}

    async def compare(proxy):
        async with both_ways(s3_server, proxy) as (filesystem, shortcut, bucket):

            async def by_botocore(method, given):
                return await getattr(filesystem._s3, method)(**given)

            theirs = await send(by_botocore, bucket)
            ours = await send(shortcut.call, bucket)
        sent = [plain(each) for each in proxy.requests]
        assert len(sent) == 2
        assert sent[0] == sent[1]
        assert ours == theirs

    with proxied(s3_server.endpoint) as proxy:
        asyncio.run(compare(proxy))


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("list_object_versions", {"Prefix": "a"}),
        ("put_object", {"Key": "a", "SSECustomerKey": "0" * 32}),
        ("put_object", {"Key": "a", "Expires": "never"}),
        ("put_object", {"Key": "a", "Metadata": {"name": "Jürgen"}}),
        ("create_multipart_upload", {"Key": "a", "ChecksumAlgorithm": "SHA256"}),
    ],
)
def test_what_botocore_does_more_with_is_left_to_it(method, arguments):
    """Keys of customers need digests, versions another parser."""
    assert not Wire(_route()).takes(method, arguments)


class _Client:
    def __init__(self):
        session = botocore.session.get_session()
        self.meta = self
        self.service_model = session.get_service_model("s3")
        self.config = None


def _route(base="https://bucket.s3.example.com"):
    return Route(base, "eu-west-1", "agent", _Client())


def _signed(base, name, **arguments):
    route = _route(base)
    request = _written(route.client.service_model.operation_model(name), {"Bucket": "b", **arguments}, route)
    S3SigV4Auth(Credentials("k", "s").get_frozen_credentials(), "s3", "eu-west-1").add_auth(request)
    return request


@pytest.mark.parametrize(
    ("base", "name", "arguments", "url"),
    [
        ("https://b.s3", "PutObject", {"Key": "x/y z", "Body": b""}, "https://b.s3/x/y%20z"),
        ("https://s3/b", "PutObject", {"Key": "x/y z", "Body": b""}, "https://s3/b/x/y%20z"),
        ("https://s3/b", "HeadObject", {"Key": "-/../x"}, "https://s3/b/-/../x"),
        ("https://s3/b", "HeadObject", {"Key": "/x//"}, "https://s3/b//x//"),
        ("https://b.s3", "DeleteObjects", {"Delete": {"Objects": []}}, "https://b.s3/?delete"),
        ("https://s3/b", "DeleteObjects", {"Delete": {"Objects": []}}, "https://s3/b?delete"),
        ("https://b.s3", "AbortMultipartUpload", {"Key": "x", "UploadId": "a&b"}, "https://b.s3/x?uploadId=a%26b"),
        (
            "https://s3/b",
            "ListObjectsV2",
            {"Prefix": "a/+"},
            "https://s3/b?list-type=2&prefix=a%2F%2B&encoding-type=url",
        ),
        ("https://b.s3", "ListObjectsV2", {}, "https://b.s3/?list-type=2&encoding-type=url"),
    ],
)
def test_addresses_are_those_of_the_bucket(base, name, arguments, url):
    """Whether the bucket is in the path or in the host."""
    assert _signed(base, name, **arguments).url == url


@pytest.mark.parametrize(("base", "hashed"), [("http://s3/b", True), ("https://s3/b", False)])
def test_bodies_are_signed_where_nothing_else_protects_them(base, hashed):
    """A checksum goes with them always; as botocore has it, over TLS that is enough."""
    request = _signed(base, "PutObject", Key="x", Body=b"bytes")
    assert (request.headers["X-Amz-Content-SHA256"] != "UNSIGNED-PAYLOAD") is hashed
    assert request.headers["x-amz-checksum-crc32"] == checksums.crc32(b"bytes")
    assert "x-amz-checksum-crc32" in request.headers["Authorization"]


def test_a_checksum_that_is_known_is_not_made_again(monkeypatch):
    """That of a part is made in a thread; the loop that sends it has other requests to look after."""
    monkeypatch.setattr(checksums, "crc32", None)
    request = _signed("http://s3/b", "PutObject", Key="x", Body=b"bytes", ChecksumCRC32="AAAAAA==")
    assert request.headers["x-amz-checksum-crc32"] == "AAAAAA=="


PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a%%2B</Prefix>%b
<Contents><Key>a%%2Bb+c&amp;%%C3%%BC</Key><LastModified>2026-11-25T01:54:04.123Z</LastModified>
<ETag>&quot;336311a0&quot;</ETag><Size>123</Size><Owner><ID>x</ID></Owner></Contents>
<Contents><Size> 5 </Size><ETag>"0-2"</ETag><Key>x</Key>
<LastModified>2026-11-25T01:54:04+02:00</LastModified></Contents>
<CommonPrefixes><Prefix>a%%2F/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>
</ListBucketResult>"""
_NAMESPACE = b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@pytest.mark.parametrize("encoding", [b"<EncodingType>url</EncodingType>", b""])
@pytest.mark.parametrize(
    "end",
    [
        b"<IsTruncated>false</IsTruncated>",
        b"<IsTruncated>true</IsTruncated><NextContinuationToken>a/+=</NextContinuationToken>",
        b"",
    ],
)
@pytest.mark.parametrize("namespace", [_NAMESPACE, b"", b' xmlns="urn:other"'])
def test_pages_are_read_as_botocore_reads_them(encoding, end, namespace):
    """Namespaces, order, spaces, entities and encoded names."""
    page = (PAGE % (encoding + end)).replace(_NAMESPACE, namespace)
    model = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2")
    parser = botocore.parsers.create_parser("rest-xml")
    theirs = parser.parse({"status_code": 200, "headers": {}, "body": page}, model.output_shape)
    decode_list_object_v2(theirs, {"encoding_type_auto_set": True})
    for entry in theirs["Contents"]:
        entry.pop("Owner", None)
    ours = parse_listing(page)
    del ours["Digest"]
    assert ours == {name: value for name, value in theirs.items() if name in ours}
    assert ours.keys() == theirs.keys() & {"Contents", "CommonPrefixes", "IsTruncated", "NextContinuationToken"}


def test_a_page_with_the_entries_that_are_known_is_told_without_them():
    """The token that continues the listing may be another one each time."""
    before = parse_listing(PAGE % b"<IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken>")
    page = PAGE % b"<IsTruncated>true</IsTruncated><NextContinuationToken>b&amp;</NextContinuationToken>"
    again = parse_listing(page, before["Digest"])
    told = {"Contents": [], "CommonPrefixes": [], "Digest": before["Digest"], "Unchanged": True}
    assert again == {**told, "IsTruncated": True, "NextContinuationToken": "b&"}
    assert "Unchanged" not in parse_listing(page.replace(b"<Size>", b"<Size>1", 1), before["Digest"])


def test_a_page_that_does_not_say_elsewhere_how_it_goes_on_is_told_whole():
    between = b"</CommonPrefixes><IsTruncated>false</IsTruncated><CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>"
    page = (PAGE % b"").replace(b"</CommonPrefixes>", between, 1)
    whole = parse_listing(page)
    assert whole["IsTruncated"] is False
    assert len(whole["Contents"]) > 0
    assert parse_listing(page, whole["Digest"]) == whole


@pytest.mark.parametrize("body", [b"<html><body>Log in</body></html>", b"<Other/>"])
def test_a_page_of_somebody_else_is_no_listing(body):
    assert parse_listing(body) == {}


@pytest.mark.parametrize("body", [b"", b"no XML", PAGE[:-30]])
def test_a_page_that_is_no_xml_is_refused(body):
    with pytest.raises(botocore.parsers.ResponseParserError):
        parse_listing(body)


@pytest.mark.parametrize(
    "text",
    ["Wed, 25 Nov 2026 01:54:04 GMT", "2026-11-25T01:54:04.000Z", "2026-11-25T01:54:04+00:00", "1795571644"],
)
def test_times_are_read_as_botocore_reads_them(text):
    assert moment(text) == botocore.parsers.DEFAULT_TIMESTAMP_PARSER(text)


def anything(request):
    return True


async def test_every_request_is_sent_once(s3_service):
    """Whatever becomes of it: repeating is somebody else's business."""
    async with s3_service.holding(A, SETTINGS) as (store, made):
        s3_service.proxy.on(anything, answered(s3_service.words["internal"]))
        with pytest.raises(Unavailable):
            await store.put(A, b"1", expect=made.version)
        with pytest.raises(Unavailable):
            await store.delete(A, expect=made.version)
        assert [each.method for each in s3_service.proxy.requests] == ["PUT", "DELETE"]


async def test_a_failure_that_is_told_late_is_one(s3_service):
    """S3 answers copies and completions with 200 before it knows how they end."""
    late = s3_error(200, "InternalError", "We encountered an internal error.")
    async with s3_service.holding(A, SETTINGS) as (store, made):
        s3_service.proxy.on(lambda request: "x-amz-copy-source" in request.headers, answered(late))
        with pytest.raises(Unavailable, match="internal error"):
            await store.copy(made, Key("b"))


async def test_large_bodies_arrive_whole(s3_service):
    """They are sent in pieces, from a view as well."""
    data = bytes(range(256)) * (LARGE // 64)
    async with s3_service.holding(A, SETTINGS) as (store, _):
        await store.put(A, memoryview(bytearray(data)))
        assert (await store.read_range(A, 0, len(data) + 1)).data == data
        upload = await store.open_upload(A)
        await upload.put_part(1, 0, memoryview(data))
        made = await upload.complete([1])
        assert (await store.read_range(A, 0, len(data), version=made.version)).data == data


async def test_a_bucket_that_has_moved_is_found_again(s3_service):
    """A refusal that names another place goes to botocore, which knows how to follow it."""
    refused = s3_error(301, "PermanentRedirect", "Use the specified endpoint.")
    async with s3_service.holding(A, SETTINGS) as (store, made):
        s3_service.proxy.on(anything, answered(refused), times=1)
        assert await store.stat(A) == made
        assert len(s3_service.proxy.requests) == 2
        await store.list_page(Key(""))
        assert await store.stat(A) == made
        s3_service.proxy.on(anything, answered(refused))
        with pytest.raises(Misdirected):
            await store.put(A, b"1", expect=made.version)


def test_connections_that_were_closed_are_made_anew(s3_server):
    """By s3fs, which then has another client."""

    async def close(proxy):
        async with both_ways(s3_server, proxy) as (filesystem, shortcut, bucket):
            asked = {"Bucket": bucket, "Key": A}
            assert await shortcut.call("head_object", asked)
            creator, client = filesystem._s3creator, filesystem._s3
            await creator.__aexit__(None, None, None)
            assert await shortcut.call("head_object", asked) is None
            assert filesystem._s3 is not client
            async with shortcut.watching("list_objects_v2"):
                await filesystem._call_s3("list_objects_v2", Bucket=bucket)
            assert await shortcut.call("head_object", asked)

    with proxied(s3_server.endpoint) as proxy:
        asyncio.run(close(proxy))


async def test_errors_keep_their_words(s3_service):
    async with s3_service.holding(A, SETTINGS) as (store, _):
        with pytest.raises(VersionChanged):
            await store.put(A, b"1", expect="0" * 32)
        s3_service.proxy.on(anything, answered(s3_service.words["expired"]))
        with pytest.raises(BadCredentials, match="renew them"):
            await store.stat(A)


async def test_an_expiry_that_is_no_time_is_no_obstacle(s3_service):
    """Anybody may have written anything there."""
    async with s3_service.holding(A, SETTINGS) as (store, made):
        s3_service.proxy.on(anything, changed(lambda answer: answer.with_header("Expires", "never")))
        assert await store.stat(A) == made
