"""What goes wrong with Azure, in our own words, by the service's error codes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from azure.core import exceptions as azure_errors

from mountd.errors import (
    BadCredentials,
    Denied,
    MountdError,
    NotEmpty,
    NotFound,
    Throttled,
    Unavailable,
    Unsupported,
    VersionChanged,
)
from mountd.objects.http_status import of_status

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODES: dict[str, type[MountdError]] = {
    "BlobNotFound": NotFound,
    "ContainerNotFound": NotFound,
    "FilesystemNotFound": NotFound,
    "PathNotFound": NotFound,
    "SourcePathNotFound": NotFound,
    "RenameDestinationParentPathNotFound": NotFound,
    "PathAlreadyExists": VersionChanged,
    "DirectoryNotEmpty": NotEmpty,
    "BlobAlreadyExists": VersionChanged,
    "UnauthorizedBlobOverwrite": VersionChanged,
    "ConditionNotMet": VersionChanged,
    "TargetConditionNotMet": VersionChanged,
    "SourceConditionNotMet": VersionChanged,
    "InvalidBlockList": VersionChanged,  # the blocks that were to be kept are those of an earlier state
    "CannotVerifyCopySource": NotFound,
    "AuthenticationFailed": BadCredentials,
    "InvalidAuthenticationInfo": BadCredentials,
    "NoAuthenticationInformation": BadCredentials,
    "AuthorizationFailure": Denied,
    "AuthorizationPermissionMismatch": Denied,
    "InsufficientAccountPermissions": Denied,
    "ServerBusy": Throttled,
    "OperationTimedOut": Unavailable,
    "InternalError": Unavailable,
    "APINotImplemented": Unsupported,
}


@contextlib.contextmanager
def domain_errors(what: str) -> Iterator[None]:
    """Turn what a request in the block raises into the classes of `mountd.errors`; `what` is the key or container."""
    try:
        yield
    except azure_errors.HttpResponseError as exc:
        named = getattr(exc, "error_code", None) or ""
        code, status = str(getattr(named, "value", named)), exc.status_code or 0
        said = (exc.message or "").partition("\n")[0]
        raise (_CODES.get(code) or of_status(status))(f"{what}: {code or status}: {said}") from exc
    except azure_errors.AzureError as exc:
        raise Unavailable(f"{what}: {exc}") from exc
    except (TimeoutError, OSError) as exc:
        raise Unavailable(f"{what}: {type(exc).__name__}: {exc}") from exc
