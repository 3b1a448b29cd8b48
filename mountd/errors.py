"""Every failure the system knows, each with its errno and the level at which it is logged.

Library exceptions become one of these classes once, in the module of `objects/` that speaks to the library; the errno
is looked up once, at the boundary to the kernel. No other module knows errno numbers.
"""

from __future__ import annotations

import errno
import logging


class MountdError(Exception):
    """A failure with a meaning; `str()` of it is one line fit for a log or a status report."""

    level = logging.DEBUG


class NotFound(MountdError):
    """No object, bucket, folder or entry under that name."""


class AlreadyExists(MountdError):
    """An exclusive creation met something that is already there."""


class Denied(MountdError):
    """The store, or the file system's own permission check, refuses."""

    level = logging.WARNING


class BadCredentials(Denied):
    """The credentials are missing, malformed, wrong or expired."""


class Misdirected(MountdError):
    """The service says that the store is elsewhere: in another region, at another address."""

    level = logging.WARNING


class NotPermitted(MountdError):
    """The caller may not do this, whatever the permission bits say."""


class VersionChanged(MountdError):
    """A precondition failed: the object is not, or no longer, in the version the request named."""


class Stale(MountdError):
    """The node stands for a version that is no longer the current one; looking the name up again helps."""


class NotADirectory(MountdError):
    """A path component is a file."""


class IsADirectory(MountdError):
    """A file operation met a directory."""


class NotEmpty(MountdError):
    """The directory still has entries."""


class InvalidArgument(MountdError):
    """The request makes no sense, such as moving a directory into itself."""


class NameTooLong(MountdError):
    """A name has more than 255 bytes, or a key more than the service takes."""


class FileTooLarge(MountdError):
    """The file would exceed what the service stores in one object."""


class NoSpace(MountdError):
    """The local disk or the store is full."""

    level = logging.WARNING


class ReadOnly(MountdError):
    """The mount or the store is read-only."""


class Unsupported(MountdError):
    """Not offered here, and never pretended."""


class NeverOffered(MountdError):
    """A kind of request that this mount does not answer at all: the kernel need not send it again."""


class NoAttribute(MountdError):
    """No extended attribute of that name."""


class BadHandle(MountdError):
    """The file handle is unknown, or was not opened for this."""


class Busy(MountdError):
    """In use by somebody else; trying again later can help."""


class Unavailable(MountdError):
    """The store could not be reached, was overloaded, or answered with an internal error. Worth a retry.

    Attributes:
        retry_after: seconds for which the service asks not to be asked again.
    """

    level = logging.WARNING
    retry_after = 0.0


class Throttled(Unavailable):
    """The store asks for fewer requests."""


class DeadlineExceeded(Unavailable):
    """No answer in time."""


class Corrupt(MountdError):
    """Bytes are not what their checksum or length says."""

    level = logging.ERROR


class StoreFailure(MountdError):
    """The store answered with an error that has no other class."""

    level = logging.WARNING


ERRNO: dict[type[MountdError], int] = {
    MountdError: errno.EIO,
    NotFound: errno.ENOENT,
    AlreadyExists: errno.EEXIST,
    Denied: errno.EACCES,
    BadCredentials: errno.EACCES,
    Misdirected: errno.EIO,
    NotPermitted: errno.EPERM,
    VersionChanged: errno.ESTALE,
    Stale: errno.ESTALE,
    NotADirectory: errno.ENOTDIR,
    IsADirectory: errno.EISDIR,
    NotEmpty: errno.ENOTEMPTY,
    InvalidArgument: errno.EINVAL,
    NameTooLong: errno.ENAMETOOLONG,
    FileTooLarge: errno.EFBIG,
    NoSpace: errno.ENOSPC,
    ReadOnly: errno.EROFS,
    Unsupported: errno.ENOTSUP,
    NeverOffered: errno.ENOSYS,
    NoAttribute: errno.ENODATA,
    BadHandle: errno.EBADF,
    Busy: errno.EBUSY,
    Unavailable: errno.EIO,
    Throttled: errno.EIO,
    DeadlineExceeded: errno.EIO,
    Corrupt: errno.EIO,
    StoreFailure: errno.EIO,
}


def errno_of(error: MountdError) -> int:
    """Return the errno that a system call failing with `error` reports."""
    return ERRNO[type(error)]


_LOCAL = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: FileTooLarge,
    errno.ENOENT: NotFound,
    errno.EEXIST: AlreadyExists,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: ReadOnly,
    errno.ENOTDIR: NotADirectory,
    errno.EISDIR: IsADirectory,
    errno.ENOTEMPTY: NotEmpty,
    errno.ENAMETOOLONG: NameTooLong,
    errno.EBUSY: Busy,
    errno.ESTALE: Stale,
}


def from_os_error(error: OSError) -> MountdError:
    """Return the domain error for a failed system call on the local disk."""
    return _LOCAL.get(error.errno or 0, StoreFailure)(str(error))


def is_disconnected(error: OSError) -> bool:
    """Tell whether a system call failed because the daemon of a mount is dead."""
    # The call during which it died, and those that found it dead first, are told that the connection was aborted.
    return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)


def is_unanswered(error: OSError) -> bool:
    """Tell whether a system call failed because the store, or its mount, did not answer: that is no answer "no"."""
    return is_disconnected(error) or error.errno in (errno.EIO, errno.ESTALE)


def is_cross_device(error: OSError) -> bool:
    """Tell whether a rename failed because both ends are not in one file system."""
    return error.errno == errno.EXDEV


# Exit codes of the command line, documented in docs/exit-codes.md.
EXIT_FAILURE = 1  # the operation was understood and failed
EXIT_USAGE = 2  # bad arguments: unknown option, store, flavor; malformed URI
EXIT_CONFIG = 3  # the settings cannot be read or contradict themselves
EXIT_UNREACHABLE = 4  # the store does not answer, does not exist, or refuses the credentials
EXIT_NO_FUSE = 5  # this machine cannot mount: no /dev/fuse, no rights, no fusermount3
EXIT_BUSY = 6  # already mounted, mount point not empty, another daemon holds the store
EXIT_PENDING = 7  # changes are not in the store yet (time ran out); the mount goes on


# What a failure of a store or a mount means for a script; first match wins, everything else is EXIT_FAILURE.
_EXIT_CODES: tuple[tuple[type[MountdError], int], ...] = (
    (Denied, EXIT_UNREACHABLE),
    (Misdirected, EXIT_UNREACHABLE),
    (NotFound, EXIT_UNREACHABLE),
    (Unavailable, EXIT_UNREACHABLE),
    (Busy, EXIT_BUSY),
)


def exit_code_of(error: MountdError) -> int:
    """Return the exit code for a failure of a store or a mount."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_FAILURE)


class UserError(Exception):
    """A mistake that the user can mend: shown as one line, without a traceback.

    Attributes:
        exit_code: the process's exit status, one of the `EXIT_*` constants.
    """

    def __init__(self, message: str, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotMounted(UserError, OSError):
    """The store of a URI is not mounted. No FileNotFoundError: who meets one goes on as if nothing had been stored."""

    def __init__(self, message: str, exit_code: int = EXIT_USAGE) -> None:
        UserError.__init__(self, message, exit_code)
        self.errno = errno.ENOTCONN  # as for a mount whose daemon is dead

    def __str__(self) -> str:
        return str(self.args[0])


class OutOfBounds(UserError, FileNotFoundError):
    """A path or URI that leads out of its store: there is no such file, to those who ask."""

    def __init__(self, message: str, exit_code: int = EXIT_USAGE) -> None:
        UserError.__init__(self, message, exit_code)

    def __str__(self) -> str:
        return str(self.args[0])
