"""Listing a folder of this machine in pages, in the order of keys.

The kernel gives a folder's names in no order and can be asked to go on from nowhere but where it stopped. So the names
are read once and kept, packed, until the last page; a cursor whose names are not kept any more reads them again.
"""

from __future__ import annotations

import itertools
import os
import threading

from mountd.errors import NotFound
from mountd.objects import folder
from mountd.objects.interface import Key, ListPage, ObjectInfo
from mountd.objects.octets import text_of

# So many listings can go on at the same time without reading names again.
KEPT = 4
_END = "\0"


class Scans:
    """The listings of folders that are under way, by number: their names, each with a NUL at its end."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def page(self, path: str, prefix: Key, *, cursor: str | None, limit: int, follow: bool) -> ListPage:
        """Return one page: no more than `limit` names, and the marker of `prefix` with the first.

        `follow`: links are what they lead to, as in `mountd.objects.folder`.
        """
        number, at, names = self._start(path, follow) if cursor is None else self._go_on(path, cursor, follow)
        objects: list[ObjectInfo] = []
        prefixes: list[Key] = []
        if prefix and cursor is None:
            objects.append(folder.info_of(prefix, os.stat(path)))
        last = ""
        for _ in range(limit):
            if at >= len(names):
                break
            end = names.index(_END, at)
            last, at = names[at:end], end + 1
            if last.endswith("/"):
                prefixes.append(Key(prefix + last))
            else:
                objects += _info(path, prefix, last, follow)
        more = at < len(names)
        self._keep(number, names if more else None)
        return ListPage(objects, prefixes, f"{number}:{at}:{last}" if more else None)

    def _start(self, path: str, follow: bool) -> tuple[int, int, str]:
        with os.scandir(path) as entries:
            found = sorted(
                text_of(os.fsencode(entry.name)) + ("/" if _is_folder(entry, follow) else "")
                for entry in entries
                if not entry.name.startswith(folder.PARTIAL)
            )
        return next(self._numbers), 0, "".join(name + _END for name in found)

    def _go_on(self, path: str, cursor: str, follow: bool) -> tuple[int, int, str]:
        number, at, last = cursor.split(":", 2)
        names = self._names.get(int(number))
        if names is not None:
            return int(number), int(at), names
        fresh, _, names = self._start(path, follow)
        seen = (len(name) + 1 for name in names.split(_END)[:-1] if name <= last)
        return fresh, sum(seen), names

    def _keep(self, number: int, names: str | None) -> None:
        with self._lock:
            self._names.pop(number, None)
            if names is not None:
                self._names[number] = names
                while len(self._names) > KEPT:
                    del self._names[next(iter(self._names))]


def _is_folder(entry: os.DirEntry[str], follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:  # a link in a circle, or one that leads where we may not go
        return False


def _info(path: str, prefix: Key, name: str, follow: bool) -> list[ObjectInfo]:
    try:
        return [folder.info_at(os.path.join(path, folder.name_in(name)), Key(prefix + name), follow=follow)]
    except (OSError, NotFound):  # gone since, or a link to nowhere, or no file
        return []
