"""The state machine: the same random operations on the model and on a place, and the comparison of both."""

import errno
import os
import stat

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.model import tree
from tests.model.elsewhere import Elsewhere
from tests.model.model import EXCHANGE, NOREPLACE, Model
from tests.model.system import System

# Few names, so that operations meet each other.
names = st.sampled_from("abc")
paths = st.lists(names, min_size=1, max_size=2).map("/".join)
# What exists, by number, three times out of four; otherwise any path, which mostly does not.
known = st.one_of(st.integers(0, 2), st.integers(0, 5), st.integers(0, 8), paths)
targets = st.sampled_from(["a", "b", "c", "a/b", "b/a", "nowhere"])
# Names that the operations make; one of them by writing through a link.
OURS = frozenset({*"abc", "nowhere", ""})
slots = st.integers(0, 2)
# Around the start, the size of a page, and the size of a request of the kernel.
sizes = st.sampled_from([0, 1, 3, 10, 4095, 4096, 4097, 131_073])
contents = st.builds(lambda letter, size: letter * size, st.sampled_from([b"x", b"y", b"z"]), sizes.filter(bool))
file_modes = st.sampled_from([0o666, 0o600, 0o777])
modes = st.sampled_from([0o700, 0o755, 0o740, 0o777])  # always open to the owner, who runs the test
times = st.sampled_from([0, 1, 1_000_000_000, 1_234_567_890_123_456_789])
xattrs = st.sampled_from(["user.x", "user.y"])
open_flags = st.sampled_from(
    [
        os.O_RDONLY,
        os.O_RDWR,
        os.O_WRONLY | os.O_CREAT,
        os.O_RDWR | os.O_CREAT,
        os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        os.O_RDWR | os.O_TRUNC,
        os.O_RDONLY | os.O_TRUNC,
        os.O_WRONLY | os.O_APPEND,
        os.O_RDWR | os.O_CREAT | os.O_APPEND,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND,
        os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW,
    ]
)


def needs(*features):
    """Allow a rule only where the place has the features."""
    return precondition(lambda self: self.place.features.issuperset(features))


is_shared = precondition(lambda self: self.place.shared)
has_store = precondition(lambda self: self.place.store is not None)
has_handles = precondition(lambda self: self.model.handles)


def outcome(operation, *arguments):
    """Return what an operation returns, or the name of its error."""
    try:
        return operation(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def sizes_of(objects):
    """Return {key: size}, which can be printed."""
    return {key: len(data) for key, data in sorted(objects.items())}


class TreeMachine(RuleBasedStateMachine):
    """Operations on one fresh directory of a place. A subclass says which place."""

    place = None

    def __init__(self):
        super().__init__()
        self.model = Model()
        self.elsewhere = Elsewhere(self.model)
        for path, data in self.place.prepared.items():
            self.elsewhere.put(path, data)
        self.name = self.place.fresh()
        self.system = System(self.place.root / self.name)

    def both(self, operation, *arguments):
        """Do the same in both worlds; the outcomes must be equal."""
        expected = outcome(getattr(self.model, operation), *arguments)
        got = outcome(getattr(self.system, operation), *arguments)
        assert got == expected, f"{operation}{arguments}: expected {expected!r:.80}, got {got!r:.80}"

    def handle(self, number):
        """Return an open handle."""
        opened = sorted(self.model.handles)
        return opened[number % len(opened)]

    def path(self, which):
        """Return the path that a number stands for: one that exists, or just `a` when nothing does."""
        if isinstance(which, str):
            return which
        existing = sorted(tree.of_model(self.model.root)) or ["a"]
        return existing[which % len(existing)]

    @initialize(furnished=st.booleans())
    def furnish(self, furnished):
        """Half of the examples begin with something to work on."""
        if furnished and not self.place.prepared:
            self.both("mkdir", "a", 0o777)
            self.create(slot=0, path="a/b", data=b"hello")
            self.create(slot=0, path="b", data=b"good bye")

    @rule(slot=slots, path=paths, data=contents)
    def create(self, slot, path, data):
        """Write a new file, or write an old one anew, and close it."""
        self.open(slot, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        if slot in self.model.handles:
            self.both("pwrite", slot, data, 0)
            self.both("close", slot)

    @rule(slot=slots, path=st.one_of(known, paths), flags=open_flags, mode=file_modes)
    def open(self, slot, path, flags, mode):
        if slot in self.model.handles:
            self.both("close", slot)
        self.both("open", slot, self.path(path), flags, mode)

    @has_handles
    @rule(number=slots)
    def close(self, number):
        self.both("close", self.handle(number))

    @has_handles
    @rule(number=slots)
    def fsync(self, number):
        self.both("fsync", self.handle(number))

    @has_handles
    @rule(number=slots, size=sizes, offset=sizes)
    def pread(self, number, size, offset):
        self.both("pread", self.handle(number), size, offset)
        self.both("fstat", self.handle(number), "links" in self.place.features)

    @has_handles
    @rule(number=slots, data=contents, offset=sizes)
    def pwrite(self, number, data, offset):
        self.both("pwrite", self.handle(number), data, offset)
        self.both("fstat", self.handle(number), "links" in self.place.features)

    @has_handles
    @rule(number=slots, size=sizes)
    def ftruncate(self, number, size):
        self.both("ftruncate", self.handle(number), size)

    @rule(path=known, size=sizes)
    def truncate(self, path, size):
        self.both("truncate", self.path(path), size)

    @rule(path=paths, mode=modes)
    def mkdir(self, path, mode):
        self.both("mkdir", path, mode)

    @rule(path=known)
    def rmdir(self, path):
        self.both("rmdir", self.path(path))

    @rule(path=known)
    def unlink(self, path):
        self.both("unlink", self.path(path))

    @rule(path=known)
    def listdir(self, path):
        self.both("listdir", self.path(path))

    @rule(old=known, new=st.one_of(known, paths), flags=st.sampled_from([0, 0, NOREPLACE]))
    def rename(self, old, new, flags):
        self.both("rename", self.path(old), self.path(new), flags)

    @needs("exchange")
    @rule(old=known, new=known)
    def exchange(self, old, new):
        self.both("rename", self.path(old), self.path(new), EXCHANGE)

    @needs("symlinks")
    @rule(path=paths, leads_to=targets)
    def symlink(self, path, leads_to):
        self.both("symlink", path, leads_to)

    @needs("symlinks")
    @rule(path=known)
    def readlink(self, path):
        self.both("readlink", self.path(path))

    @needs("links")
    @rule(path=known, other=st.one_of(known, paths))
    def link(self, path, other):
        self.both("link", self.path(path), self.path(other))

    @needs("modes")
    @rule(path=known, mode=modes)
    def chmod(self, path, mode):
        self.both("chmod", self.path(path), mode)

    @needs("times")
    @rule(path=known, mtime=times)
    def utime(self, path, mtime):
        self.both("utime", self.path(path), mtime)

    @needs("xattrs")
    @rule(path=known, name=xattrs, value=contents.map(lambda data: data[:100]), flags=st.integers(0, 2))
    def setxattr(self, path, name, value, flags):
        self.both("setxattr", self.path(path), name, value, flags)

    @needs("xattrs")
    @rule(path=known, name=xattrs)
    def getxattr(self, path, name):
        self.both("getxattr", self.path(path), name)
        self.both("listxattr", self.path(path))

    @needs("xattrs")
    @rule(path=known, name=xattrs)
    def removexattr(self, path, name):
        self.both("removexattr", self.path(path), name)

    @is_shared
    @rule(path=st.one_of(known, paths), data=contents)
    def put_elsewhere(self, path, data):
        path = self.path(path)
        if self.elsewhere.put(path, data):
            self.place.store.put(f"{self.name}/{path}", data)

    @is_shared
    @rule(path=known)
    def delete_elsewhere(self, path):
        path = self.path(path)
        if self.elsewhere.delete(path):
            self.place.store.delete(f"{self.name}/{path}")

    @has_store
    @rule(really=st.integers(0, 15))
    def remount(self, really):
        """Rare, because it takes as long as everything else together."""
        if really == 7:
            self.close_all()
            self.place.remount()

    @rule()
    def look(self):
        """Compare the whole tree, and what the store has of it."""
        got = tree.of_folder(self.system.root, xattrs="xattrs" in self.place.features)
        found = tree.differences(tree.of_model(self.model.root), got, self.place.features)
        assert not found, "\n".join(found)
        if self.place.store is not None:
            self.look_into_store()

    def look_into_store(self):
        """Closed files are objects with the same bytes, directories last, and nothing else has a name from here."""
        described = tree.of_model(self.model.root)
        objects = {
            key: data for key, data in self.place.objects(f"{self.name}/").items() if OURS.issuperset(key.split("/"))
        }
        found = {key: data for key, data in objects.items() if not key.endswith("/")}
        stored = {path: each for path, each in described.items() if self.elsewhere.is_stored(each["inode"])}
        closed = {path: each["data"] for path, each in stored.items() if each["data"] is not None}
        # What may be there or not: files that are open, and what stands for symbolic links.
        either = {path for path, each in described.items() if each["kind"] != stat.S_IFDIR} - closed.keys()
        got = {key: data for key, data in found.items() if key not in either}
        assert got == closed, f"in the store: expected {sizes_of(closed)}, got {sizes_of(got)}"
        for path, each in stored.items():
            if each["kind"] == stat.S_IFDIR:
                assert any(key.startswith(f"{path}/") for key in objects), f"{path}: nothing keeps the directory"

    def close_all(self):
        """Close every handle."""
        for handle in list(self.model.handles):
            self.both("close", handle)

    def teardown(self):
        """Whatever the last step was, all must be well in the end; and no file stays open."""
        try:
            self.look()
            self.close_all()
            self.look()
        finally:
            for fd in self.system.handles.values():
                os.close(fd)
