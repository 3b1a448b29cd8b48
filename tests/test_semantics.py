"""`docs/semantics.md` says what each call promises; tests quote its sentences by their ids."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROMISE = re.compile(r"`\[([a-z0-9-]+)\]`$", re.MULTILINE)
QUOTE = re.compile(r"\[([a-z0-9]+(?:-[a-z0-9]+)+|freshness|noatime)\]")


def promises():
    """Return the ids of all sentences, as often as they occur."""
    return PROMISE.findall((ROOT / "docs" / "semantics.md").read_text())


def quotes():
    """Return the ids that docstrings of the tests on mounts quote, with the file that does."""
    for path in sorted((ROOT / "tests" / "mount").glob("test_*.py")):
        for docstring in re.findall(r'"""(.*?)"""', path.read_text(), re.DOTALL):
            yield from ((found, path.name) for found in QUOTE.findall(docstring))


def test_every_promise_has_an_id_of_its_own():
    """One bullet, one promise, one id."""
    found = promises()
    assert len(found) == len(set(found))
    bullets = [line for line in (ROOT / "docs" / "semantics.md").read_text().splitlines() if line.startswith("- ")]
    assert len(bullets) == len(found)


def test_every_quote_is_of_a_sentence_that_is_there():
    """A promise that is reworded away takes its test along."""
    known = set(promises())
    assert [(quote, path) for quote, path in quotes() if quote not in known] == []


def test_the_promises_that_people_build_on_are_quoted():
    """What the README promises is held on real mounts."""
    quoted = {quote for quote, _ in quotes()}
    assert {
        "close-stored",
        "fsync-stored",
        "excl-one-winner",
        "read-one-version",
        "close-to-open",
        "conflict-kept",
    } <= quoted
    assert len(quoted) >= 50
