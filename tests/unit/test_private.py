"""Folders and files that are one user's alone."""

import os
import stat

import pytest

from mountd.errors import EXIT_CONFIG, UserError
from mountd.private import open_private, private_folder


def test_a_private_folder_is_closed_to_others(tmp_path):
    """Made so, and put right where it is ours but open."""
    folder = tmp_path / "a" / "mountd"
    assert private_folder(folder) == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_private_folder_is_neither_a_link_nor_somebody_elses(tmp_path):
    """Under /tmp anybody could have put it there first."""
    (tmp_path / "trap").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("trap")
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(UserError) as caught:
            private_folder(tmp_path / name)
        assert caught.value.exit_code == EXIT_CONFIG
    if os.geteuid() == 0:
        os.chown(tmp_path / "trap", 12345, 12345)
        with pytest.raises(UserError, match="another user"):
            private_folder(tmp_path / "trap")


def test_a_folder_that_others_could_write_in_is_refused(tmp_path):
    """What is in it may be theirs; the message says what to do."""
    (tmp_path / "open").mkdir()
    for mode in (0o777, 0o770, 0o1777):
        (tmp_path / "open").chmod(mode)
        with pytest.raises(UserError, match="chmod 700"):
            private_folder(tmp_path / "open")


def test_what_is_missing_above_is_private_too(tmp_path):
    """Whatever the umask: who could write there could exchange the folder."""
    before = os.umask(0)
    try:
        private_folder(tmp_path / "a" / "b" / "mountd")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700] * 2


def test_a_private_file_is_no_link_and_no_pipe(tmp_path):
    """A link's target is not touched, and nobody waits for a pipe's other end."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link").symlink_to("victim")
    os.link(tmp_path / "victim", tmp_path / "hard")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "hard", "pipe"):
        with pytest.raises(UserError) as caught:
            os.close(open_private(tmp_path / name, os.O_RDWR | os.O_CREAT))
        assert caught.value.exit_code == EXIT_CONFIG
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_private_file_is_closed_to_others(tmp_path):
    """Also one that was open to them."""
    (tmp_path / "file").touch(mode=0o666)
    os.close(open_private(tmp_path / "file", os.O_RDONLY))
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
