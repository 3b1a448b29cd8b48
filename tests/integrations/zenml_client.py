"""ZenML itself on a host of the tests."""

import json
import subprocess
import sys
from pathlib import Path


class ZenML:
    """ZenML on a host, with settings of its own."""

    def __init__(self, host):
        self.host = host
        host.environment |= {
            "ZENML_CONFIG_PATH": str(host.folder / "zenml"),
            "ZENML_ANALYTICS_OPT_IN": "false",
            "ZENML_ENABLE_REPO_INIT_WARNINGS": "false",
            "ZENML_LOGGING_COLORS_DISABLED": "true",
            "PYTHONWARNINGS": "ignore",
            "TMPDIR": str(host.folder / "tmp"),  # loaded `Path` artifacts stay where they were unpacked
        }
        for name in ("work", "tmp"):
            host.folder.joinpath(name).mkdir()

    def python(self, *arguments, check=True):
        """Run Python where ZenML is at home."""
        return self._execute(sys.executable, *arguments, check=check)

    def json(self, *arguments):
        """Run Python, and return what it prints last, as JSON."""
        return json.loads(self.python(*arguments).stdout.splitlines()[-1])

    def run(self, *arguments):
        """Run the command `zenml`."""
        return self._execute(Path(sys.executable).parent / "zenml", *arguments)

    def _execute(self, *command, check=True):
        done = subprocess.run(
            [*map(str, command)],
            cwd=self.host.folder / "work",
            env=self.host.environment,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def start(self, *arguments):
        """Start Python, and return the running process; it is killed with the host's at the latest."""
        with (self.host.folder / "zenml.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                cwd=self.host.folder / "work",
                env=self.host.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.host.foreground.append(process)
        return process
