"""No core files: the memory of a daemon has the store's secrets, and bytes of other people's files."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path


def forbid() -> None:
    """Let this process leave no core file behind, or, where its limit cannot be set, one without memory.

    Source: core(5). A limit of 0 does not hold where cores go to a program; one of 1 byte does. PR_SET_DUMPABLE is not
    for this: it would take /proc/self away from the daemons of ordinary users.
    """
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        most = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    with contextlib.suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0")
