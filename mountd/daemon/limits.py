"""Limits of the daemon's process: no core files, and as many open files as it may have."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path


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
