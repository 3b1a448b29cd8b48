"""What an HTTP status says where the service's own error code says nothing more exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import (
    BadCredentials,
    Busy,
    Denied,
    Misdirected,
    MountdError,
    NoSpace,
    NotFound,
    StoreFailure,
    Throttled,
    Unavailable,
    Unsupported,
    VersionChanged,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATUS: dict[int, type[MountdError]] = {
    301: Misdirected,
    302: Misdirected,
    307: Misdirected,
    308: Misdirected,
    401: BadCredentials,
    403: Denied,
    404: NotFound,
    408: Unavailable,
    409: Unavailable,  # two changes at once: the loser is asked to try again
    412: VersionChanged,
    423: Busy,  # WebDAV: locked, often by a change that is under way
    429: Throttled,
    501: Unsupported,
    503: Throttled,
    507: NoSpace,
}


def of_status(status: int) -> type[MountdError]:
    """Return the class of error for a status."""
    return _STATUS.get(status) or (Unavailable if status >= 500 else StoreFailure)


def note_wait(error: MountdError, headers: Mapping[str, str]) -> MountdError:
    """Return the error with the seconds that the service asks to be left alone for, where it does so."""
    asked = headers.get("retry-after", "") or headers.get("Retry-After", "")
    if isinstance(error, Unavailable) and asked.isdecimal():  # a date is allowed, too; object stores send seconds
        error.retry_after = float(asked)
    return error
