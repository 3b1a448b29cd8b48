"""What botocore and aiohttp raise, as the classes of `mountd.errors`.

s3fs wraps botocore's errors in OSErrors whose numbers say less than the service did (412 becomes EINVAL, SlowDown
EBUSY), so the service's own error code is looked at first.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore import exceptions as botocore_errors

from mountd.errors import (
    BadCredentials,
    Denied,
    FileTooLarge,
    Misdirected,
    MountdError,
    NameTooLong,
    NoSpace,
    NotFound,
    StoreFailure,
    Throttled,
    Unavailable,
    Unsupported,
    VersionChanged,
)
from mountd.objects.http_status import note_wait, of_status
from mountd.objects.s3_advice import ELSEWHERE, NO_CREDENTIALS, advice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_CODES: dict[str, type[MountdError]] = {
    "NoSuchKey": NotFound,
    "NoSuchBucket": NotFound,
    "NoSuchUpload": NotFound,
    "NoSuchVersion": NotFound,
    "NotFound": NotFound,
    "PreconditionFailed": VersionChanged,
    "ConditionalRequestConflict": Unavailable,  # two conditional writes at once: the loser is asked to try again
    "OperationAborted": Unavailable,
    "AccessDenied": Denied,
    "AllAccessDisabled": Denied,
    "InvalidObjectState": Denied,  # archived
    "InvalidAccessKeyId": BadCredentials,
    "SignatureDoesNotMatch": BadCredentials,
    "ExpiredToken": BadCredentials,
    "InvalidToken": BadCredentials,
    "TokenRefreshRequired": BadCredentials,
    "NotSignedUp": BadCredentials,
    "RequestTimeTooSkewed": BadCredentials,
    "AuthorizationHeaderMalformed": BadCredentials,
    "SlowDown": Throttled,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
    "RequestLimitExceeded": Throttled,
    "TooManyRequests": Throttled,
    "ServiceUnavailable": Unavailable,
    "InternalError": Unavailable,
    "RequestTimeout": Unavailable,
    "IncompleteBody": Unavailable,
    "BadDigest": Unavailable,  # damaged on its way, and refused
    "XAmzContentSHA256Mismatch": Unavailable,
    "EntityTooLarge": FileTooLarge,
    "KeyTooLongError": NameTooLong,
    "QuotaExceeded": NoSpace,
    "XMinioStorageFull": NoSpace,
    "NotImplemented": Unsupported,
    "MethodNotAllowed": Denied,
    **dict.fromkeys(ELSEWHERE, Misdirected),
}
_NO_CREDENTIALS = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.CredentialRetrievalError,
    botocore_errors.ProfileNotFound,
    botocore_errors.TokenRetrievalError,
    botocore_errors.UnauthorizedSSOTokenError,
)


@contextlib.contextmanager
def domain_errors(what: str) -> Iterator[None]:
    """Turn what a request in the block raises into the classes of `mountd.errors`; `what` is the key or bucket."""
    try:
        yield
    except MountdError:
        raise
    except Exception as exc:
        raise _translated(exc, what) from exc


# What the answers must hold that more is made of than "it is done".
_EXPECTED = {
    "list_objects_v2": ("IsTruncated",),
    "head_object": ("ETag",),
    "get_object": ("ETag",),
    "put_object": ("ETag",),
    "copy_object": ("CopyObjectResult", "ETag"),
    "create_multipart_upload": ("UploadId",),
    "upload_part": ("ETag",),
    "upload_part_copy": ("CopyPartResult", "ETag"),
}


def require_ours(method: str, answer: Mapping[str, Any], what: str) -> None:
    """Raise Unavailable for an answer that did not come from S3: the page of a portal on the way, say."""
    found: Any = answer
    for name in _EXPECTED.get(method, ()):
        found = found.get(name)
        if found is None:
            if "Body" in answer:
                answer["Body"].close()
            raise Unavailable(f"{what}: the answer to {method} does not come from an S3 service: it has no {name}")


def code_of(exc: BaseException) -> str:
    """Return the service's error code behind `exc`, empty where there is none."""
    found = _client_error(exc)
    return str(found.response.get("Error", {}).get("Code", "")) if found is not None else ""


def _client_error(exc: BaseException | None) -> botocore_errors.ClientError | None:
    while exc is not None and not isinstance(exc, botocore_errors.ClientError):
        exc = exc.__cause__
    return exc


def _translated(exc: Exception, what: str) -> MountdError:
    client_error = _client_error(exc)
    if client_error is not None:
        return _from_service(client_error, what)
    cause = exc.__cause__ if isinstance(exc, OSError) and isinstance(exc.__cause__, Exception) else exc
    if isinstance(cause, botocore_errors.NoCredentialsError):
        return BadCredentials(f"{what}: {NO_CREDENTIALS}")
    if isinstance(cause, RecursionError):  # botocore looks for the region of a bucket that it was sent away from
        return Misdirected(f"{what}: the service sends requests elsewhere: check the options endpoint_url and region")
    if isinstance(cause, _NO_CREDENTIALS):
        return BadCredentials(f"{what}: {cause}")
    if isinstance(cause, botocore_errors.ParamValidationError):
        return StoreFailure(f"{what}: the request is not valid: {cause}")
    if isinstance(cause, (botocore_errors.ConnectionError, botocore_errors.HTTPClientError)):
        return Unavailable(f"{what}: {cause}")
    if isinstance(cause, (aiohttp.ClientError, TimeoutError, OSError)):
        return Unavailable(f"{what}: {type(cause).__name__}: {cause}")
    return StoreFailure(f"{what}: {type(cause).__name__}: {cause}")


def _from_service(error: botocore_errors.ClientError, what: str) -> MountdError:
    said = error.response.get("Error", {})
    answer = error.response.get("ResponseMetadata", {})
    code, status = str(said.get("Code", "")), int(answer.get("HTTPStatusCode", 0))
    headers = answer.get("HTTPHeaders", {})
    message = advice(said, headers) or str(said.get("Message", "")) or f"HTTP status {status}"
    named = f"{what}: {code}: {message}" if code and not code.isdigit() else f"{what}: {message}"
    if code == "AuthorizationHeaderMalformed" and "Region" in said:
        return Misdirected(named)
    return note_wait(failure(code, status, named), headers)


def failure(code: str, status: int, message: str) -> MountdError:
    """Return the error for a code of the service, or where it gave none for a status of HTTP."""
    return (_CODES.get(code) or of_status(status))(message)
