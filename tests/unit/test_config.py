"""Folders and mount settings."""

import os
from pathlib import Path

import pytest

from mountd.config import Folders, MountSettings
from mountd.errors import EXIT_CONFIG, UserError


def test_xdg_variables_steer_every_folder_for_root_as_well(monkeypatch, tmp_path):
    """Tests, containers and services put everything where they want it."""
    for kind in ("CONFIG_HOME", "STATE_HOME", "DATA_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{kind}", str(tmp_path / kind))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folders = Folders.of_this_user()
    assert folders.settings_file == tmp_path / "CONFIG_HOME" / "mountd" / "config.toml"
    assert folders.state == tmp_path / "STATE_HOME" / "mountd"
    assert folders.default_store == tmp_path / "DATA_HOME" / "mountd" / "default"
    assert folders.runtime == tmp_path / "RUNTIME_DIR" / "mountd"
    assert folders.default_mount_point("prod") == tmp_path / "home" / "mountd" / "prod"
    assert list(tmp_path.iterdir()) == []


def test_without_variables_root_has_etc_and_run_and_others_their_home(monkeypatch, tmp_path):
    """Relative values do not count: the XDG specification says to ignore them."""
    for kind in ("CONFIG_HOME", "STATE_HOME", "DATA_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{kind}", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    root = os.geteuid() == 0
    folders = Folders.of_this_user()
    assert folders.config == (Path("/etc/mountd") if root else tmp_path / ".config" / "mountd")
    assert folders.state == tmp_path / ".local" / "state" / "mountd"
    assert folders.data == tmp_path / ".local" / "share" / "mountd"
    assert folders.runtime.is_absolute()
    assert not root or folders.runtime == Path("/run/mountd")


def test_mount_settings_have_the_documented_defaults():
    """Users and other modules rely on them."""
    settings = MountSettings()
    assert (settings.freshness, settings.cache_size, settings.part_size) == (1.0, 10 * 1024**3, 8 * 1024**2)
    assert (settings.attributes, settings.prefetch_limit) == (True, 64 * 1024**2)
    assert (settings.request_deadline, settings.retry_budget, settings.drain_timeout) == (60.0, 30.0, 60.0)
    assert (settings.uid, settings.gid, settings.umask) == (None, None, 0o022)
    assert (settings.allow_other, settings.read_only, settings.write_back, settings.debug) == (False,) * 4


def test_a_setting_that_makes_no_sense_names_itself():
    """Which one, what was given, what would be right."""
    for layer, words in (({"cache_size": "much"}, "cache_size: 'much'"), ({"frehsness": 1}, "freshness")):
        with pytest.raises(UserError, match=words) as caught:
            MountSettings.merge(layer)
        assert caught.value.exit_code == EXIT_CONFIG


def test_settings_of_a_mount_come_back_from_json_unchanged():
    """The settings travel to the daemon's process as plain values."""
    import dataclasses
    import json

    settings = MountSettings.merge({"freshness": "inf", "umask": "077", "uid": "7", "write_back": "yes"})
    assert MountSettings.merge(json.loads(json.dumps(dataclasses.asdict(settings)))) == settings
