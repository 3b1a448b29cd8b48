"""What a mount knows of one file or directory, and what it has cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from mountd.data.extents import State
from mountd.vfs import virtual
from mountd.vfs.catalog import NEVER
from mountd.vfs.nodes import Directory, File

if TYPE_CHECKING:
    from mountd.objects.account import Account
    from mountd.vfs.filesystem import FileSystem
    from mountd.vfs.nodes import Node

# Runs of a file that are told one by one.
RUNS = 100
_STATES = {None: "absent", State.CLEAN: "cached", State.DIRTY: "dirty"}


def explained(fs: FileSystem, node: Node, account: Account) -> dict[str, Any]:
    """Return it for JSON; times in seconds, sizes in bytes."""
    now = trio.current_time()
    assert isinstance(node, File | Directory)
    told: dict[str, Any] = {
        "key": node.key,
        "kind": "file" if isinstance(node, File) else "directory",
        "requests": dict(account.requests),
        "received": account.received,
        "sent": account.sent,
        "last": [each._asdict() | {"at": now - each.at} for each in account.last],
        "known_for": _known_for(node, now),
        "freshness": fs.namespace.freshness,
    }
    return told | (_file(fs, node) if isinstance(node, File) else _directory(node))


def _file(fs: FileSystem, node: File) -> dict[str, Any]:
    content = fs.files.content(node)
    runs = list(content.extents.runs(0, content.size))
    amounts = dict.fromkeys(_STATES.values(), 0)
    for run in runs:
        amounts[_STATES[run.state if run.state is None else State(run.state)]] += run.end - run.start
    value = fs.metadata.virtual
    return {
        "size": node.size,
        "opens": node.opens,
        "version": value(node, virtual.PREFIX + b"version"),
        "state": value(node, virtual.PREFIX + b"state"),
        "bytes": amounts,
        "runs": [
            (run.start, run.end, _STATES[run.state if run.state is None else State(run.state)]) for run in runs[:RUNS]
        ],
        "damaged": content.dropped,
    }


def _directory(node: Directory) -> dict[str, Any]:
    return {
        "names": len(node.catalog),
        "pages": node.listing.pages if node.listing is not None else 0,
        "listed": node.listing is not None,
    }


def _known_for(node: Node, now: float) -> float | None:
    """Return for how many seconds the store has not been asked about a name; `None` where nothing vouches for it."""
    if node.parent is None:
        return None
    heard = node.parent.heard(node.name)
    return now - heard if heard != NEVER else None
