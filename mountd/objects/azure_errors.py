"""What goes wrong with Azure, in our own words, by the service's error codes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
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
from mountd.objects.http_status import note_wait, of_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    "Md5Mismatch": Unavailable,  # damaged on its way, and refused
    "APINotImplemented": Unsupported,
}
# What azure-identity says instead is a page about everything that it has tried.
_NO_CREDENTIALS = (
    "no credentials were found: sign in with az login, give the machine an identity, or set the option "
    "connection_string, account_key or sas_token (anon=true for a public container)"
)


@contextlib.contextmanager
def domain_errors(what: str) -> Iterator[None]:
    """Turn what a request in the block raises into the classes of `mountd.errors`; `what` is the key or container."""
    try:
        yield
    except azure_errors.HttpResponseError as exc:
        if not exc.status_code and isinstance(exc, azure_errors.ClientAuthenticationError):
            raise BadCredentials(f"{what}: {_NO_CREDENTIALS}") from exc
        if not exc.status_code or exc.status_code < 300 or isinstance(exc, azure_errors.DecodeError):
            # The answer ended too early, or is not Azure's.
            raise Unavailable(f"{what}: {exc.message}") from exc
        named = getattr(exc, "error_code", None) or ""
        response: Any = exc.response
        headers = response.headers if response else {}
        raise failure(what, exc.status_code, str(getattr(named, "value", named)), exc.message or "", headers) from exc
    except (azure_errors.AzureError, ValueError) as exc:  # the latter for answers that are not Azure's
        raise Unavailable(f"{what}: {exc}") from exc
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise Unavailable(f"{what}: {type(exc).__name__}: {exc}") from exc


def failure(what: str, status: int, code: str, said: str, headers: Mapping[str, str]) -> MountdError:
    """Return what the service means that refuses something with a status, a code of its own and a sentence."""
    line = said.partition("\n")[0]
    kind = _CODES.get(code) or of_status(status)
    if kind is Denied and "failed to authenticate" in line:  # so Azurite; Azure itself has a code for it
        kind = BadCredentials
    return note_wait(kind(f"{what}: {code or status}: {line}"), headers)
