"""Any fsspec file system as an object store, as far as its interface reaches.

There are no preconditions in that interface: they are checked before the request, which leaves a window, and reads are
checked after it. What a service can do beyond this deserves a module of its own, as S3 has.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from mountd.errors import IsADirectory, MountdError, NotFound, Unavailable, Unsupported, VersionChanged
from mountd.objects.base import Basic
from mountd.objects.coarse import OwnWrites
from mountd.objects.folder import PARTIAL
from mountd.objects.fsspec_errors import translated
from mountd.objects.fsspec_values import exactly, info_of, is_exact, marker
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

ATTEMPTS = 3
# What a listing does not describe is asked for name by name, this many at a time.
DETAILS = 16

# These write a file where readers see it grow, and move one over another in one step.
_GROWING = frozenset({"file", "local", "sftp", "ssh"})
# These have one connection, on which the requests of two threads get each other's answers.
_SINGLE = frozenset({"ftp", "sftp", "ssh"})


class FsspecStore(Basic):
    """The objects below `root`, a path as the file system itself writes it, without a slash at its end.

    Asynchronous file systems are called on the bridge, whose loop they must be on, the others in threads.
    """

    def __init__(self, filesystem: Any, bridge: Bridge, *, root: str, read_only: bool = False) -> None:
        self._fs = filesystem
        self._bridge = bridge
        self._root = root.rstrip("/")
        spoken = filesystem.protocol
        protocols = {spoken} if isinstance(spoken, str) else set(spoken)
        self._growing = bool(protocols & _GROWING)
        self._threads = trio.CapacityLimiter(1) if protocols & _SINGLE else None
        self._own = OwnWrites()
        takes_none = bool(getattr(filesystem, "read_only", False))
        self.capabilities = Capabilities(
            read_only=read_only or takes_none, takes_no_changes=takes_none, exact_versions=False, min_part=1
        )

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
        return self._described(key, await self._details(key))

    async def _details(self, key: Key) -> Mapping[str, Any]:
        info: Mapping[str, Any] = await self._ask("info", self._path(key))
        if (info["type"] == "directory") != key.endswith("/"):
            raise NotFound(f"no object {key}")
        if info["type"] != "directory" and info.get("size") is None:
            raise Unsupported(f"{key}: the service does not tell its size")
        return info

    def _described(self, key: Key, info: Mapping[str, Any]) -> ObjectInfo:
        found = info_of(key, info)
        if info["type"] == "directory":
            return found
        # Of what has been seen, the last word counts: one service describes all its objects alike.
        exact = is_exact(info)
        if exact != self.capabilities.exact_versions:
            self.capabilities = replace(self.capabilities, exact_versions=exact)
        return found if exact else replace(found, version=self._own.version(key, found.version))

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
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
        return self._page(prefix, await self._complete(entries), recursive=recursive)

    async def _complete(self, entries: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Ask for the details of files that the listing only names."""
        known = [entry for entry in entries if entry["type"] == "directory" or entry.get("size") is not None]
        bare = [entry["name"] for entry in entries if entry["type"] != "directory" and entry.get("size") is None]
        limiter = trio.CapacityLimiter(DETAILS)
        failures: list[MountdError] = []

        async def look_up(name: str) -> None:
            async with limiter:
                try:
                    entry = {**await self._ask("info", name), "name": name}
                except NotFound:  # gone since, or a name that leads nowhere
                    return
                except MountdError as exc:
                    failures.append(exc)
                    return
            if entry["type"] == "directory" or entry.get("size") is not None:  # else there is no reading it
                known.append(entry)

        async with trio.open_nursery() as nursery:
            for name in bare:
                nursery.start_soon(look_up, name)
        if failures:
            raise failures[0]
        return known

    def _page(self, prefix: Key, entries: list[Mapping[str, Any]], *, recursive: bool) -> ListPage:
        own = prefix.rstrip("/")
        named = [(key, entry) for entry in entries if (key := self._key(entry["name"])) is not None]
        if any(key == own and entry["type"] != "directory" for key, entry in named):
            return ListPage((), (), None)  # the listing of an object is the object itself
        if recursive and not named:
            return ListPage((), (), None)
        objects = [self._described(key, entry) for key, entry in named if entry["type"] != "directory"]
        folders = [Key(key + "/") for key, entry in named if entry["type"] == "directory" and key != own]
        if prefix:
            objects.append(marker(prefix))
        if recursive:
            return ListPage([*objects, *map(marker, folders)], (), None)
        return ListPage(objects, folders, None)

    async def read_range(self, key: Key, start: int, length: int, *, version: Version | None = None) -> Chunk:
        path = self._path(key)
        expected = version
        for _ in range(ATTEMPTS):
            if expected is None:
                expected = (await self.stat(key)).version
            data = await self._bytes(path, start, length)
            info = await self.stat(key)
            if info.version == expected:
                return Chunk(exactly(data, start, length, info), info)
            if version is not None:
                raise VersionChanged(f"{key} was changed by somebody else")
            expected = info.version
        raise Unavailable(f"{key} changes faster than it can be read")

    async def _bytes(self, path: str, start: int, length: int) -> bytes | MountdError:
        """Return what the service sends for a range; it may refuse one that begins at the end."""
        try:
            data: bytes = await self._ask("cat_file", path, start=start, end=start + length)
        except (NotFound, Unavailable):
            raise
        except MountdError as exc:
            return exc
        return data

    async def put(self, key: Key, data: Buffer, *, expect: Version | None = None) -> ObjectInfo:
        if key.endswith("/"):
            return await self._make_folder(key, expect)
        await look(self, key, expect)
        return await self._write(key, expect, lambda path: self._ask("pipe_file", path, bytes(data)))

    async def _write(self, key: Key, expect: Version | None, act: Callable[[str], Any]) -> ObjectInfo:
        """Write a file by `act`, which gets its path, and return what it is now.

        The folder is made where it is missing. Where a file would be seen growing, it grows under another name.
        """
        path = self._path(key)
        if self._growing:
            folder = os.path.dirname(path)
            partial = f"{folder}/{PARTIAL}{secrets.token_hex(8)}"
            await self._in_folder(key, lambda: self._through(partial, path, act))
        else:
            await self._in_folder(key, lambda: act(path))
        info = await self._details(key)
        found = self._described(key, info)
        if is_exact(info):
            return found
        return replace(found, version=self._own.wrote(key, info_of(key, info).version, replaced=expect))

    async def _through(self, partial: str, path: str, act: Callable[[str], Any]) -> None:
        if await self._ask("isdir", path):
            raise IsADirectory(f"{path} is a folder")  # into which some would move the file
        try:
            await act(partial)
            await self._ask("mv", partial, path)
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(5), contextlib.suppress(MountdError):
                await self._ask("rm_file", partial)
            raise

    async def _make_folder(self, key: Key, expect: Version | None) -> ObjectInfo:
        if expect == ABSENT and await self._exists(key):
            raise VersionChanged(f"{key} exists")
        await self._ask("makedirs", self._path(key), exist_ok=True)
        return marker(key)

    async def copy(
        self, source: ObjectInfo, target: Key, *, expect: Version | None = None, match: bool = True
    ) -> ObjectInfo:
        if target.endswith("/"):
            return await self._make_folder(target, expect)
        if match:
            await look(self, source.key, source.version)
        await look(self, target, expect)
        return await self._write(target, expect, lambda path: self._copy(self._path(source.key), path))

    async def _copy(self, source: str, target: str) -> None:
        """Copy inside the service, or through this machine where the service cannot."""
        try:
            await self._ask("cp_file", source, target)
        except Unsupported:
            with tempfile.NamedTemporaryFile(prefix="mountd-") as spool:
                await self._ask("get_file", source, spool.name)
                await self._ask("put_file", spool.name, target)

    async def delete(self, key: Key, *, expect: Version | None = None) -> None:
        if key.endswith("/"):
            return await self._remove_folder(key)
        if expect not in (None, ABSENT):
            await look(self, key, expect)
        with contextlib.suppress(NotFound):
            if expect is None:
                await self.stat(key)  # some would remove a folder of that name with all that is in it
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
            return await self._write(key, expect, lambda target: self._ask("put_file", path, target))

        return SpooledUpload(key, send)

    async def aclose(self) -> None:
        """Close what the class itself leaves to the garbage collector: the session or the client that it speaks by."""
        await trio.lowlevel.checkpoint()
        if self._fs.async_impl and hasattr(self._fs, "set_session"):
            session = await self._bridge.call(self._fs.set_session)
            if hasattr(session, "close"):
                await self._bridge.call(session.close)
        elif hasattr(getattr(self._fs, "client", None), "close"):
            await trio.to_thread.run_sync(self._fs.client.close)

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
            return await trio.to_thread.run_sync(
                lambda: getattr(self._fs, method)(*args, **kwargs), limiter=self._threads
            )
        except Exception as exc:
            raise translated(exc, args[0]) from exc

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
