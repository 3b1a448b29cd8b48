"""`docs/libraries.md` says what these tests check, of the libraries that are installed for them, and nothing else."""

import importlib.metadata
import re
import sqlite3
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.libraries.page import LIBRARIES, PAGE, TABLE, checks, table

ROOT = Path(__file__).parent.parent.parent


def test_the_table_is_of_these_tests():
    """Whoever changes a test or its docstring writes the table anew, with `python -m tests.libraries.page`."""
    assert TABLE.findall(PAGE.read_text()) == [table()]


def test_each_library_is_tested_and_each_tested_library_is_listed():
    assert checks().keys() == LIBRARIES.keys()


def test_the_libraries_are_installed_for_the_tests():
    """The group `libraries` is part of the group `test`, and has what the page names."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert {"include-group": "libraries"} in groups["test"]
    wanted = [each for each in (*groups["test"], *groups["libraries"]) if isinstance(each, str)]
    assert {each.package for each in LIBRARIES.values() if each.package} <= {Requirement(each).name for each in wanted}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_version_that_is_named_was_there_to_try(name):
    """No row names a release that is newer than what is installed: it could not have been tried."""
    each = LIBRARIES[name]
    with_python = {"sqlite3": sqlite3.sqlite_version, "zipfile": ".".join(map(str, sys.version_info[:3]))}
    there = importlib.metadata.version(each.package) if each.package else with_python[name]
    assert Version(each.first) <= Version(each.last) <= Version(there)


def test_what_the_page_refers_to_is_on_it():
    """Each link within the page leads to a heading of it."""
    text = PAGE.read_text()
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) - headings == set()
