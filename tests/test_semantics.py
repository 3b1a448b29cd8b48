"""`docs/semantics.md` says what each call promises, `docs/stores.md` what stores do, `docs/durability.md` what is safe.

Tests quote the sentences' ids.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("semantics.md", "stores.md", "durability.md")
PROMISE = re.compile(r"`\[([a-z0-9-]+)\]`$", re.MULTILINE)
QUOTE = re.compile(r"\[([a-z0-9]+(?:-[a-z0-9]+)+|freshness|noatime|anonymous|portal|renewed|revoked)\]")


def bullets(page):
    """Return the bullets of a page, each as one line."""
    return re.findall(r"^- .*(?:\n  .*)*", (ROOT / "docs" / page).read_text(), re.MULTILINE)


def promises(*pages):
    """Return the ids of all sentences, as often as they occur."""
    return [found for page in pages for found in PROMISE.findall((ROOT / "docs" / page).read_text())]


def quotes():
    """Return the ids that docstrings of the tests on mounts, stores and lower layers quote, with the file that does."""
    for path in sorted((ROOT / "tests").glob("*/test_*.py")):
        for docstring in re.findall(r'"""(.*?)"""', path.read_text(), re.DOTALL):
            yield from ((found, path.name) for found in QUOTE.findall(docstring))


@pytest.mark.parametrize("page", PAGES)
def test_every_promise_has_an_id_of_its_own(page):
    """One bullet, one promise, one id."""
    found = promises(*PAGES)
    assert len(found) == len(set(found))
    assert [bullet for bullet in bullets(page) if len(PROMISE.findall(bullet)) != 1] == []


def test_every_quote_is_of_a_sentence_that_is_there():
    """A promise that is reworded away takes its test along."""
    known = set(promises(*PAGES))
    assert [(quote, path) for quote, path in quotes() if quote not in known] == []


@pytest.mark.parametrize("page", ["stores.md", "durability.md"])
def test_every_promise_is_quoted(page):
    """What is said of stores, and of what is safe, is held by a test."""
    assert set(promises(page)) - {quote for quote, _ in quotes()} == set()


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
