"""What the documentation tells people to type is what the commands take, and its links lead somewhere."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from mountd.cli import commands
from tests import pages

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "CHANGELOG.md", ROOT / "systemd/README.md", *pages.PAGES])
# What ends a command in a shell.
ENDS = {"|", "&&", ";", ">", "<", ">>", "#", "2>"}


INLINE = re.compile(r"`mountd ([a-z][^`\[|]*)`")


def typed(page):
    """Yield the command lines of `mountd` on a page, in blocks and in text, each as a list of words."""
    for text in INLINE.findall(page.read_text()):
        words = shlex.split(text)
        if "..." not in text and len(words) > 1 and not ENDS.intersection(words) and words[-1] != "SHELL":
            yield words
    for each in pages.typed(page):
        if each.begins("mountd "):
            words = shlex.split(each.text.replace("\\\n", " "), comments=True)
            end = next((i for i, word in enumerate(words) if word in ENDS or word.endswith(";")), len(words))
            yield words[1:end]


def parse(words):
    """Raise click.UsageError where a command does not take these words; nothing is run."""
    context, command = commands.make_context("mountd", list(words)), commands
    while isinstance(command, click.Group) and context._protected_args:
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


LINES = [(str(page.relative_to(ROOT)), words) for page in PAGES for words in typed(page)]


@pytest.mark.parametrize(("page", "words"), LINES, ids=[f"{page}: {' '.join(words)}" for page, words in LINES])
def test_what_people_are_told_to_type_is_taken(page, words):
    """Commands, options and the number of arguments."""
    parse(words)


def test_wrong_commands_would_be_found():
    """The test above can fail."""
    for line in ("mount --no-such-option", "no-such-command", "path", "store register"):
        with pytest.raises(click.UsageError):
            parse(line.split())
    assert len(LINES) > 30


def anchors(page):
    """Return what links to the headings of a page end in."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To files that are there, and to headings that they have."""
    targets = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text())
    inside = [(page.parent / target if target else page, anchor) for target, anchor in targets if "://" not in target]
    assert [target for target, _ in inside if not target.exists()] == []
    assert [(target, anchor) for target, anchor in inside if anchor and anchor not in anchors(target)] == []


# What other programs say, as far as pages quote it.
OTHERS = {
    "certificate verify failed",
    "Could not connect",
    "Token has been revoked",
    "Install",
    "to access",
    "requires",
}


def quoted_messages(page):
    """Return the messages that tables of a page say what to do about."""
    tables = re.findall(r"^\| (?:message|what it says) .*\n\|[-|]+\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    return {each for rows in tables for row in rows.splitlines() for each in re.findall("`(.+?)`", row.split(" | ")[0])}


def constant(message):
    """Return what does not vary in a message: it is between names in quotes, places, numbers and dots."""
    parts = re.split(r"'[^']*'|\"[^\"]*\"|\.\.\.|/x\b|\b[xy]\b|\b\d+\b", message)
    return [part.strip() for part in parts if len(part.strip()) > 5]


def literals():
    """Return the texts in mountd's code, and those between the variable parts of such."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "mountd").rglob("*.py")]
    found = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {each.strip() for each in found if isinstance(each, str)}


def test_messages_that_pages_explain_are_those_that_are_given():
    """Whoever searches the pages for a message finds it: each is made of texts that the code has."""
    known = literals()
    long = [text for text in known if len(text) > 10]  # where two of them make one
    quoted = {part for page in PAGES for message in quoted_messages(page) for part in constant(message)}
    strange = {part for part in quoted if not any(part in text for text in known)}
    assert {part for part in strange if not any(text in part for text in long)} == OTHERS
    assert len(quoted) > 30


def test_every_command_and_page_is_told_of():
    """Commands in README, pages in the index."""
    readme = (ROOT / "README.md").read_text()
    from mountd.cli import COMMANDS

    assert [name for name in COMMANDS if f"`mountd {name}" not in readme] == []
    index = (ROOT / "docs/README.md").read_text()
    shown = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in shown if f"({page})" not in index and page != "README.md"] == []
