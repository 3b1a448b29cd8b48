"""The shell blocks of the documentation, command by command, as a reader would type them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^ *```(sh|console)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d[\d.]*(?: [KMGT]?i?B\b)?")


@dataclass(frozen=True)
class Typed:
    """What is typed at one prompt, and the lines that the page shows below it."""

    text: str
    shown: tuple[str, ...] = ()

    def begins(self, *words):
        """Whether the command begins with one of these."""
        return self.text.startswith(words)

    def unseen(self, output):
        """Return the lines that are shown and were not printed; a number or size stands for any other."""
        printed = [line.rstrip() for line in output.splitlines()]
        return [line for line in self.shown if not any(_pattern(line).fullmatch(each) for each in printed)]


def _pattern(line):
    return re.compile(r"[\d.]+(?: [KMGT]?i?B)?".join(map(re.escape, _NUMBER.split(line))))


def typed(page):
    """Return all commands of a page in their order: of a console what follows a prompt, of a script each line."""
    return [each for kind, text in BLOCK.findall(page.read_text()) for each in _commands(kind, text)]


def _commands(kind, text):
    if kind == "sh":
        # A backslash goes on with the line.
        return [Typed(each.strip()) for each in re.findall(r"(?:.*\\\n)*.+", text)]
    parts = re.findall(r"^ *\$ ((?:.*\\\n)*.*)\n((?:(?! *\$ ).*\n)*)", text, re.MULTILINE)
    return [Typed(command.strip(), tuple(line.rstrip() for line in shown.splitlines())) for command, shown in parts]
