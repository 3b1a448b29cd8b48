"""The units are ones that systemd takes, and give pending writes the time that they need."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mountd import units
from mountd.config import MountSettings

FOLDER = Path(__file__).parent.parent.parent / "systemd"
UNITS = ["system/mountd@.service", "user/mountd@.service"]


def settings_of(name):
    """Return the settings of a unit, by name; of several lines, all values."""
    found = {}
    for line in (FOLDER / name).read_text().splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit(name, tmp_path, monkeypatch):
    """Without a warning; the command is one that is there."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # a user's systemd has one
    text = (FOLDER / name).read_text()
    for place in ("%h/.local/bin/mountd", "/usr/local/bin/mountd"):
        text = text.replace(place, "/bin/true")
    unit = tmp_path / "mountd@prod.service"
    unit.write_text(text.replace("Documentation=man:fusermount3(1)\n", ""))
    command = [
        "systemd-analyze",
        "verify",
        "--recursive-errors=no",
        *(["--user"] if name.startswith("user/") else []),
        unit,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, []), done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_stopping_leaves_time_for_pending_writes(name):
    """Each step of a stop, the command and the signal after it, has more time than it needs."""
    found = settings_of(name)
    (stop,), (limit,) = found["ExecStop"], found["TimeoutStopSec"]
    assert " unmount %i" in stop
    assert float(limit) > units.parse_duration(stop.split("--timeout ")[1])
    assert float(limit) > MountSettings().drain_timeout
    assert found["KillMode"] == ["mixed"]


# Each makes systemd give the service a mount namespace of its own (systemd.exec(5)).
NAMESPACES = re.compile(r"Protect|Private|ReadOnly|ReadWrite|Inaccessible|Bind|Temporary|Root|MountFlags")


@pytest.mark.parametrize("name", UNITS)
def test_the_mount_shows_outside_of_the_service(name):
    """Nothing shuts it up in a mount namespace, and the user's can still call fusermount3, which is setuid."""
    found = settings_of(name)
    assert not [key for key in found if NAMESPACES.match(key)]
    if name.startswith("user/"):
        assert not [key for key in found if key.startswith(("NoNew", "Restrict", "SystemCall", "Lock", "Memory"))]


def test_a_unit_of_the_system_stops_before_the_network_does():
    """Units stop in the reverse order of their start."""
    found = settings_of("system/mountd@.service")
    assert "network-online.target" in found["After"][0].split()
    assert found["Before"] == ["remote-fs.target"]
