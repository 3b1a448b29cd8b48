"""The kernel's requests, each translated into one call of the file system."""

from __future__ import annotations

import stat
from collections import deque
from typing import TYPE_CHECKING, Any

import pyfuse3
import trio

from mountd.errors import InvalidArgument
from mountd.fuse.reply import attributes, nothing, reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.metrics import Watch
    from mountd.objects.interface import Buffer
    from mountd.vfs.filesystem import FileSystem
    from mountd.vfs.nodes import Node

# What df shows for a store without a limit of its own: 1 PiB, all of it free.
_BLOCK = 4096
_BLOCKS = 2**50 // _BLOCK
# The kernel gives back nodes by the thousand when memory is short, in many requests at a time. So many take about a
# millisecond, and then those who wait for an answer have that many seconds, unless even more are waiting to be let go.
_FORGOTTEN, _PAUSE, _TOO_MANY = 20, 0.004, 10_000


class Operations(pyfuse3.Operations):
    """Answers the kernel's requests about one file system."""

    enable_writeback_cache = True
    supports_dot_lookup = False

    def __init__(self, fs: FileSystem, watch: Watch) -> None:
        super().__init__()
        self._fs = fs
        self.watch = watch
        self._given_back: deque[tuple[int, int]] = deque()
        self._forgetting = False

    def _known(self, node: Node) -> pyfuse3.EntryAttributes:
        return attributes(node, self._fs.namespace.valid_for(node))

    def _referenced(self, node: Node) -> pyfuse3.EntryAttributes:
        self._fs.nodes.told(node)
        return self._known(node)

    @reply
    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        self.watch.process(ctx.pid)
        directory = self._fs.directory(parent_inode)
        node = await self._fs.namespace.glance(directory, name)
        if node is None:
            return nothing(self._fs.namespace.absent_for(directory, name))
        return self._referenced(node)

    @reply
    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        self.watch.process(ctx.pid)
        return self._known(await self._fs.refreshed(inode))

    @reply
    async def setattr(
        self, inode: int, attr: pyfuse3.EntryAttributes, fields: Any, fh: int | None, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        self.watch.process(ctx.pid)
        node = self._fs.node(inode)
        if fields.update_size:
            await self._fs.files.truncate(self._fs.file(inode), attr.st_size, opened=fh is not None)
        await self._fs.metadata.set(
            node,
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        return self._known(node)

    @reply
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        self._given_back.extend(inode_list)
        if self._forgetting:  # whoever does goes on to these
            return
        self._forgetting = True
        try:
            while True:
                for _ in range(min(_FORGOTTEN, len(self._given_back))):
                    self._fs.forget(*self._given_back.popleft())
                if not self._given_back:
                    return
                await trio.sleep(_PAUSE if len(self._given_back) < _TOO_MANY else 0)
        finally:
            self._forgetting = False

    @reply
    async def opendir(self, inode: int, ctx: Any) -> int:
        self.watch.process(ctx.pid)
        return self._fs.directories.open(self._fs.directory(inode))

    @reply
    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        await self._fs.directories.load(fh, start_id)
        for name, node, next_id in self._fs.directories.entries(fh, start_id):
            if not pyfuse3.readdir_reply(token, name, self._known(node), next_id):
                return
            if name not in (b".", b".."):
                self._fs.nodes.told(node)

    @reply
    async def releasedir(self, fh: int) -> None:
        self._fs.directories.release(fh)

    @reply
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        # Names are in the store when the call that made them returns; attributes follow.
        await self._fs.sync_directory(self._fs.directories.directory(fh))

    @reply
    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        handle = await self._fs.files.open(self._fs.file(inode), flags)
        self.watch.opened(handle, ctx.pid)
        return pyfuse3.FileInfo(fh=handle, keep_cache=True)

    @reply
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: Any
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        directory = self._fs.directory(parent_inode)
        node, handle = await self._fs.changes.create(directory, name, mode=mode, flags=flags, uid=ctx.uid, gid=ctx.gid)
        self.watch.opened(handle, ctx.pid)
        return pyfuse3.FileInfo(fh=handle, keep_cache=True), self._referenced(node)

    @reply
    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: Any) -> pyfuse3.EntryAttributes:
        self.watch.process(ctx.pid)
        directory = self._fs.directory(parent_inode)
        node = await self._fs.changes.make(directory, name, mode=mode, rdev=rdev, uid=ctx.uid, gid=ctx.gid)
        return self._referenced(node)

    @reply
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        self.watch.process(ctx.pid)
        directory = self._fs.directory(parent_inode)
        mode = stat.S_IFLNK | 0o777
        node = await self._fs.changes.make(directory, name, mode=mode, target=target, uid=ctx.uid, gid=ctx.gid)
        return self._referenced(node)

    @reply
    async def readlink(self, inode: int, ctx: Any) -> bytes:
        target = self._fs.glimpse(inode).attributes.target
        if target is None:
            raise InvalidArgument("not a symbolic link")
        return target

    @reply
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        self.watch.process(ctx.pid)
        node = self._fs.file(inode)
        await self._fs.changes.link(node, self._fs.directory(new_parent_inode), new_name)
        return self._referenced(node)

    @reply
    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        self._fs.metadata.require_kept(name)  # before a node is made to be looked at
        return await self._fs.metadata.get_xattr(self._fs.glimpse(inode), name)

    @reply
    async def listxattr(self, inode: int, ctx: Any) -> Sequence[bytes]:
        return self._fs.metadata.list_xattrs(self._fs.glimpse(inode))

    @reply
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: Any) -> None:
        await self._fs.metadata.set_xattr(self._fs.node(inode), name, value)

    @reply
    async def removexattr(self, inode: int, name: bytes, ctx: Any) -> None:
        await self._fs.metadata.set_xattr(self._fs.node(inode), name, None)

    @reply
    async def read(self, fh: int, off: int, size: int) -> Buffer:  # type: ignore[override]
        # pyfuse3 takes any buffer and copies it to the kernel before anything else runs.
        data = await self._fs.files.read(fh, off, size)
        self.watch.moved(fh, read=len(data))
        return data

    @reply
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        written = await self._fs.files.write(fh, off, buf)
        self.watch.moved(fh, written=written)
        return written

    @reply
    async def flush(self, fh: int) -> None:
        await self._fs.files.close(fh)

    @reply
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._fs.sync_file(self._fs.files.node(fh))

    @reply
    async def release(self, fh: int) -> None:
        self.watch.closed(fh)
        await self._fs.files.release(fh)

    @reply
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        self.watch.process(ctx.pid)
        directory = self._fs.directory(parent_inode)
        node = await self._fs.changes.mkdir(directory, name, mode=mode, uid=ctx.uid, gid=ctx.gid)
        return self._referenced(node)

    @reply
    async def unlink(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self.watch.process(ctx.pid)
        await self._fs.changes.unlink(self._fs.directory(parent_inode), name)

    @reply
    async def rmdir(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self.watch.process(ctx.pid)
        await self._fs.changes.rmdir(self._fs.directory(parent_inode), name)

    @reply
    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: Any
    ) -> None:
        self.watch.process(ctx.pid)
        source = self._fs.directory(parent_inode_old), name_old
        target = self._fs.directory(parent_inode_new), name_new
        await self._fs.renames.rename(source, target, flags=flags)

    @reply
    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = _BLOCK
        data.f_blocks = data.f_bfree = data.f_bavail = _BLOCKS
        data.f_files = data.f_ffree = data.f_favail = 2**32
        data.f_namemax = 255
        return data
