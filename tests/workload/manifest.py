"""What was asked for, what was acknowledged, and in which states each path may therefore be.

A state is a `Content`, `DIRECTORY`, or `ABSENT`. A path may be in more than one as long as a call is under way that
changes it, and for good once that call has failed: before it or after it. A manifest is a file of JSON lines, each on
disk before the call that it announces begins; reading it again gives the same knowledge.
"""

import contextlib
import json
import os
from dataclasses import dataclass, field

from tests.workload.contents import Content, Piece

ABSENT, DIRECTORY = None, "directory"


@dataclass
class Change:
    """What one call is to bring about.

    Attributes:
        kind: the call, for reports.
        after: the states of each path concerned once the call has succeeded.
        during: states that paths may be in besides, until it has.
        moves: pairs of old and new path; what is at the old one never is at neither.
    """

    kind: str
    after: dict
    during: dict = field(default_factory=dict)
    moves: tuple = ()


@dataclass
class Move:
    """An unfinished move: `places` has old path, new path and the states that were at the old one."""

    places: list


class Expected:
    """In which states each path may be.

    Attributes:
        states: by path; others are absent.
        moves: moves that may have been carried out, or not.
        acknowledged: how many changes were; `failed`: how many ended with an error, by its name.
        news: paths whose state was acknowledged and has not been checked since.
        wrong: what programs were told that cannot be.
        slowest: seconds that the longest call took, and its kind.
    """

    def __init__(self):
        self.states = {}
        self.moves = []
        self.acknowledged, self.failed = 0, {}
        self.news = set()
        self.wrong = []
        self.slowest = (0.0, "")
        self._open = {}

    def at(self, path):
        """Return the states that a path may be in."""
        return self.states.get(path, {ABSENT})

    def certain(self, path):
        """Tell whether a path has one state only."""
        return len(self.at(path)) == 1

    def files(self):
        """Return the paths that are files, as far as is known."""
        return sorted(path for path, states in self.states.items() if any(isinstance(s, Content) for s in states))

    def directories(self):
        """Return the paths that are certainly directories."""
        return sorted(path for path, states in self.states.items() if states == {DIRECTORY})

    def below(self, directory):
        """Return all paths below a directory that may hold something."""
        return sorted(path for path in self.states if path.startswith(f"{directory}/"))

    def begin(self, number, change):
        touched = set(change.after) | set(change.during)
        self.moves = [
            move for move in self.moves if not touched & {path for old, new, _ in move.places for path in (old, new)}
        ]
        self.news -= touched
        self._open[number] = (change, {path: self.at(path) for path in touched})
        if change.moves:
            self.moves.append(Move([(old, new, self.at(old)) for old, new in change.moves]))
        for path in touched:
            self._put(path, self.at(path) | change.after.get(path, set()) | change.during.get(path, set()))

    def succeed(self, number, after=None):
        """The call returned 0. `after`: states that were only known then."""
        change, _ = self._open.pop(number)
        self.acknowledged += 1
        for path, states in (after or change.after).items():
            self._put(path, set(states))
            self.news.add(path)
        if change.moves:
            self.moves.pop()

    def fail(self, number, error, possible=None):
        """The call failed: it may have been carried out, or not, or as far as `possible` says, by path."""
        self._open.pop(number)
        self.failed[error] = self.failed.get(error, 0) + 1
        for path, states in (possible or {}).items():
            self._put(path, self.at(path) | set(states))

    def settle(self, states):
        """Paths were found in these states, which will not change by themselves any more."""
        self.states = {path: {state} for path, state in states.items() if state is not ABSENT}
        self.moves, self.news, self.wrong, self._open = [], set(), [], {}

    def _put(self, path, states):
        if states == {ABSENT}:
            self.states.pop(path, None)
        else:
            self.states[path] = set(states)


class Manifest:
    """A manifest on disk, and what it says. Attributes: `expected`; `last`, the number of the last change."""

    def __init__(self, path):
        self.expected = Expected()
        self.last = 0
        with contextlib.suppress(FileNotFoundError), open(path) as lines:
            for line in lines:
                self._read(json.loads(line))
        self._file = open(path, "a")

    def begin(self, change):
        """Write down what a call is to bring about, and return its number."""
        number = self.last + 1
        self._write({"begin": number, "kind": change.kind, "after": _told(change.after),
                     "during": _told(change.during), "moves": list(change.moves)})  # fmt: skip
        return number

    def succeed(self, number, seconds, after=None):
        """Write down that a call returned 0."""
        self._write({"done": number, "seconds": round(seconds, 3), "after": _told(after or {})})

    def fail(self, number, error, seconds, possible=None):
        """Write down that a call failed."""
        self._write({"failed": number, "error": error, "seconds": round(seconds, 3), "possible": _told(possible or {})})

    def wrong(self, text):
        """Write down that a program was told what cannot be."""
        self._write({"wrong": text})

    def settle(self, states):
        """Write down what was found, by path."""
        self._write({"settled": _told({path: {state} for path, state in states.items()})})

    def close(self):
        self._file.close()

    def _write(self, line):
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._read(line)

    def _read(self, line):
        expected = self.expected
        if "begin" in line:
            self.last = line["begin"]
            moves = tuple((old, new) for old, new in line["moves"])
            change = Change(line["kind"], _heard(line["after"]), _heard(line["during"]), moves)
            self._kind = change.kind
            expected.begin(self.last, change)
        elif "done" in line:
            expected.succeed(line["done"], _heard(line["after"]))
        elif "failed" in line:
            expected.fail(line["failed"], line["error"], _heard(line["possible"]))
        elif "settled" in line:
            expected.settle({path: state for path, (state,) in _heard(line["settled"]).items()})
        else:
            expected.wrong.append(line["wrong"])
        if "seconds" in line:
            expected.slowest = max(expected.slowest, (line["seconds"], self._kind))


def _told(states):
    """Return states by path as JSON has them: of a file, its size and checksum, and how to make its bytes again."""
    return {path: [_tell(state) for state in found] for path, found in states.items()}


def _tell(state):
    if not isinstance(state, Content):
        return state
    size, sha256 = state.digest
    return {
        "size": size,
        "sha256": sha256,
        "pieces": [[piece.stream, piece.start, piece.stop] for piece in state.pieces],
    }


def _heard(told):
    return {path: {_hear(state) for state in found} for path, found in told.items()}


def _hear(state):
    if not isinstance(state, dict):
        return state
    return Content(tuple(Piece(*piece) for piece in state["pieces"]))
