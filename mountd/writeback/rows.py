"""Pending changes as rows of the journal, and what has become of those that are done.

A change is on disk (fsync) before it is acknowledged, all changes of one commit together, and its row goes when the
store has it. What a local version has become in the store is remembered as long as something here may still name it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mountd.data.extents import Span
from mountd.objects.interface import Key, ObjectInfo, Version
from mountd.writeback.journal import pack, unpack
from mountd.writeback.pending import Change, Kind, Written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mountd.writeback.journal import Journal

# Of how many objects that were sent the local version is remembered, some 400 bytes each.
REMEMBERED = 50_000

_COLUMNS = "seq, kind, key, version, expect, size, mtime_ns, source, spool, spans, base, under, checks"


@dataclass(frozen=True, slots=True)
class Final:
    """What has become of a local version of `key`: `info`, under another key where it lost a conflict."""

    local: Version
    key: Key
    info: ObjectInfo


class Finals:
    """What local versions have become, the last of them."""

    def __init__(self) -> None:
        self._by_local: OrderedDict[Version, Final] = OrderedDict()
        self._by_key: dict[Key, Final] = {}

    def add(self, final: Final) -> None:
        """Remember one; the oldest is forgotten where there are too many."""
        self._by_local[final.local] = final
        if final.info.key == final.key:
            self._by_key[final.key] = final
        while len(self._by_local) > REMEMBERED:
            _, oldest = self._by_local.popitem(last=False)
            if self._by_key.get(oldest.key) is oldest:
                del self._by_key[oldest.key]

    def of(self, local: Version) -> Final | None:
        """Return what a local version has become."""
        return self._by_local.get(local)

    def local(self, info: ObjectInfo) -> ObjectInfo:
        """Return an object of the store as this mount knows it: under its local version where it has one."""
        known = self._by_key.get(info.key)
        if known is None or known.info.version != info.version:
            return info
        return replace(info, version=known.local)

    def at(self, key: Key) -> Final | None:
        """Return what is remembered of the present state of a key."""
        return self._by_key.get(key)


class Rows:
    """The rows of one mount. Methods block on the disk; they raise NoSpace and StoreFailure."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def load(self) -> list[Change]:
        """Return the changes that an earlier daemon acknowledged and did not hear of again, in their order."""
        with self._journal.transaction(durable=False) as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM changes ORDER BY seq").fetchall()
        return [_change(row) for row in rows]

    def finals(self) -> Finals:
        """Return what local versions have become."""
        finals = Finals()
        with self._journal.transaction(durable=False) as db:
            db.execute("DELETE FROM finals WHERE id <= (SELECT max(id) FROM finals) - ?", (REMEMBERED,))
            rows = db.execute("SELECT local, was, key, version, size, mtime_ns FROM finals ORDER BY id").fetchall()
        for local, was, key, version, size, mtime_ns in rows:
            finals.add(Final(local, was, ObjectInfo(key, size, mtime_ns, version)))
        return finals

    def final(self, local: Version) -> Final | None:
        """Return what a local version has become, also one that memory has forgotten."""
        with self._journal.transaction(durable=False) as db:
            row = db.execute(
                "SELECT was, key, version, size, mtime_ns FROM finals WHERE local = ?", (local,)
            ).fetchone()
        if row is None:
            return None
        was, key, version, size, mtime_ns = row
        return Final(local, was, ObjectInfo(key, size, mtime_ns, version))

    def write(self, written: Written, data: Mapping[int, bytes]) -> None:
        """Make changes durable, and forget those that were taken back; `data`: bytes that are in no file, by number."""
        with self._journal.transaction(durable=True) as db:
            db.executemany("DELETE FROM changes WHERE seq = ?", [(change.seq,) for change in written.dropped])
            db.executemany(
                f"INSERT INTO changes ({_COLUMNS}, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*_row(change), data.get(change.seq)) for change in written.added],
            )

    def data(self, change: Change) -> bytes:
        """Return the bytes of a put that has no file."""
        with self._journal.transaction(durable=False) as db:
            row = db.execute("SELECT data FROM changes WHERE seq = ?", (change.seq,)).fetchone()
        return row[0] if row is not None and row[0] is not None else b""

    def done(self, changes: Sequence[Change], finals: Sequence[Final], rebased: Sequence[Change]) -> None:
        """The store has these changes, as `finals`; `rebased`: others whose base it has replaced thereby."""
        with self._journal.transaction(durable=False) as db:
            db.executemany("DELETE FROM changes WHERE seq = ?", [(change.seq,) for change in changes])
            db.executemany(
                "INSERT OR REPLACE INTO finals (local, was, key, version, size, mtime_ns) VALUES (?, ?, ?, ?, ?, ?)",
                [(f.local, f.key, f.info.key, f.info.version, f.info.size, f.info.mtime_ns) for f in finals],
            )
            db.executemany(
                "UPDATE changes SET base = ?, under = ? WHERE seq = ?",
                [(_json(change.base), change.under, change.seq) for change in rebased],
            )


def _row(change: Change) -> tuple[Any, ...]:
    spans = None if change.spans is None else json.dumps(change.spans)
    return (
        change.seq,
        change.kind.value,
        change.key,
        change.version,
        change.expect,
        change.size,
        change.mtime_ns,
        _json(change.source),
        change.spool,
        spans,
        _json(change.base),
        change.under,
        pack(change.checks),
    )


def _change(row: Sequence[Any]) -> Change:
    seq, kind, key, version, expect, size, mtime_ns, source, spool, spans, base, under, checks = row
    return Change(
        seq=seq,
        kind=Kind(kind),
        key=key,
        version=version,
        expect=expect,
        size=size,
        mtime_ns=mtime_ns,
        source=_info(source),
        spool=spool,
        spans=None if spans is None else [Span(*pair) for pair in json.loads(spans)],
        base=_info(base),
        under=under,
        checks=unpack(checks),
        base_since=0,
        group=seq,  # which ones were acknowledged together is not known any more
        doubtful=True,
    )


def _json(info: ObjectInfo | None) -> str | None:
    return None if info is None else json.dumps([info.key, info.size, info.mtime_ns, info.version])


def _info(text: str | None) -> ObjectInfo | None:
    return None if text is None else ObjectInfo(*json.loads(text))
