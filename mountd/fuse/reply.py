"""The boundary to the kernel: errors become errno, nodes become attributes.

In pyfuse3 an exception that leaves a handler ends the process, so nothing but FUSEError may get past here.
"""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pyfuse3
import trio

from mountd.errors import DeadlineExceeded, MountdError, StoreFailure, errno_of, from_os_error
from mountd.vfs.nodes import Directory, File, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# The kernel takes timeouts as seconds; for "until further notice" a year will do.
FOREVER = 365 * 86400.0


def reply(
    handler: Callable[P, Coroutine[Any, Any, R]], *, deadline: float = float("inf")
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Wrap a handler: failures reach the caller as errno, bugs as EIO with a trace in the log.

    `deadline`: seconds after which the request fails, because a request that is never answered cannot be killed.
    """

    name = handler.__name__

    @functools.wraps(handler)
    async def answered(*args: P.args, **kwargs: P.kwargs) -> R:
        timings = args[0].watch.operations  # type: ignore[attr-defined]  # of Operations
        begun = time.perf_counter()
        try:
            if deadline == float("inf"):
                return await handler(*args, **kwargs)
            with trio.fail_after(deadline):
                return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as exc:
            error = _domain_error(exc)
            if error is None:
                log.exception("bug: %s%r failed", name, args[1:3])
                error = StoreFailure("internal error")
            else:
                log.log(error.level, "%s: %s", name, error)
            if error.level >= logging.WARNING:
                timings.errors[name] += 1
            raise pyfuse3.FUSEError(errno_of(error)) from exc
        finally:
            timings.add(name, time.perf_counter() - begun)

    return answered


def _domain_error(exc: Exception) -> MountdError | None:
    if isinstance(exc, MountdError):
        return exc
    if isinstance(exc, trio.TooSlowError):
        return DeadlineExceeded("no answer in time")
    return from_os_error(exc) if isinstance(exc, OSError) else None


def attributes(node: Node, valid_for: float) -> pyfuse3.EntryAttributes:
    """Return what the kernel needs to know of a node and may keep for `valid_for` seconds."""
    entry = pyfuse3.EntryAttributes()
    known = node.attributes
    entry.st_ino = node.ino
    entry.entry_timeout = entry.attr_timeout = min(valid_for, FOREVER)
    entry.st_mode = known.mode
    entry.st_nlink = _links(node)
    entry.st_rdev = known.rdev
    entry.st_uid, entry.st_gid = known.uid, known.gid
    entry.st_size = node.size if isinstance(node, File) else 0
    entry.st_blocks = -(-entry.st_size // 512)
    entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns = known.atime_ns, known.mtime_ns, known.ctime_ns
    return entry


def _links(node: Node) -> int:
    if node.unlinked:
        return 0
    if isinstance(node, Directory):
        return 2 + node.subdirectories()
    return max(node.attributes.nlink, 1 + len(node.others)) if isinstance(node, File) else 1


def nothing(valid_for: float) -> pyfuse3.EntryAttributes:
    """Return the answer for a name that does not exist, which the kernel may keep for `valid_for` seconds."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = min(valid_for, FOREVER)
    return entry
