"""One kernel mount: set up, tuned, served and taken down."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import pyfuse3
import trio

from mountd.errors import Unavailable
from mountd.fuse import readahead
from mountd.fuse.operations import Operations

if TYPE_CHECKING:
    from pathlib import Path

    from mountd.config import MountSettings
    from mountd.metrics import Watch
    from mountd.vfs.filesystem import FileSystem

log = logging.getLogger(__name__)

# Requests served at a time. Each costs a buffer of 1 MiB once it has been used, and most of them only wait.
MAX_TASKS = 64


async def serve(
    fs: FileSystem,
    mount_point: Path,
    settings: MountSettings,
    watch: Watch,
    *,
    name: str,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Mount `fs` at `mount_point` and answer the kernel until it is unmounted or `stop` is called.

    `watch` counts what is asked. `name` is shown as the source in /proc/mounts. Raises Unavailable when the kernel
    refuses the mount.
    """
    try:
        pyfuse3.init(Operations(fs, watch), str(mount_point), _options(settings, name))
    except RuntimeError as exc:
        raise Unavailable(f"the kernel refused to mount at {mount_point}: {exc}") from exc
    fs.kernel.drop = pyfuse3.invalidate_entry
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tune, mount_point)
            task_status.started()
            await pyfuse3.main(max_tasks=MAX_TASKS)
            nursery.cancel_scope.cancel()
    finally:
        fs.kernel.drop = None
        pyfuse3.close(unmount=True)


def stop() -> None:
    """End `serve`, from the same trio run; open files lose their connection."""
    pyfuse3.terminate()


def _options(settings: MountSettings, name: str) -> set[str]:
    options = {"default_permissions", "subtype=mountd", f"fsname={_escaped(name)}", "nosuid", "nodev"}
    if settings.read_only:
        options.add("ro")
    if settings.allow_other:
        options.add("allow_other")
    return options


def _escaped(name: str) -> str:
    # libfuse splits options at commas; a backslash keeps one.
    return name.encode("ascii", "replace").decode().replace("\\", "\\\\").replace(",", "\\,")


async def _tune(mount_point: Path) -> None:
    """Ask for larger reads where this process may (root); without the right, reads are smaller and nothing else."""
    setting = readahead.settings().get(str(mount_point))
    if setting is None:
        return
    with contextlib.suppress(OSError):
        # The kernel puts its own value back when it handles the answer to INIT, shortly after the mount.
        for _ in range(20):
            await trio.Path(setting).write_text(str(readahead.WANTED_KB))
            await trio.sleep(0.05)
