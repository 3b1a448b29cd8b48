"""The user's unit under a real systemd: started means mounted, and what dies or hangs is started anew."""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.systemd.namespace import open_namespace
from tests.systemd.test_units import FOLDER

SYSTEMD = Path("/lib/systemd/systemd")
UNIT = "mountd@prod.service"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("nsenter") is None,
    reason="a systemd of one's own takes root and systemd",
)

# systemd runs for users only where it believes that it runs the machine, too.
PREPARE = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system"


class Manager:
    """A systemd for one user."""

    def __init__(self, namespace, environment):
        self._namespace, self._environment = namespace, environment

    def run(self, *command, **more):
        """Run a program where this systemd's mounts are."""
        return self._namespace.run(*command, env=self._environment, **more)

    def systemctl(self, *arguments, **more):
        """Run systemctl."""
        return self.run("systemctl", "--user", *arguments, **more)

    def show(self):
        """Return the unit's properties."""
        return dict(line.partition("=")[::2] for line in self.systemctl("show", UNIT).stdout.splitlines())

    def wait(self, wanted):
        """Return the unit's properties once `wanted` is true of them."""
        end = time.monotonic() + 60
        while not wanted(found := self.show()):
            assert time.monotonic() < end, found
            time.sleep(0.1)
        return found


@pytest.fixture
def manager(registered, tmp_path):
    """Yield a systemd with the unit of the project, in whose store `prod` a bucket is."""
    command = tmp_path / "mountd"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mountd "$@"\n')
    command.chmod(0o755)
    units = tmp_path / "units"
    units.mkdir()
    text = (FOLDER / "user/mountd@.service").read_text()
    for ours, theirs in (
        ("%h/.local/bin/mountd", str(command)),
        ("RestartSec=10", "RestartSec=1"),
        ("WatchdogSec=60", "WatchdogSec=4"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    (units / "mountd@.service").write_text(text)
    for name in ("default", "basic", "shutdown", "exit"):
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    environment = registered.environment | {"SYSTEMD_UNIT_PATH": str(units)}
    Path(environment["XDG_RUNTIME_DIR"]).mkdir(mode=0o700, exist_ok=True)
    with open_namespace(PREPARE, [str(SYSTEMD), "--user"], env=environment) as namespace:
        made = Manager(namespace, environment)
        end = time.monotonic() + 30
        while made.systemctl("show-environment", check=False).returncode:
            if namespace.process.poll() is not None or time.monotonic() > end:
                pytest.skip("systemd does not run here")
            time.sleep(0.1)
        try:
            yield made
        finally:
            made.systemctl("stop", UNIT, check=False)


def test_the_unit_is_started_once_it_is_mounted_and_stops_with_nothing_left(manager, host, bucket):
    """Start, death, a hang, stop: the whole life."""
    point = host.folder / "home/mountd/prod"
    manager.systemctl("start", UNIT)
    manager.run("sh", "-ec", f"echo hello > {point}/greeting")
    assert bucket.get("greeting") == b"hello\n"
    started = manager.show()
    assert (started["ActiveState"], started["Type"]) == ("active", "notify")
    assert bucket.root in started["StatusText"]

    os.kill(int(started["MainPID"]), signal.SIGKILL)
    again = manager.wait(lambda now: now["NRestarts"] == "1" and now["ActiveState"] == "active")
    assert manager.run("cat", point / "greeting").stdout == "hello\n"

    os.kill(int(again["MainPID"]), signal.SIGSTOP)
    manager.wait(lambda now: now["Result"] == "watchdog" or now["NRestarts"] == "2")
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(again["MainPID"]), signal.SIGCONT)  # so that it gets the watchdog's signal
    manager.wait(lambda now: now["NRestarts"] == "2" and now["ActiveState"] == "active")
    assert manager.run("cat", point / "greeting").stdout == "hello\n"

    manager.systemctl("stop", UNIT)
    stopped = manager.show()
    assert (stopped["ActiveState"], stopped["Result"]) == ("inactive", "success")
    assert str(point) not in manager.run("cat", "/proc/self/mounts").stdout
    assert not host.daemons()
