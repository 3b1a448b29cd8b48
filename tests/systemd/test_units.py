"""The units are ones that systemd takes, and give pending writes the time that they need."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mountd import units
from mountd.config import MountSettings

FOLDER = Path(__file__).parent.parent.parent / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))


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
    unit = tmp_path / name.replace("@", "@prod")
    unit.write_text(text.replace("Documentation=man:fusermount3(1)\n", ""))
    command = [
        "systemd-analyze",
        "verify",
        "--recursive-errors=no",
        *(["--user"] if "system" not in name else []),
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


def test_a_unit_of_the_system_stops_before_the_network_does():
    """Units stop in the reverse order of their start."""
    found = settings_of("mountd-system@.service")
    assert "network-online.target" in found["After"][0].split()
    assert found["Before"] == ["remote-fs.target"]
