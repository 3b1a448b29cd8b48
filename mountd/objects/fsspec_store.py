"""Any fsspec file system as an object store, as far as its interface reaches.

There are no preconditions in that interface: they are checked before the request, which leaves a window, and reads are
checked after it. What a service can do beyond this deserves a module of its own, as S3 has.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from mountd.errors import (
    BadCredentials,
    Denied,
    MountdError,
    NotFound,
    StoreFailure,
    Unavailable,
    Unsupported,
    VersionChanged,
    from_os_error,
)
from mountd.objects.base import Basic
from mountd.objects.interface import (
    ABSENT,
    Buffer,
    Capabilities,
    Chunk,
    Key,
    ListPage,
    ObjectInfo,
    Upload,
    Version,
)
from mountd.objects.preconditions import look
from mountd.objects.spool import SpooledUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mountd.objects.bridge import Bridge

T = TypeVar("T")

# What implementations call the state of an object, strongest first; without any, times and inode numbers have to do.
_STRONG = ("generation", "etag", "ETag", "version", "version_id", "md5Hash", "content_md5", "sha256")
_TIMES = ("mtime", "last_modified", "LastModified", "modified", "updated", "created")
ATTEMPTS = 3

_KINDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[MountdError]], ...] = (
    ((FileNotFoundError, NotADirectoryError), NotFound),
    (PermissionError, Denied),
    (NotImplementedError, Unsupported),
    ((ConnectionError, TimeoutError), Unavailable),
)
_CLIENTS = ("aiohttp", "requests", "urllib3", "httpx")  # what is left of theirs are failures to talk to the service


class FsspecStore(Basic):
    """The objects below `root`, a path as the file system itself writes it, without a slash at its end.

    Asynchronous file systems are called on the bridge, whose loop they must be on, the others in threads.
    """

    def __init__(self, filesystem: Any, bridge: Bridge, *, root: str, read_only: bool = False) -> None:
        self._fs = filesystem
        self._bridge = bridge
        self._root = root.rstrip("/")
        self.capabilities = Capabilities(read_only=read_only, min_part=1)

    async def check(self) -> None:
        """Look at the root; one that is missing is made, where the service allows it."""
        try:
            info = await self._ask("info", self._root or "/")
        except NotFound:
            if self.capabilities.read_only:
                raise
            await self._ask("makedirs", self._root, exist_ok=True)
            return
        if info.get("type") == "file":
            raise NotFound(f"{self._root} is an object, not a folder")

    async def stat(self, key: Key) -> ObjectInfo:
        info = await self._ask("info", self._path(key))
        if (info["type"] == "directory") != key.endswith("/"):
            raise NotFound(f"no object {key}")
        return _info(key, info)

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000
    ) -> ListPage:
        path = self._path(prefix) or "/"
        try:
            if recursive:
                found = await self._ask("find", path, withdirs=True, detail=True)
                entries = list(found.values())
            else:
                entries = await self._ask("ls", path, detail=True)
        except NotFound:
            return ListPage((), (), None)
        return self._page(prefix, entries, recursive=recursive)

    def _page(self, prefix: Key, entries: list[Mapping[str, Any]], *, recursive: bool) -> ListPage:
        own = prefix.rstrip("/")
        named = [(key, entry) for entry in entries if (key := self._key(entry["name"])) is not None]
        if any(key == own and entry["type"] != "directory" for key, entry in named):
            return ListPage((), (), None)  # the listing of an object is the object itself
        if recursive and not named:
            return ListPage((), (), None)
        objects = [_info(key, entry) for key, entry in named if entry["type"] != "directory"]
        folders = [Key(key + "/") for key, entry in named if entry["type"] == "directory" and key != own]
        if prefix:
            objects.append(_marker(prefix))
        if recursive:
            return ListPage([*objects, *map(_marker, folders)], (), None)
        return ListPage(objects, folders, None)

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        path = self._path(key)
        expected = version
        for _ in range(ATTEMPTS):
            if expected is None:
                expected = (await self.stat(key)).version
            data = await self._ask("cat_file", path, start=start, end=start + length, empty=b"")
            info = await self.stat(key)
            if info.version == expected:
                return Chunk(data, info)
            if version is not None:
                raise VersionChanged(f"{key} was changed by somebody else")
            expected = info.version
        raise Unavailable(f"{key} changes faster than it can be read")

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        if key.endswith("/"):
            return await self._make_folder(key, expect)
        await look(self, key, expect)
        await self._in_folder(key, lambda: self._ask("pipe_file", self._path(key), bytes(data)))
        return await self.stat(key)

    async def _make_folder(self, key: Key, expect: Version | None) -> ObjectInfo:
        if expect == ABSENT and await self._exists(key):
            raise VersionChanged(f"{key} exists")
        await self._ask("makedirs", self._path(key), exist_ok=True)
        return _marker(key)

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if target.endswith("/"):
            return await self._make_folder(target, expect)
        if match:
            await look(self, source.key, source.version)
        await look(self, target, expect)
        await self._in_folder(target, lambda: self._ask("cp_file", self._path(source.key), self._path(target)))
        return await self.stat(target)

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        if key.endswith("/"):
            return await self._remove_folder(key)
        if expect not in (None, ABSENT):
            await look(self, key, expect)
        with contextlib.suppress(NotFound):
            await self._ask("rm_file", self._path(key))
        return None

    async def _remove_folder(self, key: Key) -> None:
        """Remove a folder that is empty; one with entries goes on existing without its marker."""
        page = await self.list_page(key)
        if page.prefixes or len(page.objects) > 1:
            return
        with contextlib.suppress(NotFound, Unsupported):
            await self._ask("rmdir", self._path(key))

    async def open_upload(self, key: Key, *, replaces: Version | None = None) -> Upload:
        async def send(path: str, size: int, expect: Version | None) -> ObjectInfo:
            await look(self, key, expect)
            await self._in_folder(key, lambda: self._ask("put_file", path, self._path(key)))
            return await self.stat(key)

        return SpooledUpload(key, send)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _in_folder(self, key: Key, act: Callable[[], Any]) -> None:
        """Carry out `act`; where the folder is missing, make it and try again."""
        try:
            await act()
        except NotFound:
            await self._ask("makedirs", os.path.dirname(self._path(key)), exist_ok=True)
            await act()

    async def _exists(self, key: Key) -> bool:
        try:
            await self.stat(key)
        except NotFound:
            return False
        return True

    async def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._fs.async_impl:
                return await self._bridge.call(getattr(self._fs, f"_{method}"), *args, **kwargs)
            return await trio.to_thread.run_sync(lambda: getattr(self._fs, method)(*args, **kwargs))
        except Exception as exc:
            raise _translated(exc, args[0]) from exc

    def _path(self, key: Key) -> str:
        return f"{self._root}/{key.rstrip('/')}".rstrip("/")

    def _key(self, path: str) -> Key | None:
        # Some list their paths with a leading slash where the root has none, or the other way round.
        relative = path.strip("/")
        root = self._root.strip("/")
        if root:
            if not relative.startswith(root + "/"):
                return None
            relative = relative[len(root) + 1 :]
        return Key(relative)


def _info(key: Key, info: Mapping[str, Any]) -> ObjectInfo:
    if info["type"] == "directory":
        return _marker(key)
    size = int(info.get("size") or 0)
    return ObjectInfo(key, size, _mtime_ns(info), _version(info, size))


def _marker(key: Key) -> ObjectInfo:
    return ObjectInfo(key, 0, 0, Version("folder"))


def _version(info: Mapping[str, Any], size: int) -> Version:
    strong = [f"{name}={info[name]}" for name in _STRONG if info.get(name)][:1]
    state = "\0".join([*(strong or [str(info.get("ino")), str(_mtime_ns(info))]), str(size)])
    return Version(hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()[:32])


def _mtime_ns(info: Mapping[str, Any]) -> int:
    """Return the first time that is given, which the same file system writes now as a number, now as a date."""
    return next((found for name in _TIMES if (found := _nanoseconds(info.get(name))) is not None), 0)


def _nanoseconds(value: object) -> int | None:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime.datetime):
        value = value.timestamp()
    return int(value * 1_000_000) * 1000 if isinstance(value, (int, float)) else None


def _translated(exc: Exception, what: object) -> MountdError:
    if isinstance(exc, MountdError):
        return exc
    said = f"{what}: {type(exc).__name__}: {exc}"
    for kind, error in _KINDS:
        if isinstance(exc, kind):
            return error(said)
    if isinstance(exc, OSError) and exc.errno:
        return from_os_error(exc)
    if re.search("credential|authenticat", type(exc).__name__, re.IGNORECASE):
        return BadCredentials(said)
    if type(exc).__module__.partition(".")[0] in _CLIENTS:
        return Unavailable(said)
    return StoreFailure(said)
