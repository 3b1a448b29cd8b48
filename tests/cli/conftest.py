"""The command as users run it: a process, with folders of its own."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def environment(tmp_path):
    """Variables that keep everything the command writes under `tmp_path`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "AWS_"))}
    return kept | {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }


@pytest.fixture
def mountd(environment):
    """Run `mountd` with the given arguments and return the finished process."""

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, "-m", "mountd", *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
