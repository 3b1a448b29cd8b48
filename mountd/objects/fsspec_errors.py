"""What went wrong in an fsspec file system, as one of the classes of `mountd.errors`."""

from __future__ import annotations

import re

from mountd.errors import (
    BadCredentials,
    Denied,
    MountdError,
    NotFound,
    StoreFailure,
    Unavailable,
    Unsupported,
    from_os_error,
)
from mountd.objects.http_status import of_status

_KINDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[MountdError]], ...] = (
    ((FileNotFoundError, NotADirectoryError), NotFound),
    (PermissionError, Denied),
    (NotImplementedError, Unsupported),
    ((ConnectionError, TimeoutError), Unavailable),
)
_CLIENTS = ("aiohttp", "requests", "urllib3", "httpx")


def translated(exc: Exception, what: object) -> MountdError:
    """Return the domain error for an exception that a request about `what` has raised."""
    if isinstance(exc, MountdError):
        return exc
    if isinstance(exc, FileNotFoundError) and isinstance(exc.__cause__, Exception) and _of_a_client(exc.__cause__):
        exc = exc.__cause__  # a server that is down does not mean that files are gone
    found = _class_of(exc)
    if found is StoreFailure and isinstance(exc, OSError):
        return from_os_error(exc)
    return found(f"{what}: {type(exc).__name__}: {exc}")


def _class_of(exc: Exception) -> type[MountdError]:
    status = getattr(exc, "status", None) or getattr(exc, "status_code", None)
    if isinstance(status, int) and status >= 400:
        return of_status(status)
    if _of_a_client(exc):
        return Unavailable  # what has no status is a failure to talk to the service
    for kind, error in _KINDS:
        if isinstance(exc, kind):
            return error
    if re.search("credential|authenticat", type(exc).__name__, re.IGNORECASE):
        return BadCredentials
    return StoreFailure


def _of_a_client(exc: BaseException) -> bool:
    return type(exc).__module__.partition(".")[0] in _CLIENTS
