"""The settings file on a real disk."""

import os

import pytest

from mountd.errors import EXIT_CONFIG, UserError
from mountd.settings_file import SettingsFile


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path):
    """An exception in the block, or a value that TOML cannot hold, writes nothing and leaves nothing behind."""
    file = SettingsFile(tmp_path / "config.toml")
    with file.change() as settings:
        settings["active"] = "a"
    with pytest.raises(KeyError), file.change() as settings:
        del settings["active"], settings["active"]
    with pytest.raises(TypeError), file.change() as settings:
        settings["active"] = None
    assert file.read() == {"active": "a"}
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "config.toml.lock"]


def test_readers_see_the_old_file_or_the_new_one(tmp_path):
    """The file is replaced, not rewritten: whoever has it open keeps the old contents."""
    file = SettingsFile(tmp_path / "config.toml")
    with file.change() as settings:
        settings["active"] = "a"
    with open(file.path) as before:
        with file.change() as settings:
            settings["active"] = "b" * 10_000
        assert before.read() == 'active = "a"\n'


def test_a_link_to_the_settings_stays_a_link(tmp_path):
    """People keep their settings in a repository and link to them."""
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "mountd.toml").write_text("a = 1\n")
    file = SettingsFile(tmp_path / "config.toml")
    file.path.symlink_to("dotfiles/mountd.toml")
    with file.change() as settings:
        settings["a"] = 2
    assert file.path.is_symlink()
    assert (tmp_path / "dotfiles" / "mountd.toml").read_text() == "a = 2\n"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    """No traceback for a mistake of the user's."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write") as caught, SettingsFile(tmp_path / "file" / "c.toml").change():
        pass
    assert caught.value.exit_code == EXIT_CONFIG


def test_what_is_not_text_is_one_line(tmp_path):
    """Binary rubbish is malformed TOML like any other."""
    file = SettingsFile(tmp_path / "config.toml")
    file.path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not valid TOML"):
        file.read()
