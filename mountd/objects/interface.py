"""The interface to keys and bytes that every kind of store implements, and the values that cross it.

Keys are relative to the store's root: no leading slash; a key that ends in a slash is the marker of an empty directory
and has no bytes. Every method is called from trio. Behaviours that all services share (retry, limits, deadlines) are
decorators around an implementation, see `retry` and `limit`; what services cannot do alike is said in `Capabilities`,
never guessed from the service's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Buffer = bytes | bytearray | memoryview
Key = NewType("Key", str)
Version = NewType("Version", str)

ABSENT = Version("")
"""As a precondition: there is no object under the key."""

MiB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One state of one object. `size` in bytes, `mtime_ns` in nanoseconds since the epoch."""

    key: Key
    size: int
    mtime_ns: int
    version: Version


@dataclass(frozen=True, slots=True)
class ListPage:
    """A part of a listing, in no promised order across services.

    `prefixes` are the keys' common parts up to the next slash, slash included (empty when the listing is recursive);
    `cursor` continues the listing, `None` at its end. Pages of one `digest` have the same entries; it is empty where
    nothing is known of that. An `unchanged` page is told without its entries.
    """

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[Key]
    cursor: str | None
    digest: bytes = b""
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one version: `data` starts at the offset asked for and is shorter only where the object ends.

    Up to 64 KiB they are `bytes`, or cheaply made so; larger ones may be a view of what a library holds.
    """

    data: Buffer
    info: ObjectInfo


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do, and its limits in bytes. What depends on the service is right after `check`.

    Attributes:
        conditional_create, conditional_put, conditional_copy, conditional_delete: the store itself refuses when the
            precondition does not hold. Without it the implementation checks first and then acts, which leaves a
            window; users are told.
        mounts_exclude: conditions are checked and changes made under a lock that all mounts respect; only programs that
            change the store without mountd can slip in between.
        versioned_read: a read that names a version never gets another one.
        exact_versions: no two states of an object have the same version.
        part_copy: parts of an upload can be taken from an object inside the store, up to `max_copy_part` each.
        range_copy: they can be any ranges of any object; without it they are what the store still has as parts, or
            whole objects.
        batch_delete: `delete_many` can be used.
        folders: directories are real. They exist by themselves, and `rename` moves a file, or a directory with
            everything below it, in one step.
        deferred: changes are acknowledged when this machine has them, and get to the store later; `rename` moves single
            objects.
        deletes: the credentials allow deleting, as far as is known.
        read_only: nothing can be changed; `denied_writing`: because the credentials do not allow it;
            `takes_no_changes`: because the service is for reading.
        min_part, max_part, max_parts: what parts of uploads may be.
    """

    conditional_create: bool = False
    conditional_put: bool = False
    conditional_copy: bool = False
    conditional_delete: bool = False
    mounts_exclude: bool = False
    versioned_read: bool = False
    exact_versions: bool = True
    part_copy: bool = False
    range_copy: bool = False
    batch_delete: bool = False
    folders: bool = False
    deferred: bool = False
    deletes: bool = True
    read_only: bool = False
    denied_writing: bool = False
    takes_no_changes: bool = False
    max_key_bytes: int = 1024
    min_part: int = 5 * MiB
    max_part: int = 5 * 1024 * MiB
    max_copy_part: int = 512 * MiB
    max_parts: int = 10_000
    max_object: int = 5 * 1024 * 1024 * MiB


class Upload(Protocol):
    """An object in the making, visible under its key only once `complete` has returned."""

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        """Send part `number` (from 1), whose bytes belong at `offset`; sending a number again replaces that part."""

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        """Take part `number` from bytes `[start, start + length)` of `source`, inside the store.

        Raises VersionChanged when the source is no longer in that version; Unsupported without `part_copy`.
        """

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        """Make the object out of the parts named, in order; parts not named are dropped.

        Raises VersionChanged when the key does not hold `expect`; then the upload is gone.
        """

    async def abort(self) -> None:
        """Give the upload up and free what it holds; never fails because it is gone already."""


class ObjectStore(Protocol):
    """Keys and bytes. Raises the classes of `mountd.errors` and nothing else.

    A precondition `expect` is `None` (any state), `ABSENT`, or the version the key must hold; where it does not hold,
    VersionChanged is raised and nothing has changed.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def check(self) -> None:
        """Prove with as little as one request that the root can be used; the error says what is wrong."""

    async def stat(self, key: Key) -> ObjectInfo:
        """Return the object's current state. Raises NotFound."""

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        """Return one page of the objects whose keys begin with `prefix`.

        `prefix` is empty or ends in a slash. Not recursive: keys with a further slash are folded into `prefixes`. The
        marker of `prefix` itself is listed as an object. Nothing under the prefix: an empty page, not an error.
        `known`: the digest of a page whose entries need not be told again; implementations may tell them all the same.
        """

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        """Return up to `length` bytes from `start`, empty where the object ends before.

        Raises NotFound; VersionChanged where `version` is given and the object is no longer in it.
        """

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        """Store the object in one request, all or nothing.

        One that replaces the version `expect` keeps what the service says of that besides its bytes: content type, user
        metadata, tags, storage class, encryption.
        """

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        """Copy inside the store, with what the service says of the object besides its bytes.

        `match`: only if the source is still in its version, else VersionChanged. Raises NotFound when the source is
        gone.
        """

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        """Delete the object. Deleting what is not there succeeds, unless `expect` names a version (VersionChanged)."""

    async def delete_many(self, versions: Mapping[Key, Version | None]) -> None:
        """Delete up to 1000 objects that are in the versions named (`None`: in any); others stay, without an error.

        Raises Unsupported without `batch_delete`.
        """

    async def rename(self, source: ObjectInfo, target: Key, *, expect: Version | None = None) -> ObjectInfo:
        """Give an object another key in one step; what `target` held is replaced.

        A key with a slash at its end is a directory's; then everything below goes along, and the target may only be an
        empty directory. Raises VersionChanged where the source is no longer in its version, or the target not in
        `expect`; NotFound; NotEmpty; Unsupported without `folders`, or, of objects, `deferred`.
        """

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        """Begin an object that is sent in parts. It keeps what the service says of the version that it replaces."""

    async def aclose(self) -> None:
        """Release connections and threads; the store is not used afterwards."""
