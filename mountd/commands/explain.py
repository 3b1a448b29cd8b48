"""`mountd explain`: what is here of a file, what it has cost, and why the last access took as long as it did."""

from __future__ import annotations

import os
from typing import Any

import click

from mountd import units
from mountd.commands.output import print_json
from mountd.commands.top import duration
from mountd.daemon import client
from mountd.mounts import path_of, running_mounts, to_sync

# Requests that began within so many seconds of each other are one access.
ONE_ACCESS = 2.0
_MEANING = {
    "stat": "asked whether it is still the same version",
    "list_page": "listed the directory",
    "read_range": "fetched",
    "put": "stored",
    "open_upload": "began an upload in parts",
    "put_part": "sent a part",
    "copy_part": "had the store copy what had not changed",
    "complete": "completed the upload",
    "copy": "had the store copy it",
    "delete": "removed it",
}


@click.command(short_help="Explain what is cached of a file, and what it has cost.")
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(path: str, as_json: bool) -> None:
    """Explain what is on this machine of a file or directory, what it has cost since the store was mounted, and why
    the last access took as long as it did. PATH is under a mount, or a URI.

    \b
    Examples:
      mountd explain ~/mountd/prod/models/bert.pt
      mountd explain s3://my-bucket/artifacts/models/bert.pt --json
    """
    place = path_of(path, running_mounts()) if "://" in path else path
    ((record, below),) = to_sync(place)
    found: dict[str, Any] = client.ask(record, "explain", path=below)
    if as_json:
        return print_json({"path": os.fspath(place)} | found)
    for line in lines(found):
        click.echo(line)
    return None


def lines(found: dict[str, Any]) -> list[str]:
    """Return the explanation for people."""
    told = _file(found) if found["kind"] == "file" else _directory(found)
    told.append(_vouched(found))
    told.append(_cost(found))
    return [*told, *_last(found)]


def _file(found: dict[str, Any]) -> list[str]:
    size, amounts = units.format_size, found["bytes"]
    if found["state"] == "absent":
        here = "nothing of it is on this machine; the next read waits for the store"
    elif not amounts["absent"]:
        here = "all of it is on this machine; reads do not wait for the store"
    else:
        share = 1 - amounts["absent"] / max(1, found["size"])
        here = f"{share:.0%} of it is on this machine, {size(amounts['absent'])} are in the store alone"
    told = [f"{found['key']}: a file of {size(found['size'])}, version {found['version'] or '(none yet)'}", here]
    if found["state"] in ("dirty", "uploading", "pending"):
        why = {
            "dirty": "it was changed, and is stored when it is closed",
            "uploading": "it is being stored",
            "pending": "it is safe on this machine, and on its way to the store",
        }
        told.append(why[found["state"]])
    if found["damaged"]:
        told.append(f"{size(found['damaged'])} were damaged by the local disk, and were fetched again")
    return told


def _directory(found: dict[str, Any]) -> list[str]:
    if not found["listed"]:
        return [f"{found['key'] or '/'}: a directory that was not listed yet"]
    return [
        f"{found['key'] or '/'}: a directory of {found['names']} names, {found['pages']} pages of the store's listing"
    ]


def _vouched(found: dict[str, Any]) -> str:
    known, freshness = found["known_for"], found["freshness"]
    if known is None:
        return "it is not known whether the store still has it like this: the next open asks"
    if known < freshness:
        return f"the store said so {duration(known)} ago: the next open within {freshness:g} s asks nothing"
    return f"the store said so {duration(known)} ago: the next open asks again, or its directory's listing does"


def _cost(found: dict[str, Any]) -> str:
    if not found["requests"]:
        return "it has cost no request of its own since the store was mounted"
    requests = ", ".join(f"{count} {name}" for name, count in sorted(found["requests"].items()))
    size = units.format_size
    return f"since the store was mounted: {requests}; {size(found['received'])} came, {size(found['sent'])} were sent"


def _last(found: dict[str, Any]) -> list[str]:
    last = found["last"]
    if not last:
        return []
    burst = [each for each in last if each["at"] - last[-1]["at"] <= ONE_ACCESS]
    took = max(each["at"] for each in burst) - min(each["at"] - each["seconds"] for each in burst)
    told = [f"the last access, {duration(last[-1]['at'])} ago, waited {duration(took)} for the store:"]
    for each in burst:
        amount = f" {units.format_size(each['bytes'])}" if each["bytes"] else ""
        error = f": {each['error']}" if each["error"] else ""
        told.append(f"  {duration(each['seconds']):>8}  {_MEANING.get(each['name'], each['name'])}{amount}{error}")
    return told
