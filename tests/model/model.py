"""A reference model of a POSIX tree: what each call returns, or its errno, as Linux has it on ext4.

Paths are relative to the root, with `/` between names. Handles are numbers that the caller chooses. Every operation
returns a value or raises an OSError with nothing but an errno, in the order in which the kernel checks.
"""

import errno
import os
from dataclasses import dataclass

from tests.model.nodes import Directory, File, Node, Symlink

NOREPLACE, EXCHANGE = 1, 2
UMASK = 0o022
MAX_SYMLINKS = 40


def fail(number):
    """Raise the error `number`."""
    raise OSError(number, os.strerror(number))


def require(condition, number):
    """Raise the error `number` unless `condition` holds."""
    if not condition:
        fail(number)


@dataclass
class Handle:
    """An open file: it outlives its name."""

    node: Node
    flags: int

    @property
    def reads(self):
        return self.flags & os.O_ACCMODE != os.O_WRONLY

    @property
    def writes(self):
        return self.flags & os.O_ACCMODE != os.O_RDONLY


class Model:
    """The tree, its open handles, and the operations on them."""

    def __init__(self):
        self.root = Directory(0o755)
        self.handles = {}

    # Names

    def _walk(self, path, *, follow):
        """Return (directory, name, node or None) for the last component of `path`, following links on the way.

        With `follow` also at its end: then directory and name are those that the last link leads to.
        """
        at, left, links = self.root, path.split("/"), 0
        while True:
            name = left.pop(0)
            require(isinstance(at, Directory), errno.ENOTDIR)
            node = at.entries.get(name)
            if isinstance(node, Symlink) and (left or follow):
                links += 1
                require(links <= MAX_SYMLINKS, errno.ELOOP)
                left = node.target.split("/") + left
                continue
            if not left:
                return at, name, node
            require(node is not None, errno.ENOENT)
            at = node

    def _existing(self, path, *, follow=True):
        node = self._walk(path, follow=follow)[2]
        require(node is not None, errno.ENOENT)
        return node

    def _enter(self, directory, name, node):
        directory.entries[name] = node
        directory.mtime = None

    def _leave(self, directory, name):
        node = directory.entries.pop(name)
        node.names -= 1
        directory.mtime = None
        # An emptied directory is kept here, by a marker in the store where nothing else keeps it.
        directory.lasts |= not directory.entries

    def _make(self, path, node):
        directory, name, found = self._walk(path, follow=False)
        require(found is None, errno.EEXIST)
        self._enter(directory, name, node)

    def mkdir(self, path, mode):
        self._make(path, Directory(mode & ~UMASK))

    def symlink(self, path, target):
        self._make(path, Symlink(0o777, target=target))

    def link(self, path, other):
        node = self._existing(path, follow=False)
        directory, name, found = self._walk(other, follow=False)
        require(found is None, errno.EEXIST)
        require(not isinstance(node, Directory), errno.EPERM)
        self._enter(directory, name, node)
        node.names += 1

    def unlink(self, path):
        directory, name, node = self._walk(path, follow=False)
        require(node is not None, errno.ENOENT)
        require(not isinstance(node, Directory), errno.EISDIR)
        self._leave(directory, name)

    def rmdir(self, path):
        directory, name, node = self._walk(path, follow=False)
        require(node is not None, errno.ENOENT)
        require(isinstance(node, Directory), errno.ENOTDIR)
        require(not node.entries, errno.ENOTEMPTY)
        self._leave(directory, name)

    def listdir(self, path):
        node = self._existing(path)
        require(isinstance(node, Directory), errno.ENOTDIR)
        return sorted(node.entries)

    def readlink(self, path):
        node = self._existing(path, follow=False)
        require(isinstance(node, Symlink), errno.EINVAL)
        return node.target

    def rename(self, old, new, flags):
        source = self._walk(old, follow=False)
        target = self._walk(new, follow=False)
        self._check_rename(source, target, flags)
        (old_directory, old_name, node), (new_directory, new_name, replaced) = source, target
        if node is replaced:
            return
        if flags & EXCHANGE:
            self._enter(old_directory, old_name, replaced)
            self._enter(new_directory, new_name, node)
            return
        if replaced is not None:
            self._check_kinds(node, replaced)
            replaced.names -= 1
        self._enter(new_directory, new_name, node)
        node.names += 1
        self._leave(old_directory, old_name)

    def _check_rename(self, source, target, flags):
        (_, _, node), (into, _, replaced) = source, target
        require(node is not None, errno.ENOENT)
        require(replaced is None or not flags & NOREPLACE, errno.EEXIST)
        require(replaced is not None or not flags & EXCHANGE, errno.ENOENT)
        require(not (isinstance(node, Directory) and node.holds(into)), errno.EINVAL)
        if isinstance(replaced, Directory) and replaced.holds(source[0]):
            fail(errno.EINVAL if flags & EXCHANGE else errno.ENOTEMPTY)

    def _check_kinds(self, node, replaced):
        if isinstance(node, Directory):
            require(isinstance(replaced, Directory), errno.ENOTDIR)
            require(not replaced.entries, errno.ENOTEMPTY)
        else:
            require(not isinstance(replaced, Directory), errno.EISDIR)

    # Contents

    def open(self, handle, path, flags, mode):
        """Open a file as `handle`; a directory is only looked at."""
        follow = not flags & os.O_NOFOLLOW and not (flags & os.O_CREAT and flags & os.O_EXCL)
        directory, name, node = self._walk(path, follow=follow)
        if node is None:
            require(flags & os.O_CREAT, errno.ENOENT)
            node = File(mode & ~UMASK)
            self._enter(directory, name, node)
        else:
            self._check_open(node, flags)
        if isinstance(node, Directory):
            return "directory"
        if flags & os.O_TRUNC:
            self._resize(node, 0)
        self.handles[handle] = Handle(node, flags)
        return "file"

    def _check_open(self, node, flags):
        require(not (flags & os.O_CREAT and flags & os.O_EXCL), errno.EEXIST)
        require(not isinstance(node, Symlink), errno.ELOOP)
        if isinstance(node, Directory):
            require(not flags & (os.O_CREAT | os.O_TRUNC | os.O_ACCMODE), errno.EISDIR)

    def close(self, handle):
        del self.handles[handle]

    def fsync(self, handle):
        assert handle in self.handles

    def pread(self, handle, size, offset):
        opened = self.handles[handle]
        require(opened.reads, errno.EBADF)
        return bytes(opened.node.data[offset : offset + size])

    def pwrite(self, handle, data, offset):
        opened = self.handles[handle]
        require(opened.writes, errno.EBADF)
        file = opened.node
        if opened.flags & os.O_APPEND:  # Linux appends whatever the offset
            offset = len(file.data)
        self._resize(file, max(len(file.data), offset + len(data)))
        file.data[offset : offset + len(data)] = data
        return len(data)

    def ftruncate(self, handle, size):
        opened = self.handles[handle]
        require(opened.writes, errno.EINVAL)
        self._resize(opened.node, size)

    def truncate(self, path, size):
        node = self._existing(path)
        require(not isinstance(node, Directory), errno.EISDIR)
        self._resize(node, size)

    def _resize(self, file, size):
        del file.data[size:]
        file.data.extend(bytes(size - len(file.data)))
        file.mtime = None

    def fstat(self, handle, links):
        """Return the size of an open file, and its number of names if that counts."""
        node = self.handles[handle].node
        return len(node.data), links and node.nlink

    # Attributes

    def chmod(self, path, mode):
        self._existing(path).mode = mode

    def utime(self, path, mtime):
        self._existing(path).mtime = mtime

    def setxattr(self, path, name, value, flags):
        xattrs = self._xattrs(path)
        require(not (flags == os.XATTR_CREATE and name in xattrs), errno.EEXIST)
        require(not (flags == os.XATTR_REPLACE and name not in xattrs), errno.ENODATA)
        xattrs[name] = value

    def getxattr(self, path, name):
        xattrs = self._xattrs(path)
        require(name in xattrs, errno.ENODATA)
        return xattrs[name]

    def listxattr(self, path):
        return sorted(self._xattrs(path))

    def removexattr(self, path, name):
        xattrs = self._xattrs(path)
        require(name in xattrs, errno.ENODATA)
        del xattrs[name]

    def _xattrs(self, path):
        return self._existing(path).xattrs
