"""The steps of a plan as system calls, each told to the manifest before and after."""

import contextlib
import errno
import os
import time

from tests.workload.contents import Content
from tests.workload.manifest import ABSENT
from tests.workload.plan import MiB

# The daemon is gone: what the file system was asked for has no answer, and open files are lost.
GONE = frozenset({errno.ENOTCONN, errno.ECONNABORTED})
# What a program may be told while the daemon or the store is in trouble; anything else would be a lie.
PASSING = GONE | {errno.EIO}
NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Disconnected(Exception):
    """The daemon is gone."""


class Performer:
    """Carries out steps on a mount.

    Everything goes through one descriptor of the mount's root: after the daemon's end it leads nowhere, and not into
    the empty folder below the mount.
    """

    def __init__(self, mount, manifest):
        self._root = os.open(mount, os.O_PATH | os.O_DIRECTORY)
        self._manifest = manifest
        self._held = {}
        self._written = None

    @property
    def busy(self):
        """The paths of files that are held open."""
        return set(self._held)

    def run(self, step):
        """Carry out a step; tell whether it succeeded. Raises Disconnected."""
        if step.kind == "read":
            return self._read(step.path) is not None
        if step.kind == "release":
            return self._release(step.path, sync=step.sync)
        base = self._read(step.path) if step.changes_a_part else None
        if step.changes_a_part and base is None:
            return False
        expected = self._manifest.expected
        change = step.change(expected, base)
        certain = all(expected.certain(path) for path in change.after)
        number = self._manifest.begin(change)
        self._written = None
        started = time.monotonic()
        try:
            self._call(step, number)
        except OSError as exc:
            self._manifest.fail(
                number, errno.errorcode[exc.errno], time.monotonic() - started, self._partly(step, base, exc)
            )
            self._judge(step.kind, step.path, exc, certain=certain)
            return False
        if step.kind != "hold":
            self._manifest.succeed(number, time.monotonic() - started)
        return True

    def close(self):
        """Close what is held open, which acknowledges it."""
        with contextlib.suppress(Disconnected):
            for path in list(self._held):
                self._release(path, sync=False)
        self.drop()

    def drop(self):
        """Give up what is open: the daemon is gone."""
        for number, descriptor in self._held.values():
            self._manifest.fail(number, "dropped", 0.0)
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._held.clear()
        os.close(self._root)

    def _at(self, path):
        return f"/proc/self/fd/{self._root}/{path}"

    def _partly(self, step, base, exc):
        """Return what a failed step can have left besides all or nothing: the program has stopped in the middle.

        A program that never got to its close() because the daemon died leaves nothing of the kind.
        """
        if self._written is None or exc.errno in GONE:
            return {}
        return {step.path: {step.result(base, self._written)}}

    def _judge(self, kind, path, exc, *, certain):
        """Note an error that has no reason. `certain`: what is there was known before."""
        if certain and exc.errno not in PASSING:
            self._manifest.wrong(f"{kind} of {path}: {errno.errorcode[exc.errno]}")
        if exc.errno in GONE:
            raise Disconnected

    def _call(self, step, number):
        path = self._at(step.path)
        match step.kind:
            case "hold":
                self._held[step.path] = number, self._hold(path, step.content.data())
            case "truncate":
                os.truncate(path, step.size)
            case "rename" | "rename-directory":
                os.rename(path, self._at(step.target))
            case "unlink":
                os.unlink(path)
            case "mkdir":
                os.mkdir(path)
            case _:
                self._write(path, step)

    def _write(self, path, step):
        flags = {"append": os.O_WRONLY | os.O_APPEND, "edit": os.O_RDWR}.get(step.kind, NEW)
        with self._opened(path, flags | (os.O_EXCL if step.exclusive else 0)) as descriptor:
            if step.offset:
                os.lseek(descriptor, step.offset, os.SEEK_SET)
            self._put(descriptor, step.content.data())
            if step.sync:
                os.fsync(descriptor)

    def _hold(self, path, data):
        """Write a file and leave it open."""
        descriptor = os.open(path, NEW)
        try:
            self._put(descriptor, data)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        return descriptor

    @contextlib.contextmanager
    def _opened(self, path, flags):
        """Open a file for the block, and report what its close() says; after an error in the block, that one."""
        descriptor = os.open(path, flags, 0o666)
        try:
            yield descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        os.close(descriptor)

    def _put(self, descriptor, data):
        """Write all, keeping count: `_written` is how much, unless it was everything."""
        view, self._written = memoryview(data), 0
        while self._written < len(view):
            self._written += os.write(descriptor, view[self._written : self._written + MiB])
        self._written = None

    def _release(self, path, *, sync):
        number, descriptor = self._held.pop(path)
        started = time.monotonic()
        failure = None
        try:
            if sync:
                os.fsync(descriptor)
        except OSError as exc:
            failure = exc
        try:
            os.close(descriptor)
        except OSError as exc:
            failure = failure or exc
        if failure is None:
            self._manifest.succeed(number, time.monotonic() - started)
            return True
        self._manifest.fail(number, errno.errorcode[failure.errno], time.monotonic() - started)
        self._judge("close", path, failure, certain=True)
        return False

    def _read(self, path):
        """Return what a file holds, which has to be one of the states it may be in; `None` where it cannot be read."""
        states = self._manifest.expected.at(path)
        try:
            with self._opened(self._at(path), os.O_RDONLY) as descriptor:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                pieces = []
                while piece := os.read(descriptor, MiB):
                    pieces.append(piece)
        except OSError as exc:
            self._judge("read", path, exc, certain=ABSENT not in states and len(states) == 1)
            return None
        data = b"".join(pieces)
        for state in states:
            if isinstance(state, Content) and state.size == len(data) and state.data() == data:
                return state
        self._manifest.wrong(f"read of {path}: none of the {len(states)} states that it may be in")
        return None
