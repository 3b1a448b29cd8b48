"""Which call comes next: seeded random choices from what is known of the tree."""

from dataclasses import dataclass

from tests.workload.contents import Content, fresh
from tests.workload.manifest import ABSENT, DIRECTORY, Change

KiB, MiB = 1024, 1024 * 1024
EMPTY = Content()

# How often each call is chosen, where it can be.
WEIGHTS = {
    "write": 24,
    "save": 12,
    "append": 12,
    "edit": 12,
    "truncate": 4,
    "rename": 10,
    "rename-directory": 4,
    "unlink": 7,
    "mkdir": 4,
    "read": 14,
    "hold": 5,
    "release": 8,
}
NAMES, DIRECTORIES, LARGE_FILES = 10, 4, 3


@dataclass(frozen=True)
class Sizes:
    """How large files are, in bytes. A large one is to be sent in parts; `share` of the files written are."""

    small: int = 100 * KiB
    large: tuple[int, int] = (11 * MiB, 30 * MiB)
    share: float = 0.06


@dataclass(frozen=True)
class Step:
    """One call to be made.

    Attributes:
        kind: a key of `WEIGHTS`; for `save` there are two steps, `write` and `rename`.
        content: what is written: the whole file, or what is put at `offset` or at the end.
        size: for `truncate`; `target`: for renames.
        exclusive: with O_EXCL; `sync`: acknowledged by fsync(), not by close().
    """

    kind: str
    path: str = ""
    target: str = ""
    content: Content = EMPTY
    offset: int = 0
    size: int = 0
    exclusive: bool = False
    sync: bool = False

    @property
    def changes_a_part(self):
        """What becomes of the file depends on what it held before."""
        return self.kind in ("append", "edit", "truncate")

    def result(self, base, written=None):
        """Return what the file holds after the call, which had `base`, or after the first bytes of it."""
        content = self.content if written is None else self.content.slice(0, written)
        if self.kind == "append":
            return base + content
        if self.kind == "edit":
            return base.written(self.offset, content)
        return base.slice(0, self.size) if self.kind == "truncate" else content

    def change(self, expected, base=None):
        """Return what the call is to bring about."""
        if self.kind == "rename":
            after = {self.path: {ABSENT}, self.target: expected.at(self.path) - {ABSENT}}
            return Change(self.kind, after, moves=((self.path, self.target),))
        if self.kind == "rename-directory":
            return self._directory_change(expected)
        if self.kind == "unlink":
            return Change(self.kind, {self.path: {ABSENT}})
        if self.kind == "mkdir":
            return Change(self.kind, {self.path: {DIRECTORY}})
        # What O_EXCL creates is an empty file at once, for everybody.
        during = {self.path: {EMPTY}} if self.exclusive else {}
        return Change(self.kind, {self.path: {self.result(base)}}, during)

    def _directory_change(self, expected):
        pairs = [(self.path, self.target)]
        pairs += [(path, self.target + path[len(self.path) :]) for path in expected.below(self.path)]
        after = {old: {ABSENT} for old, _ in pairs} | {new: expected.at(old) for old, new in pairs}
        return Change(self.kind, after, moves=tuple(pairs))


class Plan:
    """Chooses steps for one worker, all in its directory `home`."""

    def __init__(self, rng, home, expected, sizes):
        self._rng, self._home, self._expected, self._sizes = rng, home, expected, sizes

    def steps(self, number, busy):
        """Return the next steps.

        `number`: of the next change, makes names and bytes unique; `busy`: paths held open.
        """
        while True:
            kind = self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            steps = getattr(self, f"_{kind.replace('-', '_')}")(number, busy)
            if steps:
                return steps

    def _some(self, paths):
        paths = list(paths)
        return self._rng.choice(paths) if paths else None

    def _free(self, busy, *, certain=False):
        """Return a file that is not held open and whose directory is certainly there."""
        expected, known = self._expected, {self._home, *self._expected.directories()}
        found = (path for path in expected.files() if path not in busy and path.rpartition("/")[0] in known)
        return self._some(path for path in found if not certain or expected.certain(path))

    def _new_directory(self, number):
        return f"{self._home}/d{number}"

    def _place(self, busy):
        """Return a path for a file, which may be there already."""
        directory = self._some([self._home, *self._expected.directories()])
        path = f"{directory}/f{self._rng.randrange(NAMES)}"
        return None if path in busy else path

    def _content(self, number):
        rng, sizes = self._rng, self._sizes
        states = (state for path in self._expected.files() for state in self._expected.at(path))
        large = sum(isinstance(state, Content) and state.size >= sizes.large[0] for state in states)
        if large < LARGE_FILES and rng.random() < sizes.share:
            size = rng.randrange(*sizes.large)
        else:
            size = rng.choice([0, 1, rng.randrange(4 * KiB), rng.randrange(sizes.small), sizes.small])
        return fresh(self._stream(number), size)

    def _stream(self, number):
        return hash_of(self._home, number, self._rng.random())

    def _write(self, number, busy):
        path, rng = self._place(busy), self._rng
        if path is None:
            return []
        new = self._expected.at(path) == {ABSENT}
        exclusive = new and rng.random() < 0.3
        return [Step("write", path, content=self._content(number), exclusive=exclusive, sync=rng.random() < 0.2)]

    def _save(self, number, busy):
        target = self._place(busy)
        if target is None:
            return []
        path = f"{target}.tmp-{number}"
        write = Step("write", path, content=self._content(number), sync=self._rng.random() < 0.5)
        return [write, Step("rename", path, target)]

    def _append(self, number, busy):
        path = self._free(busy)
        tail = fresh(self._stream(number), self._rng.randrange(1, 20 * KiB))
        return [Step("append", path, content=tail)] if path else []

    def _edit(self, number, busy):
        path, rng = self._free(busy), self._rng
        size = max((s.size for s in self._expected.at(path) if isinstance(s, Content)), default=0) if path else 0
        if not size:
            return []
        offset = rng.randrange(size)
        length = rng.randrange(1, min(size - offset, rng.choice([16, 8 * KiB, 2 * MiB])) + 1)
        return [Step("edit", path, content=fresh(self._stream(number), length), offset=offset)]

    def _truncate(self, number, busy):
        path = self._free(busy)
        sizes = [s.size for s in self._expected.at(path) if isinstance(s, Content)] if path else []
        return [Step("truncate", path, size=self._rng.randrange(max(sizes) + 5000))] if sizes else []

    def _rename(self, number, busy):
        path, target = self._free(busy), self._place(busy)
        return [Step("rename", path, target)] if path and target and path != target else []

    def _rename_directory(self, number, busy):
        path = self._some(self._expected.directories())
        if path is None or path == self._home or any(each.startswith(f"{path}/") for each in busy):
            return []
        return [Step("rename-directory", path, self._new_directory(number))]

    def _unlink(self, number, busy):
        path = self._free(busy)
        return [Step("unlink", path)] if path else []

    def _mkdir(self, number, busy):
        known = self._expected.directories()
        return [Step("mkdir", self._new_directory(number))] if len(known) <= DIRECTORIES else []

    def _read(self, number, busy):
        path = self._free(busy)
        return [Step("read", path)] if path else []

    def _hold(self, number, busy):
        path = self._place(busy)
        return [Step("hold", path, content=self._content(number))] if path else []

    def _release(self, number, busy):
        path = self._some(sorted(busy))
        return [Step("release", path, sync=self._rng.random() < 0.3)] if path else []


def hash_of(*parts):
    """Return a number that is the same in every process, and never 0."""
    import zlib

    text = repr(parts).encode()
    return (zlib.crc32(text) << 32 | zlib.adler32(text)) + 1
