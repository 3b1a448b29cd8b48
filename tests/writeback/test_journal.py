"""The journal's promises that no mount is needed for."""

import sqlite3
import time

import pytest

from mountd.data.cache import Saved
from mountd.errors import Corrupt
from mountd.objects.interface import Key, ObjectInfo, Version
from mountd.writeback.journal import EXAMINED, Journal


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal.db")
    yield made
    made.close()


def saved(name):
    return Saved(name, ObjectInfo(Key(name), 10, 0, Version("v")), {0: 1}, 10)


def test_what_was_used_last_is_the_youngest_whatever_the_clock_says(journal, monkeypatch):
    """A clock that is set back a day does not make what is in use the first to go."""
    journal.save([saved("yesterday")])
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    journal.save([saved("now")])
    journal.save([saved("then")])
    assert [name for name, _ in journal.oldest(3)] == ["yesterday", "now", "then"]


def test_rows_can_be_gone_through_in_pieces(journal):
    """Each once, whatever is removed in between."""
    journal.save([saved(name) for name in "abcde"])
    assert [row.id for row in journal.after("", 2)] == ["a", "b"]
    journal.remove(["b", "c"])
    assert journal.after("b", 9) == [saved("d"), saved("e")]


def test_damage_to_a_large_journal_is_told_when_it_is_met(tmp_path):
    """It is not examined as a whole at the start; the failure names the file, and says what to do."""
    path = tmp_path / "journal.db"
    journal = Journal(path)
    big = Saved("big", ObjectInfo(Key("k"), 0, 0, Version("v")), dict.fromkeys(range(EXAMINED // 8), 1), 0)
    journal.save([big, *(saved(f"{number:04}") for number in range(1000))])
    journal.close()
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    journal = Journal(path)
    with pytest.raises(Corrupt, match=r"journal\.db is damaged .*move it away"):
        journal.ids()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
