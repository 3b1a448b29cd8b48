"""`mountd warm`: bring files here before somebody reads them."""

from __future__ import annotations

from typing import Any

import click

from mountd import units
from mountd.commands import waiting
from mountd.commands.output import print_json
from mountd.errors import EXIT_FAILURE
from mountd.mounts import warm as fetch


@click.command(short_help="Fetch files into the local cache ahead of need.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def warm(paths: tuple[str, ...], as_json: bool) -> int:
    """Fetch files, and all files below directories, into the local cache. A PATH is under a mount, or a URI.

    \b
    Examples:
      mountd warm ~/mountd/prod/datasets/train
      mountd warm s3://my-bucket/artifacts/models/bert.pt

    What is here already is not fetched again. The cache never lets go of what has just come: what has no room beside
    it is left out and said, and the exit code is 1, as for files that could not be fetched.
    """
    results = []
    for path in paths:
        with waiting.progress(f"Fetching {path}") as show:
            results.append({"path": path} | fetch(path, progress=show))
    if as_json:
        print_json(results)
    else:
        for each in results:
            _tell(each)
    return EXIT_FAILURE if any(each["failed"] or each["no_room"] for each in results) else 0


def _tell(found: dict[str, Any]) -> None:
    size = units.format_size
    click.echo(
        f"{found['path']}: {found['files']} files, {size(found['bytes'])}: fetched {size(found['fetched'])}, "
        f"{size(found['here'])} were here"
    )
    if found["no_room"]:
        click.echo(f"  no room in the cache for {size(found['no_room'])}: mount with a larger --cache-size")
    for path, reason in found["failed"]:
        click.echo(f"  {path}: {reason}")
