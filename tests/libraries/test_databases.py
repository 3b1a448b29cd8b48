"""Files that are changed in place, under locks: databases and archives."""

import contextlib
import sqlite3
import zipfile

import pytest

pytestmark = pytest.mark.parametrize("machines", ["local", "s3"], indirect=True)
library = pytest.mark.library


@library("sqlite3")
@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "memory", "wal"])
def test_transactions_of_sqlite(place, journal):
    """Commits and a rollback in each journal mode, WAL too; whole databases elsewhere once it is closed."""
    connection = sqlite3.connect(place.here / "data.db")
    assert connection.execute(f"pragma journal_mode={journal}").fetchall() == [(journal,)]
    connection.execute("create table t (n integer primary key, word text)")
    rows = [(n, f"word {n}") for n in range(5000)]
    connection.executemany("insert into t values (?, ?)", rows)
    connection.commit()
    connection.execute("create index words on t (word)")
    connection.execute("delete from t where n % 2")
    connection.rollback()
    connection.close()
    for folder in place.readers():
        with contextlib.closing(sqlite3.connect(folder / "data.db")) as seen:
            assert seen.execute("pragma integrity_check").fetchall() == [("ok",)]
            assert seen.execute("select n, word from t order by n").fetchall() == rows


@library("sqlite3")
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_writers_of_sqlite_wait_for_each_other(place, journal):
    """A second connection on the mount is refused while the first one writes; commits are stored when they return."""
    first, second = (sqlite3.connect(place.here / "data.db", timeout=0, isolation_level=None) for _ in range(2))
    first.execute(f"pragma journal_mode={journal}")
    first.execute("create table t (n)")
    first.execute("begin immediate")
    first.execute("insert into t values (1)")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        second.execute("begin immediate")
    first.execute("commit")
    second.execute("insert into t select n + 1 from t")
    with contextlib.closing(sqlite3.connect(place.copy / "data.db")) as seen:
        assert seen.execute("select n from t").fetchall() == [(1,), (2,)]
    assert first.execute("select n from t").fetchall() == [(1,), (2,)]
    first.close()
    second.close()


@library("lmdb")
def test_an_lmdb_environment(place, remount):
    """Transactions, an aborted one, `copy(compact=True)`; after a remount, and read only without the lock file."""
    import lmdb

    words = {f"{n:05}".encode(): f"word {n}".encode() for n in range(3000)}
    with lmdb.open(str(place.here / "words.lmdb"), map_size=1 << 26) as environment:
        for start in range(0, len(words), 1000):
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(list(words.items())[start : start + 1000])
        with contextlib.suppress(ZeroDivisionError), environment.begin(write=True) as transaction:
            transaction.drop(environment.open_db(txn=transaction), delete=False)
            raise ZeroDivisionError
        (place.here / "compact.lmdb").mkdir()
        environment.copy(str(place.here / "compact.lmdb"), compact=True)
    remount()
    for folder in place.readers():
        for name in ("words.lmdb", "compact.lmdb"):
            options = {"readonly": True, "lock": False}
            with lmdb.open(str(folder / name), **options) as environment, environment.begin() as transaction:
                assert dict(transaction.cursor()) == words
                assert transaction.get(b"02999") == b"word 2999"


@library("lmdb")
def test_an_lmdb_reader_follows_a_writer(place):
    """Another transaction on the same mount sees a commit at once, or its own snapshot; a commit is stored at once."""
    import lmdb

    with lmdb.open(str(place.here / "data.lmdb"), map_size=1 << 24) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(b"a", b"1")
        with environment.begin() as before:
            with environment.begin(write=True) as transaction:
                transaction.put(b"a", b"2")
            assert before.get(b"a") == b"1"
        with environment.begin() as after:
            assert after.get(b"a") == b"2"
        stored = lmdb.open(str(place.copy / "data.lmdb"), readonly=True, lock=False)
        with stored, stored.begin() as transaction:
            assert transaction.get(b"a") == b"2"


@library("lmdb")
@pytest.mark.parametrize("options", [{"sync": False}, {"writemap": True}], ids=["sync", "writemap"])
def test_an_lmdb_environment_synced_at_the_end(place, options):
    """`sync=False` and `writemap=True`: `sync(True)` stores the file, with the latter one as large as `map_size`."""
    import lmdb

    words = {b"%05d" % n: b"word %05d" % n * 10 for n in range(2000)}
    with lmdb.open(str(place.here / "data.lmdb"), map_size=1 << 23, **options) as environment:
        for start in range(0, len(words), 500):
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(list(words.items())[start : start + 500])
        environment.sync(True)
        for folder in place.elsewhere():
            size = (folder / "data.lmdb" / "data.mdb").stat().st_size
            assert (size == 1 << 23) == ("writemap" in options)
            seen = lmdb.open(str(folder / "data.lmdb"), readonly=True, lock=False)
            with seen, seen.begin() as transaction:
                assert dict(transaction.cursor()) == words


@library("duckdb")
def test_a_database_of_duckdb(place):
    """A database file: commits, `CHECKPOINT`, a rollback, opened again for more, and read only elsewhere."""
    import duckdb

    with duckdb.connect(place.here / "data.duckdb") as connection:
        connection.execute("create table t as select range as n, 'word ' || range as word from range(50000)")
        connection.execute("checkpoint")
        connection.execute("begin")
        connection.execute("delete from t")
        connection.execute("rollback")
    with duckdb.connect(place.here / "data.duckdb") as connection:
        connection.execute("insert into t select n + 50000, word from t where n < 1000")
    for folder in place.readers():
        with duckdb.connect(folder / "data.duckdb", read_only=True) as connection:
            assert connection.sql("select count(*), max(n), count(distinct word) from t").fetchall() == [
                (51000, 50999, 50000)
            ]


@library("duckdb")
def test_a_commit_of_duckdb_survives_the_process(place):
    """The write-ahead log is stored with each commit: what a killed process has committed is there."""
    import subprocess
    import sys

    import duckdb

    script = (
        "import duckdb, os, sys, signal\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "connection.execute('create table t as select range as n from range(1000)')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, place.here / "data.duckdb"], check=False)
    assert killed.returncode == -9
    assert "data.duckdb.wal" in place.keys()
    for folder in place.elsewhere():
        with duckdb.connect(folder / "data.duckdb") as connection:
            assert connection.sql("select count(*) from t").fetchall() == [(1000,)]


@library("zipfile")
def test_an_archive_grows_in_place(place):
    """Members written, headers completed by seeking back, and another session (`a`) that adds to the archive."""
    text = "a line\n" * 10_000
    with zipfile.ZipFile(place.here / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first.csv", text)
    with zipfile.ZipFile(place.here / "data.zip", "a") as archive, archive.open("second.csv", "w") as file:
        file.write(text.encode())
    for folder in place.readers():
        with zipfile.ZipFile(folder / "data.zip") as archive:
            assert archive.testzip() is None
            assert archive.read("first.csv") == archive.read("second.csv") == text.encode()
