"""Completion in a real bash."""

import shutil
import subprocess
import sys

import pytest

from mountd.cli import COMMANDS
from tests.kits import LocalFolder

HEAVY = "print({'rich', 'trio', 'fsspec'} & set(sys.modules))"

BASH = """
source <(mountd completion bash)
COMP_WORDS=(mountd "$@")
COMP_CWORD=$#
_mountd_completion mountd
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(host, tmp_path):
    """Return what bash offers after `mountd` and some words, of which the last is the one that is typed."""
    command = tmp_path / "bin/mountd"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mountd "$@"\n')
    command.chmod(0o755)
    host.environment["PATH"] = f"{command.parent}:{host.environment['PATH']}"

    def ask(*words):
        done = subprocess.run(
            ["bash", "--norc", "-c", BASH, "bash", *words],
            env=host.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr
        return [line for line in done.stdout.splitlines() if line]

    return ask


def test_bash_completes_commands_stores_and_options(complete, host, tmp_path):
    """Commands, those of groups, names of stores, of flavors, and options."""
    (tmp_path / "lab").mkdir()
    host.run("store", "register", "lab", f"--path={tmp_path / 'lab'}")
    assert sorted(complete("")) == sorted(COMMANDS)
    assert complete("mo") == ["mount"]
    assert complete("store", "des") == ["describe"]
    assert complete("mount", "la") == ["lab"]
    assert complete("store", "describe", "") == ["default", "lab"]
    assert complete("flavor", "describe", "az") == ["azure"]
    assert "--read-only" in complete("mount", "--r")


def test_bash_completes_what_is_mounted(complete, host, tmp_path):
    """By name and mount point."""
    assert complete("unmount", "") == []
    mount = host.mount(LocalFolder(tmp_path / "store"), name="lab")
    assert complete("unmount", "l") == ["lab"]
    assert complete("unmount", str(mount.path)[:5]) == [str(mount.path)]


def test_completing_a_command_imports_nothing_heavy(host):
    """Somebody waits for it at each Tab."""
    host.environment |= {"_MOUNTD_COMPLETE": "bash_complete", "COMP_WORDS": "mountd mo", "COMP_CWORD": "1"}
    script = "\n".join(["import sys, mountd.cli", "try: mountd.cli.run([])", "except SystemExit: pass", HEAVY])
    done = subprocess.run(
        [sys.executable, "-c", script], env=host.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "plain,mount\nset()\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(host, shell):
    """That the shell itself takes, where it is installed."""
    script = host.run("completion", shell).stdout
    assert "_MOUNTD_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-c", script], check=True)
