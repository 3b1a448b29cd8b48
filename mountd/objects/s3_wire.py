"""Requests to S3, written, signed and read by botocore's own parts, without the layers between them.

Its serializer, signer and parsers take a tenth of a millisecond each; what costs time are the hundred handlers that may
change a request. Those that do anything to the requests here are done by hand, and what they would not do as they are
is left to botocore's client.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import aiohttp.payload
from aiobotocore.endpoint import convert_to_response_dict
from botocore import xform_name
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserFactory
from botocore.serialize import create_serializer
from botocore.utils import parse_timestamp, percent_encode_sequence

from mountd.objects import checksums
from mountd.objects.bridge import in_thread
from mountd.objects.s3_listing import moment, parse_listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

    from mountd.objects.interface import Buffer
    from mountd.objects.s3_route import Route

_OPERATIONS = {
    xform_name(name): name
    for name in (
        *("PutObject", "HeadObject", "GetObject", "DeleteObject", "DeleteObjects", "CopyObject", "ListObjectsV2"),
        *("CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload"),
        *("GetObjectTagging", "PutObjectTagging"),
    )
}
# Arguments that nothing but the serializer does anything to, or what it is is done here.
_ARGUMENTS = frozenset(
    {"Bucket", "Key", "Body", "Range", "VersionId", "IfMatch", "IfNoneMatch", "RequestPayer", "ACL", "ChecksumCRC32"}
    | {"CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata"}
    | {"WebsiteRedirectLocation", "Tagging", "TaggingDirective", "StorageClass", "ServerSideEncryption"}
    | {"SSEKMSKeyId", "BucketKeyEnabled", "CopySource", "CopySourceIfMatch", "CopySourceRange", "MetadataDirective"}
    | {"Prefix", "Delimiter", "MaxKeys", "ContinuationToken", "Delete"}
    | {"UploadId", "PartNumber", "MultipartUpload"}
)
_CHECKSUM = "x-amz-checksum-crc32"
_BUCKET = "-"  # stands for the bucket, which the route's base names already
# Bodies from here on are hashed in a thread.
LARGE = 64 * 1024
# Objects from here on are announced, so that a service that refuses need not be sent them; it costs a round trip.
ANNOUNCED = 1024 * 1024
_PIECE = 256 * 1024
_FAILED_AFTER_ALL = re.compile(rb"\s*(?:<\?xml[^>]*\?>)?\s*<Error[\s>]")
# The bucket is not where it was asked for.
MOVED = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"})

_serializer = create_serializer("rest-xml", include_validation=False)
_parsers = ResponseParserFactory()
_parsers.set_parser_defaults(timestamp_parser=moment)
_parser = _parsers.create_parser("rest-xml")


class Elsewhere(Exception):
    """The service refuses a request because the bucket is not where it was sent."""


class Wire:
    """Sends requests about one bucket. Runs on the asyncio loop of the route's client."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self._model = route.client.meta.service_model

    def takes(self, method: str, arguments: Mapping[str, Any]) -> bool:
        """Tell whether a request can be sent as botocore's client would do it."""
        return (
            method in _OPERATIONS
            and _ARGUMENTS.issuperset(arguments)
            and all(f"{name}{value}".isascii() for name, value in arguments.get("Metadata", {}).items())
        )

    async def call(self, method: str, arguments: Mapping[str, Any], *, known: bytes = b"") -> dict[str, Any]:
        """Send one request, once, and return the answer as botocore's client does. `known`: see `parse_listing`.

        Raises what that raises; Elsewhere.
        """
        operation = self._model.operation_model(_OPERATIONS[method])
        request = _written(operation, arguments, self.route)
        body = request.data
        if self.route.signed:
            credentials = await self.route.client._get_credentials().get_frozen_credentials()
            signer = S3SigV4Auth(credentials, "s3", self.route.region)
            if len(body) > LARGE:
                await in_thread(signer.add_auth, request)
            else:
                signer.add_auth(request)
        headers = dict(request.headers.items())
        if body or operation.http["method"] in ("PUT", "POST", "DELETE"):
            headers["Content-Length"] = str(len(body))
        sent = _Pieces(body) if len(body) > LARGE else bytes(body) or None
        url, streams = request.url, operation.has_streaming_output
        http = self.route.client._endpoint.http_session
        answer = await http.send(AWSPreparedRequest(request.method, url, headers, sent, streams))
        return _read(operation, await convert_to_response_dict(answer, operation), known)


def _written(operation: Any, arguments: Mapping[str, Any], route: Route) -> AWSRequest:
    """Return a request that is only to be signed."""
    given = {**arguments, "Bucket": _BUCKET}
    body: Buffer = given.pop("Body", b"")
    if isinstance(given.get("CopySource"), dict):
        source = given["CopySource"]
        given["CopySource"] = quote(f"{source['Bucket']}/{source['Key']}", safe="/~")
    if operation.name == "ListObjectsV2":
        given["EncodingType"] = "url"
    written = _serializer.serialize_to_request(given, operation)
    if operation.name in ("DeleteObjects", "CompleteMultipartUpload"):
        body = written["body"].replace(b"\r", b"&#xD;").replace(b"\n", b"&#xA;")
    headers = {"User-Agent": route.user_agent, **written["headers"]}
    context: dict[str, Any] = {"client_config": route.client.meta.config}
    context["has_streaming_input"] = operation.has_streaming_input
    if operation.http_checksum.get("requestAlgorithmMember") and operation.name != "CreateMultipartUpload":
        if _CHECKSUM not in headers:
            headers[_CHECKSUM] = checksums.crc32(body)
        headers["x-amz-sdk-checksum-algorithm"] = "CRC32"
        context["checksum"] = {"request_algorithm": {"in": "header", "name": _CHECKSUM}}
    if len(body) > ANNOUNCED and operation.name == "PutObject":
        headers["Expect"] = "100-continue"
    request = AWSRequest(operation.http["method"], _address(operation, written, route), headers, body)
    request.context.update(context)
    return request


def _address(operation: Any, written: Mapping[str, Any], route: Route) -> str:
    path: str = written["url_path"]
    if operation.http["requestUri"].startswith("/{Bucket}"):  # botocore's client takes that out of its model
        path = path[1 + len(_BUCKET) :]
    if "{Key+}" not in operation.http["requestUri"]:  # of the bucket itself
        path = path.lstrip("/") if urlsplit(route.base).path else "/" + path.lstrip("/")
    query = percent_encode_sequence(written["query_string"])
    return route.base + path + (("&" if "?" in path else "?") + query if query else "")


def _read(operation: Any, answer: dict[str, Any], known: bytes) -> dict[str, Any]:
    """Return what botocore makes of an answer. Raises ClientError, Elsewhere."""
    if answer["status_code"] < 300 and not operation.has_streaming_output:
        if _FAILED_AFTER_ALL.match(answer["body"]):
            answer["status_code"] = 500  # said after the service had begun to answer
        elif operation.name == "ListObjectsV2":
            return parse_listing(answer["body"], known)
    _without_odd_expiry(answer["headers"])
    parsed: dict[str, Any] = _parser.parse(answer, operation.output_shape)
    if answer["status_code"] < 300:
        return parsed
    elsewhere = answer["status_code"] < 400 or parsed["Error"].get("Code") in MOVED
    if elsewhere or (answer["status_code"] == 400 and "x-amz-bucket-region" in answer["headers"]):
        raise Elsewhere(parsed["Error"].get("Code"))
    raise ClientError(parsed, operation.name)


def _without_odd_expiry(headers: Any) -> None:
    """Take out a time that an object expires at where it is none: everybody may write what they like there."""
    try:
        if headers.get("Expires"):
            parse_timestamp(headers["Expires"])
    except (ValueError, RuntimeError):
        del headers["Expires"]


class _Pieces(aiohttp.payload.Payload):
    """A large body, sent from where it is, and by a loop that others have a turn on meanwhile."""

    _autoclose = True

    def __init__(self, value: Buffer) -> None:
        super().__init__(value)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        view = memoryview(self._value)
        for at in range(0, len(view), _PIECE):
            await writer.write(view[at : at + _PIECE])
