"""What somebody reads, compared with what was acknowledged."""

import hashlib
import os
from dataclasses import dataclass, field

from tests.workload.contents import Content
from tests.workload.manifest import ABSENT, DIRECTORY

# mountd's own objects, which no listing on a mount shows.
OWN = ".mountd-"


@dataclass
class Verdict:
    """What a comparison has found.

    Attributes:
        checked: acknowledged changes that were looked at for the first time; `compared`: paths looked at.
        uncertain: paths for which more than one state would have been right.
        lost: what is not as it has to be, a line each.
    """

    checked: int = 0
    compared: int = 0
    uncertain: int = 0
    lost: list = field(default_factory=list)

    def __add__(self, other):
        return Verdict(
            self.checked + other.checked,
            self.compared + other.compared,
            self.uncertain + other.uncertain,
            self.lost + other.lost,
        )


def through_mount(root, home):
    """Return what is below a directory of a mount, by path: size and checksum of a file, or `DIRECTORY`."""
    found = {}
    for at, directories, files in os.walk(os.path.join(root, home), onerror=_raise):
        inside = os.path.relpath(at, root)
        found[inside] = DIRECTORY
        for name in directories:
            found[f"{inside}/{name}"] = DIRECTORY
        for name in files:
            with open(os.path.join(at, name), "rb") as file:
                data = file.read()
            found[f"{inside}/{name}"] = digest(data)
    return found


def _raise(error):
    raise error


def through_client(store, home):
    """Return what an independent client of a store finds below a directory, by key. It does not see directories."""
    keys = [key for key in store.keys() if key.startswith(f"{home}/") and not key.rpartition("/")[2].startswith(OWN)]
    return {key: digest(store.get(key)) for key in keys}


def digest(data):
    """Return what `Content.digest` is of these bytes."""
    return len(data), hashlib.sha256(data).hexdigest()


def compare(expected, found, *, directories):
    """Compare what was found with what a manifest allows. `directories`: whether these could be seen."""
    verdict = Verdict()
    kinds = {path: _seen(expected.at(path), directories) for path in expected.states}
    for path in sorted({*kinds, *found}):
        allowed = kinds.get(path, {ABSENT})
        verdict.compared += 1
        verdict.uncertain += len(allowed) > 1
        verdict.checked += path in expected.news
        if found.get(path, ABSENT) not in allowed:
            verdict.lost.append(_difference(path, found.get(path, ABSENT), expected.at(path)))
    verdict.checked += sum(path not in kinds for path in expected.news)  # what was removed, and is not there
    for move in expected.moves:
        verdict.lost += _torn(move, found)
    return verdict


def settled(expected, found):
    """Return the states that were found, as a manifest has them; of those that may not be, nothing."""
    by_digest = {
        state.digest: state for states in expected.states.values() for state in states if isinstance(state, Content)
    }
    states = {path: by_digest.get(what, what) for path, what in found.items()}
    return {path: state for path, state in states.items() if state == DIRECTORY or isinstance(state, Content)}


def _seen(states, directories):
    """Return states as they are found."""
    seen = {state.digest if isinstance(state, Content) else state for state in states}
    return seen if directories or DIRECTORY not in seen else seen - {DIRECTORY} | {ABSENT}


def _torn(move, found):
    """Return what is wrong with a move that may have been carried out or not: everything is at one of its ends."""
    sides = set()
    lost = []
    for old, new, states in move.places:
        wanted = {state.digest for state in states if isinstance(state, Content)}
        here, there = (found.get(path, ABSENT) in wanted for path in (old, new))
        if wanted and ABSENT not in states and not here and not there:
            lost.append(f"{old}: was to be moved to {new}, and is at neither")
        if here != there:
            sides.add(here)
    if len(sides) == 2:
        lost.append(f"{move.places[0][0]}: one part is there, another at {move.places[0][1]}")
    return lost


def _difference(path, found, states):
    wanted = " or ".join(sorted(_text(state.digest if isinstance(state, Content) else state) for state in states))
    if ".conflict-" in path:
        return f"{path}: a conflict copy ({_text(found)}), though nobody else writes here"
    return f"{path}: {_text(found)} instead of {wanted}"


def _text(state):
    if isinstance(state, tuple):
        return f"{state[0]} bytes {state[1][:12]}"
    return "a directory" if state == DIRECTORY else "nothing"
