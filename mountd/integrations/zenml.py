"""ZenML's artifact store on a mounted store: artifacts keep their URIs, and are read and written as plain files.

    zenml artifact-store flavor register mountd.integrations.zenml.MountdArtifactStoreFlavor
    zenml artifact-store register prod --flavor=mountd --path=s3://my-bucket/artifacts

`path` is the root of a store that mountd has mounted on the machine of each step, or something below it. Where it is
not mounted, everything fails with the command that mounts it, and nothing is written to the disk below.

No `from __future__ import annotations` here: ZenML compares the annotations of arguments with its `PathType` to know
which ones to check against the store's bounds, and as text they would be equal to nothing.

Source: zenml.artifact_stores.base_artifact_store of ZenML 0.98.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from pydantic import field_validator
from zenml.artifact_stores import BaseArtifactStore, BaseArtifactStoreConfig, BaseArtifactStoreFlavor
from zenml.io.filesystem import PathType

from mountd import fileio, locate
from mountd.errors import OutOfBounds, UserError

# Those of zenml.constants.REMOTE_FS_PREFIX: whatever else begins a path, ZenML takes for one of the local disk, and its
# check then refuses every artifact.
_SCHEMES = frozenset({"s3://", "gs://", "az://", "abfs://"})


class MountdArtifactStoreConfig(BaseArtifactStoreConfig):  # type: ignore[misc]  # zenml comes without types for mypy
    """Configuration: `path`, a URI. What leads to the store, such as credentials, is mountd's business.

    Folders of the local disk need none of this: ZenML's own flavor `local` takes a path under a mount.
    """

    SUPPORTED_SCHEMES: ClassVar[set[str]] = set(_SCHEMES)

    @field_validator("path")
    @classmethod
    def _whole(cls, path: str) -> str:
        """Return the path as ZenML joins names to it. Raises ValueError where no artifact could ever be below it."""
        try:
            place = locate.Root.parse(path)
        except UserError as error:
            raise ValueError(str(error)) from error
        if not any(place.components):
            raise ValueError(f"{path!r} names no bucket")
        return path.rstrip("/")


class MountdArtifactStore(BaseArtifactStore):  # type: ignore[misc]
    """An artifact store whose files are those of a mount; see `mountd.fileio`."""

    def _register(self) -> None:
        """Take over the I/O of this store's own scheme alone, and leave the others to whoever has them."""
        from zenml.io.filesystem_registry import default_filesystem_registry as registry

        before = {scheme: registry._filesystems.get(scheme) for scheme in _SCHEMES}
        super()._register()
        own = self.path.partition("://")[0] + "://"
        for scheme, other in before.items():
            if scheme != own and other is not None:
                registry._filesystems[scheme] = other
            elif scheme != own:
                registry._filesystems.pop(scheme, None)

    def _checked(self, path: PathType) -> str:
        """Return a path as text. Raises OutOfBounds where it is not in this store, component by component."""
        uri = path.decode() if isinstance(path, bytes) else path
        try:
            inside = locate.contains(self.path, uri)
        except UserError as error:
            raise OutOfBounds(str(error)) from error
        if not inside:  # ZenML itself compares beginnings: s3://bucket/a and s3://bucket/abc
            raise OutOfBounds(f"{uri} is not in the artifact store at {self.path}")
        return uri

    def open(self, path: PathType, mode: str = "r") -> Any:
        """See `mountd.fileio.open`."""
        return fileio.open(self._checked(path), mode)

    def copyfile(self, src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """See `mountd.fileio.copy`."""
        fileio.copy(self._checked(src), self._checked(dst), overwrite)

    def exists(self, path: PathType) -> bool:
        """See `mountd.fileio.exists`."""
        return fileio.exists(self._checked(path))

    def glob(self, pattern: PathType) -> list[PathType]:
        """See `mountd.fileio.glob`."""
        return list(fileio.glob(self._checked(pattern)))

    def isdir(self, path: PathType) -> bool:
        """See `mountd.fileio.isdir`."""
        return fileio.isdir(self._checked(path))

    def listdir(self, path: PathType) -> list[PathType]:
        """See `mountd.fileio.listdir`."""
        return list(fileio.listdir(self._checked(path)))

    def makedirs(self, path: PathType) -> None:
        """See `mountd.fileio.makedirs`."""
        fileio.makedirs(self._checked(path))

    def mkdir(self, path: PathType) -> None:
        """See `mountd.fileio.mkdir`."""
        fileio.mkdir(self._checked(path))

    def remove(self, path: PathType) -> None:
        """See `mountd.fileio.remove`."""
        fileio.remove(self._checked(path))

    def rename(self, src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """See `mountd.fileio.rename`."""
        fileio.rename(self._checked(src), self._checked(dst), overwrite)

    def rmtree(self, path: PathType) -> None:
        """See `mountd.fileio.rmtree`."""
        fileio.rmtree(self._checked(path))

    def stat(self, path: PathType) -> Any:
        """See `mountd.fileio.stat`."""
        return fileio.stat(self._checked(path))

    def size(self, path: PathType) -> int | None:
        """See `mountd.fileio.size`."""
        return fileio.size(self._checked(path))

    def walk(
        self, top: PathType, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[str, list[str], list[str]]]:
        """See `mountd.fileio.walk`."""
        # The lists as they are: what is taken out of the one of directories is left out of the walk.
        yield from fileio.walk(self._checked(top), topdown, onerror)


class MountdArtifactStoreFlavor(BaseArtifactStoreFlavor):  # type: ignore[misc]
    """The flavor `mountd` of artifact stores."""

    @property
    def name(self) -> str:
        """What `--flavor` is given."""
        return "mountd"

    @property
    def display_name(self) -> str:
        """What people read."""
        return "mountd"

    @property
    def config_class(self) -> type[MountdArtifactStoreConfig]:
        """The configuration's class."""
        return MountdArtifactStoreConfig

    @property
    def implementation_class(self) -> type[MountdArtifactStore]:
        """The store's class."""
        return MountdArtifactStore
