"""What an HTTP status says where the service's own error code says nothing more exact."""

from __future__ import annotations

from mountd.errors import (
    BadCredentials,
    Busy,
    Denied,
    MountdError,
    NoSpace,
    NotFound,
    StoreFailure,
    Throttled,
    Unavailable,
    Unsupported,
    VersionChanged,
)

_STATUS: dict[int, type[MountdError]] = {
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
