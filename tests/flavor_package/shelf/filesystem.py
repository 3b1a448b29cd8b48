"""A file system in one table. Folders are rows without data, or what the paths of files have in common."""

import sqlite3
import time
from pathlib import Path

from fsspec import AbstractFileSystem

# Every write is a new row, and numbers of rows are not used again: the number is the version.
TABLE = """
create table if not exists files (
    number integer primary key autoincrement, path text unique, data blob, mtime real
)
"""
LARGEST = 1_000_000_000  # bytes in a row of SQLite
STATE = "number, length(data), mtime"


class ShelfFileSystem(AbstractFileSystem):
    """The methods that mountd calls, and no more."""

    protocol = "shelf"

    def __init__(self, file, patience=20, **options):
        super().__init__(**options)
        self.file, self.patience = file, patience
        self._query(TABLE)

    def info(self, path, **kwargs):
        path = self._strip_protocol(path)
        for row in self._query(f"select {STATE} from files where path = ? and data is not null", path):
            return _file(path, *row)
        if not self._query("select 1 from files where path = ? or path > ? and path < ?", path, *_below(path)):
            raise FileNotFoundError(path)
        return _folder(path)

    def ls(self, path, detail=True, **kwargs):
        found = {}
        state = self.info(path)
        path = state["name"]
        if state["type"] == "file":
            found[path] = state
        for each, *row in self._query(f"select path, {STATE} from files where path > ? and path < ?", *_below(path)):
            name, deeper, _ = each[len(path) + 1 :].partition("/")
            child, is_folder = f"{path}/{name}", deeper or row[1] is None
            found[child, is_folder] = _folder(child) if is_folder else _file(child, *row)
        return list(found.values()) if detail else sorted(each["name"] for each in found.values())

    def cat_file(self, path, start=None, end=None, **kwargs):
        start = start or 0
        length = LARGEST if end is None else end - start
        for (data,) in self._query(
            "select substr(data, ?, ?) from files where path = ? and data is not null",
            *(start + 1, length, self._strip_protocol(path)),
        ):
            return data
        raise FileNotFoundError(path)

    def get_file(self, rpath, lpath, **kwargs):
        Path(lpath).write_bytes(self.cat_file(rpath))

    def pipe_file(self, path, value, **kwargs):
        self._query(
            "insert or replace into files (path, data, mtime) values (?, ?, ?)",
            *(self._strip_protocol(path), value, time.time()),
        )

    def put_file(self, lpath, rpath, **kwargs):
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def rm_file(self, path):
        self._query("delete from files where path = ? and data is not null", self._strip_protocol(path))

    def makedirs(self, path, exist_ok=False):
        self._query("insert or ignore into files (path) values (?)", self._strip_protocol(path))

    def rmdir(self, path):
        self._query("delete from files where path = ? and data is null", self._strip_protocol(path))

    def _query(self, statement, *values):
        """Carry out one statement as a transaction of its own, and return the rows."""
        connection = sqlite3.connect(self.file, timeout=self.patience)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()


def _file(path, number, size, mtime):
    return {"name": path, "type": "file", "size": size, "mtime": mtime, "version": str(number)}


def _folder(path):
    return {"name": path, "type": "directory", "size": 0}


def _below(path):
    """Return the bounds of the paths below a folder: from its slash up to the character after the slash."""
    return f"{path}/", f"{path}0"
