"""`mountd path` and `mountd uri`: where an artifact is on this machine, and what it is called elsewhere."""

from __future__ import annotations

import os

import click

import mountd


@click.command(short_help="Print the local path of an artifact's URI.")
@click.argument("uri")
def path(uri: str) -> None:
    """Print the local path of the artifact URI, under the running mount that holds it.

    \b
    Examples:
      mountd path s3://my-bucket/models/bert.pt
      cp "$(mountd path s3://my-bucket/models/bert.pt)" .

    The artifact need not exist yet. Fails with exit code 2 where no running mount holds it.
    """
    click.echo(os.fsencode(mountd.path(uri)))  # bytes: names need not be UTF-8


@click.command(short_help="Print the URI of a local path under a mount.")
@click.argument("path", type=click.Path())
def uri(path: str) -> None:
    """Print the URI of the artifact at PATH, which lies under a running mount.

    \b
    Example:
      mountd uri ~/mountd/prod/models/bert.pt
    """
    click.echo(os.fsencode(mountd.uri(path)))
