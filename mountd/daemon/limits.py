"""Limits of the daemon's process: no core files, as many open files as it may have, little memory that lies idle, and
no looking for garbage where there is none.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from pathlib import Path

# Source: mallopt(3), malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Bytes that are kept for the next read or part when they are free, and the largest piece that is taken from them.
_KEPT, _PIECE = 64 * 1024 * 1024, 32 * 1024 * 1024

# So many new objects make Python look for cycles among them: a request makes hundreds, and hardly a cycle.
_GARBAGE = 20_000


def forbid_cores() -> None:
    """Let this process leave no core file behind, or, where its limit cannot be set, one without memory.

    Its memory has the store's secrets, and bytes of other people's files. Source: core(5): a limit of 0 does not hold
    where cores go to a program; one of 1 byte does. PR_SET_DUMPABLE is not for this: it would take /proc/self away from
    the daemons of ordinary users.
    """
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        most = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    with contextlib.suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0")


def allow_files() -> None:
    """Raise the usual limit of 1024 open files as far as that goes without rights: programs may open more here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def reuse_memory() -> None:
    """Have all threads take memory from one heap, which keeps what the next piece of a file needs.

    glibc gives each thread a heap of its own, up to eight per core, where the largest pieces that it ever had stay
    behind; and what goes back to the kernel comes back as pages that are cleared first, a fifth of the work of a read
    from the local disk. C libraries other than glibc have no such setting, and no such heaps.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _PIECE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def seldom_collect() -> None:
    """Have Python look for cycles seldom. To be called before the libraries are imported, which is faster then."""
    gc.set_threshold(_GARBAGE)
