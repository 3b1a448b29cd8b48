"""The operations of `tests.model.model.Model`, carried out by the kernel in a real directory."""

import ctypes
import os
import stat

AT_FDCWD = -100
_LIBC = ctypes.CDLL(None, use_errno=True)


class System:
    """A directory of a file system, and open files in it."""

    def __init__(self, root):
        self.root = root
        self.handles = {}

    def _at(self, path):
        return os.path.join(self.root, path)

    def mkdir(self, path, mode):
        os.mkdir(self._at(path), mode)

    def symlink(self, path, target):
        os.symlink(target, self._at(path))

    def link(self, path, other):
        os.link(self._at(path), self._at(other), follow_symlinks=False)

    def unlink(self, path):
        os.unlink(self._at(path))

    def rmdir(self, path):
        os.rmdir(self._at(path))

    def listdir(self, path):
        return sorted(os.listdir(self._at(path)))

    def readlink(self, path):
        return os.readlink(self._at(path))

    def rename(self, old, new, flags):
        old, new = os.fsencode(self._at(old)), os.fsencode(self._at(new))
        if _LIBC.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def open(self, handle, path, flags, mode):
        fd = os.open(self._at(path), flags, mode)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            return "directory"
        self.handles[handle] = fd
        return "file"

    def close(self, handle):
        os.close(self.handles.pop(handle))

    def fsync(self, handle):
        os.fsync(self.handles[handle])

    def pread(self, handle, size, offset):
        return os.pread(self.handles[handle], size, offset)

    def pwrite(self, handle, data, offset):
        return os.pwrite(self.handles[handle], data, offset)

    def ftruncate(self, handle, size):
        os.ftruncate(self.handles[handle], size)

    def truncate(self, path, size):
        os.truncate(self._at(path), size)

    def fstat(self, handle, links):
        state = os.fstat(self.handles[handle])
        return state.st_size, links and state.st_nlink

    def chmod(self, path, mode):
        os.chmod(self._at(path), mode)

    def utime(self, path, mtime):
        os.utime(self._at(path), ns=(mtime, mtime))

    def setxattr(self, path, name, value, flags):
        os.setxattr(self._at(path), name, value, flags)

    def getxattr(self, path, name):
        return os.getxattr(self._at(path), name)

    def listxattr(self, path):
        return listxattr(self._at(path))

    def removexattr(self, path, name):
        os.removexattr(self._at(path), name)


def listxattr(path):
    """Return the names of xattrs that users set; not those that a mount or the machine adds."""
    names = os.listxattr(path)
    return sorted(name for name in names if name.startswith("user.") and not name.startswith("user.mountd."))
