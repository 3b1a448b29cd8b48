"""How much the kernel reads ahead of a sequential reader of a mount: a setting that root makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The default of 128 KiB makes a sequential reader pay a round trip through the daemon for each of them.
WANTED_KB = 1024


def settings() -> Mapping[str, Path]:
    """Return the setting's file for each mount of this machine, by mount point.

    From mountinfo: the mount's own attributes would ask a daemon, which may not answer.
    """
    with open("/proc/self/mountinfo", "rb") as mounts:
        # The last one counts: mounts can be stacked.
        fields = [line.split()[:5] for line in mounts]
    return {os.fsdecode(each[4].replace(b"\\040", b" ")): _file(each[2].decode()) for each in fields}


def _file(device: str) -> Path:
    return Path(f"/sys/class/bdi/{device}/read_ahead_kb")
