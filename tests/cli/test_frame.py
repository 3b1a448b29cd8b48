"""What all commands share: help, one-line errors, exit codes, speed of the small ones."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mountd import __version__, cli, errors


def test_help_lists_every_command_with_its_own_short_help(mountd):
    """The lines in the lazy table are those of the commands themselves."""
    done = mountd("--help")
    assert done.returncode == 0
    for name, (module, attribute, text) in cli.COMMANDS.items():
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        assert command.name == name
        assert command.get_short_help_str(limit=200) == text
        assert re.search(rf"^  {name} +{re.escape(text)}$", done.stdout, re.MULTILINE)


def test_version_is_that_of_the_distribution(mountd):
    """`--version`, `mountd.__version__` and pyproject.toml agree."""
    assert mountd("--version").stdout == f"mountd {__version__}\n"
    project = (Path(cli.__file__).parent.parent / "pyproject.toml").read_text()
    assert f'\nversion = "{__version__}"\n' in project


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stor"], "No such command 'stor'"),
        (["store", "lst"], "No such command 'lst'"),
        (["store", "list", "--jsn"], "--json"),
        (["store", "register"], "Missing argument 'NAME'"),
        (["store", "register", "x", "--path", "/x", "--option", "hunter2"], "KEY=VALUE"),
        (["store", "describe", "nowhere"], "unknown store 'nowhere'"),
        (["flavor", "describe", "s4"], "unknown flavor 's4'"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_with_exit_code_2(mountd, arguments, words):
    """Nothing on standard output, no traceback, no secret that was typed in the wrong place."""
    done = mountd(*arguments)
    assert done.returncode == errors.EXIT_USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("mountd: error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_settings_that_cannot_be_read_end_with_exit_code_3(mountd, tmp_path):
    """The line names the file and the place in it."""
    (tmp_path / "config" / "mountd").mkdir(parents=True)
    (tmp_path / "config" / "mountd" / "config.toml").write_text("active = nonsense\n")
    done = mountd("store", "list")
    assert done.returncode == errors.EXIT_CONFIG
    assert "config.toml is not valid TOML" in done.stderr
    assert "line 1" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x"), errors.EXIT_UNREACHABLE),
        (errors.BadCredentials("x"), errors.EXIT_UNREACHABLE),
        (errors.DeadlineExceeded("x"), errors.EXIT_UNREACHABLE),
        (errors.Busy("x"), errors.EXIT_BUSY),
        (errors.NoSpace("x"), errors.EXIT_FAILURE),
        (errors.MountdError("x"), errors.EXIT_FAILURE),
    ],
)
def test_failures_of_stores_have_exit_codes(error, code):
    """As docs/exit-codes.md has it."""
    assert cli.exit_code_of(error) == code


def test_every_exit_code_is_documented():
    """One row for each constant."""
    page = (Path(cli.__file__).parent.parent / "docs" / "exit-codes.md").read_text()
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")} | {0, cli.EXIT_INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes


def test_a_reader_that_goes_away_is_no_traceback(environment):
    """As in `mountd flavor describe s3 | head -1`."""
    reading, writing = subprocess.os.pipe()
    subprocess.os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "mountd", "store", "list"],
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    subprocess.os.close(writing)
    assert done.stderr == b""
    assert done.returncode == errors.EXIT_FAILURE


HEAVY = {"trio", "pyfuse3", "fsspec", "s3fs", "botocore", "rich", "importlib.metadata"}
REGISTER = ["store", "register", "x", "s3://b/x", "--option", "endpoint_url=http://127.0.0.1:1"]


@pytest.mark.parametrize("arguments", [["--help"], ["path", "s3://b/x"], ["uri", "/x"], ["store", "list"], REGISTER])
def test_small_commands_import_nothing_heavy(environment, arguments):
    """They are called in loops and prompts."""
    script = (
        f"import sys\nfrom mountd.cli import run\nrun({arguments!r})\nprint(sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
