"""The SQLite database that outlives the daemon: which backing files there are, and which changes are half done.

Rows with two kinds of promises. *Blobs* describe the read cache: losing one costs a fetch, so they are
committed without waiting for the disk. *Intents* are changes of several requests, such as a rename; a row is on disk
(fsync) before the first request goes out and is deleted after the last, so that the next mount can finish the work.
*Attributes* are changes of sidecars that were acknowledged and are on their way; *times* keep what the store rounds.
*Changes* are objects that were acknowledged before the store had them, *finals* what has become of them; see `rows`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mountd.data.cache import Saved
from mountd.errors import Corrupt, NoSpace, StoreFailure
from mountd.objects.interface import ABSENT, Key, MiB, ObjectInfo, Version
from mountd.private import open_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SCHEMA_VERSION = 1

# Up to this size in bytes the whole database is examined at the start; a larger one says so where it is damaged.
EXAMINED = 16 * MiB

_WAY_OUT = (
    "it may hold changes that the store does not have yet; bring it back from a backup, or move it away, with its "
    "-wal file, to start without them"
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, version TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    checks BLOB NOT NULL, bytes INTEGER NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_by_version ON blobs (key, version);
CREATE INDEX IF NOT EXISTS blobs_by_age ON blobs (used, id, bytes);
CREATE TABLE IF NOT EXISTS intents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, target TEXT NOT NULL, recursive INTEGER NOT NULL,
    version TEXT NOT NULL, expect TEXT NOT NULL, exchange TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS attributes (
    directory TEXT NOT NULL, name TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (directory, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS times (
    key TEXT PRIMARY KEY, version TEXT NOT NULL, mtime_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL, expect TEXT,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, source TEXT, spool TEXT NOT NULL, spans TEXT, base TEXT,
    under TEXT NOT NULL, checks BLOB NOT NULL, data BLOB
);
CREATE TABLE IF NOT EXISTS finals (
    id INTEGER PRIMARY KEY, local TEXT NOT NULL UNIQUE, was TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Intent:
    """A rename under way: everything at `source` (below it when `recursive`) goes to `target`.

    Of a file: `version` is what is moved, `expect` what the target held before. Of an exchange of two names: `source`
    is where the first was put aside, `target` the second name, `exchange` the first.
    """

    id: int
    source: Key
    target: Key
    recursive: bool
    version: Version
    expect: Version
    exchange: Key


class Journal:
    """One mount's database. Methods block on the disk for at most a commit; they may be called from any thread.

    Raises Corrupt, and has changed nothing, when the file is damaged or not a journal of ours; NoSpace, StoreFailure.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._path = path
        _require_main_file(path)
        with self._use():
            self._db = _connect(path)
            self._check_version()
            self._examine()
            self._db.executescript(f"{_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_version(self) -> None:
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found not in (0, SCHEMA_VERSION):
            raise Corrupt(
                f"{self._path} was written by another version of mountd (format {found}, not {SCHEMA_VERSION}): use "
                f"that one; {_WAY_OUT}"
            )

    def _examine(self) -> None:
        if self._path.stat().st_size <= EXAMINED:
            (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(found.split()))

    def find(self, key: Key, version: Version) -> Saved | None:
        """Return the backing file of one version of an object."""
        with self._use():
            row = self._db.execute(
                "SELECT id, size, mtime_ns, checks, bytes FROM blobs WHERE key = ? AND version = ?", (key, version)
            ).fetchone()
        if row is None:
            return None
        name, size, mtime_ns, checks, amount = row
        return Saved(name, ObjectInfo(key, size, mtime_ns, version), unpack(checks), amount)

    def save(self, rows: Sequence[Saved]) -> None:
        """Insert or replace rows, in one transaction."""
        with self._use(), self._db:
            # Later than all before, whatever the clock says: one that was set back would make what is in use look old.
            (last,) = self._db.execute("SELECT coalesce(max(used), 0) FROM blobs").fetchone()
            now = max(time.time(), last + 0.001)
            values = [
                (r.id, r.info.key, r.info.version, r.info.size, r.info.mtime_ns, pack(r.checks), r.bytes, now)
                for r in rows
            ]
            self._db.executemany("REPLACE INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget backing files."""
        if ids:
            with self._use(), self._db:
                self._db.executemany("DELETE FROM blobs WHERE id = ?", [(name,) for name in ids])

    def oldest(self, count: int) -> list[tuple[str, int]]:
        """Return names and sizes in bytes of the backing files that were used longest ago."""
        with self._use():
            return self._db.execute("SELECT id, bytes FROM blobs ORDER BY used LIMIT ?", (count,)).fetchall()

    def after(self, id: str, count: int) -> list[Saved]:
        """Return up to `count` backing files with greater ids, by id."""
        with self._use():
            rows = self._db.execute(
                "SELECT id, key, size, mtime_ns, version, checks, bytes FROM blobs WHERE id > ? ORDER BY id LIMIT ?",
                (id, count),
            ).fetchall()
        return [Saved(i, ObjectInfo(key, *info), unpack(checks), amount) for i, key, *info, checks, amount in rows]

    def total(self) -> int:
        """Return the bytes of all backing files."""
        with self._use():
            return int(self._db.execute("SELECT coalesce(sum(bytes), 0) FROM blobs").fetchone()[0])

    def ids(self) -> set[str]:
        """Return the names of all backing files."""
        with self._use():
            return {name for (name,) in self._db.execute("SELECT id FROM blobs")}

    def begin(self, source: ObjectInfo, target: Key, *, expect: Version) -> int:
        """Record that one object is about to move; return the intent's number.

        It survives the daemon, and does not wait for the disk: all that a power loss can leave is both names.
        """
        return self._begin(source.key, target, version=source.version, expect=expect, durable=False)

    def begin_tree(self, source: Key, target: Key) -> int:
        """Record that everything below `source` is about to move, durably; return the intent's number."""
        return self._begin(source, target, recursive=True)

    def begin_exchange(self, one: Key, two: Key, *, aside: Key) -> int:
        """Record that two names are about to be exchanged by way of a third, durably; return the intent's number."""
        return self._begin(aside, two, exchange=one)

    def _begin(
        self,
        source: Key,
        target: Key,
        *,
        recursive: bool = False,
        version: Version = ABSENT,
        expect: Version = ABSENT,
        exchange: str = "",
        durable: bool = True,
    ) -> int:
        with self._use(), self._durable() if durable else contextlib.nullcontext(), self._db:
            cursor = self._db.execute(
                "INSERT INTO intents (source, target, recursive, version, expect, exchange) VALUES (?, ?, ?, ?, ?, ?)",
                (source, target, recursive, version, expect, exchange),
            )
        return int(cursor.lastrowid or 0)

    def end(self, intent: int) -> None:
        """The intent is carried out; should this row survive a crash, carrying it out again changes nothing."""
        with self._use(), self._db:
            self._db.execute("DELETE FROM intents WHERE id = ?", (intent,))

    def intents(self) -> list[Intent]:
        """Return what an earlier daemon began and did not end, oldest first."""
        with self._use():
            rows = self._db.execute(
                "SELECT id, source, target, recursive, version, expect, exchange FROM intents ORDER BY id"
            ).fetchall()
        return [Intent(i, s, t, bool(recursive), v, e, x) for i, s, t, recursive, v, e, x in rows]

    def save_attributes(self, rows: Sequence[tuple[Key, str, dict[str, Any] | None]]) -> None:
        """Record changes of sidecars that the store lacks: directory, name, record or `None`."""
        values = [(directory, name, json.dumps(record)) for directory, name, record in rows]
        with self._use(), self._db:
            self._db.executemany("REPLACE INTO attributes VALUES (?, ?, ?)", values)

    def remove_attributes(self, rows: Sequence[tuple[Key, str]]) -> None:
        """The store has these changes."""
        with self._use(), self._db:
            self._db.executemany("DELETE FROM attributes WHERE directory = ? AND name = ?", rows)

    def move_attributes(self, source: Key, target: Key) -> None:
        """A directory has another name: changes in and below it are made there, unless something newer is known."""
        moved = {"source": source, "target": target, "length": len(source)}
        below = "WHERE substr(directory, 1, :length) = :source"
        with self._use(), self._db:
            self._db.execute(
                f"UPDATE OR IGNORE attributes SET directory = :target || substr(directory, :length + 1) {below}", moved
            )
            self._db.execute(f"DELETE FROM attributes {below}", moved)

    def attributes(self) -> list[tuple[Key, str, dict[str, Any] | None]]:
        """Return the changes of sidecars that the store lacks."""
        with self._use():
            rows = self._db.execute("SELECT directory, name, record FROM attributes").fetchall()
        return [(directory, name, json.loads(record)) for directory, name, record in rows]

    def save_times(self, rows: Sequence[tuple[Key, Version, int]], keep: int) -> None:
        """Remember when this mount last wrote what is in the store, for the `keep` files written last."""
        with self._use(), self._db:
            self._db.executemany("REPLACE INTO times VALUES (?, ?, ?)", rows)
            self._db.execute("DELETE FROM times WHERE rowid <= (SELECT max(rowid) FROM times) - ?", (keep,))

    def times(self) -> dict[Key, tuple[Version, int]]:
        """Return key, version and modification time in nanoseconds of what this mount has written."""
        with self._use():
            rows = self._db.execute("SELECT key, version, mtime_ns FROM times").fetchall()
        return {key: (version, mtime_ns) for key, version, mtime_ns in rows}

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Give the database for one transaction; `durable`: its end waits for the disk."""
        with self._use(), self._durable() if durable else contextlib.nullcontext(), self._db:
            yield self._db

    def close(self) -> None:
        """Close the database; nothing may be called afterwards."""
        with self._use():
            self._db.close()

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        """Keep other threads out, and turn failures of the database into NoSpace or StoreFailure."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as exc:
                if type(exc) is sqlite3.DatabaseError:  # the classes below it are about something else
                    raise Corrupt(f"{self._path} is damaged ({exc}): {_WAY_OUT}") from exc
                # Source: SQLITE_FULL in the SQLite documentation, whose text is "database or disk is full".
                kind = NoSpace if "full" in str(exc) else StoreFailure
                raise kind(f"the journal on local disk: {exc}") from exc

    def _durable(self) -> _Synchronous:
        return _Synchronous(self._db)


class _Synchronous:
    """Commits inside the block wait for the disk. Source: PRAGMA synchronous in the SQLite documentation."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("PRAGMA synchronous = FULL")

    def __exit__(self, *exc: object) -> None:
        self._db.execute("PRAGMA synchronous = NORMAL")


def _require_main_file(path: Path) -> None:
    """Raise Corrupt where changes are left without the database that they belong to: SQLite would delete them."""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size and not (path.exists() and path.stat().st_size):
        raise Corrupt(f"{path} is missing, but not its changes in {log.name}: {_WAY_OUT}")


def _connect(path: Path) -> sqlite3.Connection:
    for name in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
        if name == path or os.path.lexists(name):  # SQLite follows links
            os.close(open_private(name, os.O_RDWR | os.O_CREAT))
    db = sqlite3.connect(path, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def pack(checks: dict[int, int]) -> bytes:
    flat = [n for pair in sorted(checks.items()) for n in pair]
    return struct.pack(f"<{len(flat)}I", *flat)


def unpack(data: bytes) -> dict[int, int]:
    flat = struct.unpack(f"<{len(data) // 4}I", data)
    return dict(zip(flat[::2], flat[1::2], strict=True))
