"""The package in tests/flavor_package: a flavor that pip installs, used as its author and its users do."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent.parent
PACKAGE = CHECKOUT / "tests" / "flavor_package"


@pytest.fixture
def environment(installed_flavor, folders):
    """The environment of a user who has installed the package."""
    path = os.pathsep.join([str(installed_flavor), str(CHECKOUT)])
    return os.environ | {"PYTHONPATH": path, "HOME": str(folders.home), "XDG_CONFIG_HOME": str(folders.config)}


@pytest.fixture
def run(environment):
    """Return what runs Python with arguments as that user."""

    def start(*arguments):
        command = [sys.executable, "-m", *map(str, arguments)]
        return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)

    return start


def test_the_flavor_is_listed_and_its_schemes_are_taken(run, tmp_path):
    """`flavor list`, `flavor describe` and `store register` know it by its entry point."""
    listed = {each["name"]: each for each in json.loads(run("mountd", "flavor", "list", "--json").stdout)}
    assert listed["shelf"]["schemes"] == ["shelf"]
    assert "file\tstr\t" in run("mountd", "flavor", "describe", "shelf").stdout
    done = run("mountd", "store", "register", "runs", "--path", "shelf://team/runs", "--option", f"file={tmp_path}/x")
    assert done.returncode == 0, done.stderr
    shown = json.loads(run("mountd", "store", "describe", "runs", "--json").stdout)
    assert (shown["flavor"], shown["path"]) == ("shelf", "shelf://team/runs")
    refused = run("mountd", "store", "register", "b", "--path", "shelf://team/b", "--option", "fiel=/x")
    assert "did you mean file" in refused.stderr


@pytest.mark.parametrize("by", ["uri", "name"])
def test_its_author_can_run_the_contract_suite_on_it(run, tmp_path, by):
    """One command from a checkout; what the tests stored is gone afterwards, and what was there before is not."""
    file = tmp_path / "shelf.db"
    arguments = ["--store", "shelf://team/x", "--store-option", f"file={file}"]
    if by == "name":
        run("mountd", "store", "register", "mine", "--path", "shelf://team/x", "--option", f"file={file}")
        arguments = ["--store", "mine"]
    wanted = "put_is_read or folds or empty_directory_lasts"
    done = run("pytest", "tests/objects/test_contract.py", "-p", "no:cacheprovider", "-q", "-k", wanted, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    with sqlite3.connect(file) as connection:
        assert connection.execute("select path from files").fetchall() in ([], [("team/x",)])
        assert connection.execute("select seq from sqlite_sequence").fetchone()[0] > 5
    connection.close()


def test_the_contract_suite_fails_on_a_store_that_cannot_be_opened(run):
    """It does not skip."""
    done = run("pytest", "tests/objects/test_contract.py", "-q", "-k", "put_is_read", "--store", "shelf://team/x")
    assert done.returncode == 1
    assert "a shelf needs its file" in done.stdout


def test_the_documentation_shows_this_very_package():
    """Each file of it is a block of docs/flavors.md, word for word."""
    text = (CHECKOUT / "docs" / "flavors.md").read_text()
    blocks = set(re.findall(r"^```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".toml") and path.name != "__init__.py"]
    assert len(files) == 3
    missing = [path for path in files if f"# {path.relative_to(PACKAGE)}\n{path.read_text()}" not in blocks]
    assert missing == []
