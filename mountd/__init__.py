"""Artifacts of a mounted store as plain files: URIs to paths, paths to URIs, and mounts for the length of a block.

    >>> import mountd
    >>> with mountd.mounted("s3://models/bert") as root:         # doctest: +SKIP
    ...     torch.save(model, root / "weights.pt")
    ...     mountd.uri(root / "weights.pt")
    's3://models/bert/weights.pt'

Mistakes that the caller can mend raise `UserError`, failures of stores and mounts `MountdError`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mountd.errors import MountdError, UserError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from mountd.stores.store import StoreConfig

__all__ = ["MountdError", "UserError", "active_store", "mounted", "path", "sync", "uri", "warm"]
__version__ = "0.1.0"

# Every import below is inside a function: `import mountd` is paid by programs that may never mount anything, and it
# must not bring trio, pyfuse3, fsspec or click into them.


def path(uri: str) -> Path:
    """Return where the artifact `uri` is on this machine, under the running mount that holds it.

    The artifact need not exist: the path is good for writing it, too. Raises UserError where the URI is malformed or no
    running mount holds it; the message names the roots that are mounted and the command that mounts the right one.
    """
    from mountd.mounts import path_of, running_mounts

    return path_of(uri, running_mounts())


def uri(path: str | os.PathLike[str]) -> str:
    """Return the URI of the artifact at `path`, which may be relative, and need not exist.

    Raises UserError where the path is not under a running mount.
    """
    from mountd.mounts import running_mounts, uri_of

    return uri_of(path, running_mounts())


def active_store() -> StoreConfig:
    """Return the active store: its `name`, `flavor`, `root` and more.

    Raises UserError where the settings are broken.
    """
    from mountd.config import Folders
    from mountd.stores.registry import Registry

    return Registry(Folders.of_this_user()).active()


def sync(path: str | os.PathLike[str] | None = None, timeout: float | None = None) -> None:
    """Return when the store has everything at and below `path`, or on every running mount of this user.

    That includes files that others have open: what they have written so far is stored. `timeout` in seconds; `None`
    waits as long as it takes. The attempts go on whatever happens here.

    Raises UserError where `path` is not under a running mount, and, with the reason and the exit code EXIT_PENDING,
    where the store could not take something, or not in time.
    """
    from mountd.mounts import sync as implementation

    implementation(path, timeout)


def warm(path: str | os.PathLike[str]) -> int:
    """Bring a file, or every file below a directory, to this machine before it is read.

    `path` is under a running mount, or a URI. Returns how many bytes were fetched; what was here already is not.

    Raises UserError where nothing is mounted there, and, with the exit code EXIT_FAILURE, where the cache has no room
    for everything or a file could not be fetched; what was fetched before stays.
    """
    from mountd.errors import EXIT_FAILURE
    from mountd.mounts import warm as implementation

    found = implementation(path)
    fetched: int = found["fetched"]
    if found["failed"]:
        raise UserError("not fetched: {}: {}".format(*found["failed"][0]), EXIT_FAILURE)
    if found["no_room"]:
        raise UserError(f"the cache has no room for {found['no_room']} bytes more", EXIT_FAILURE)
    return fetched


@contextmanager
def mounted(
    store_or_uri: str | None = None, mount_point: str | os.PathLike[str] | None = None, **mount_options: object
) -> Iterator[Path]:
    """Have a store mounted for the length of a `with` block, which gets the path of its root.

    A mount that is running already is used and left alone; its options stay as they are. One that is started here, at
    `mount_point` or the store's default one, is unmounted at the end, also when the block raises, after everything
    written has reached the store: by the last of all blocks that use it, in any process. Processes that are forked
    inside the block can use it for as long as the block lasts, and leave it alone when they end.

    Args:
        store_or_uri: name of a store, URI or path; the active store by default.
        mount_point: where to mount; must not be given when the store is mounted elsewhere.
        mount_options: fields of `mountd.config.MountSettings`, such as `read_only=True`, `freshness=0`,
            `cache_size="20GiB"`.

    Raises UserError where the store is unknown or cannot be mounted, or, at the end, where changes could not be
    brought to the store in time (EXIT_PENDING; the mount goes on then).
    """
    from mountd.mounts import mounted as implementation

    with implementation(store_or_uri, mount_point, mount_options) as root:
        yield root
