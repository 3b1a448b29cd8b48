"""`mountd top`: what a mount is doing, live."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
import tty
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mountd import units
from mountd.commands import names, rates
from mountd.commands.chosen import mounted
from mountd.commands.output import print_json
from mountd.daemon import client
from mountd.errors import UserError
from mountd.mounts import running_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from mountd.daemon.records import MountRecord

SHOWN = 8


@click.command(short_help="Watch what a mount is doing.")
@click.argument("store", required=False, metavar="[STORE_OR_MOUNTPOINT]", shell_complete=names.mounts)
@click.option("--interval", "-d", default="1", metavar="SECONDS", help="Between two looks (1).")
@click.option("--once", is_flag=True, help="Look for one interval, print, and end; what happens in a pipe anyway.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, once.")
def top(store: str | None, interval: str, once: bool, as_json: bool) -> None:
    """Watch a mount, by store or mount point: throughput, operations and how long they take, what the cache
    saves, what is being stored, errors, and which processes do it. End with q or Ctrl-C.

    \b
    Examples:
      mountd top
      mountd top prod -d 5
      mountd top --json | jq .hits
    """
    record = chosen(store)
    seconds = _seconds(interval)
    before = client.ask(record, "metrics")
    if as_json or once or not sys.stdout.isatty():
        time.sleep(seconds)
        now = client.ask(record, "metrics")
        found = rates.between(before, now)
        return print_json(asdict(found)) if as_json else _print(now, found)
    return _watch(record, before, seconds)


def chosen(store: str | None) -> MountRecord:
    """Return the running mount that is meant: where nobody says which, the only one, or the active store's.

    Raises UserError.
    """
    running = running_mounts()
    if not running:
        raise UserError("nothing is mounted; to mount the active store: mountd mount")
    return running[0] if store is None and len(running) == 1 else mounted(store)


def _seconds(text: str) -> float:
    try:
        return max(0.1, units.parse_duration(text))
    except ValueError as exc:
        raise UserError(f"--interval: {exc}") from exc


def _watch(record: MountRecord, before: dict[str, Any], seconds: float) -> None:
    from rich.live import Live  # here: rich is slow to import

    with _keys() as pressed, Live(screen=True, auto_refresh=False) as live:
        while True:
            now = client.ask(record, "metrics")
            live.update(view(now, rates.between(before, now)), refresh=True)
            before = now
            if pressed(seconds):
                return


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """Yield what waits for as many seconds, and tells whether somebody has pressed q."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds)
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield lambda seconds: bool(select.select([sys.stdin], [], [], seconds)[0]) and sys.stdin.read(1) in "qQ"
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _print(now: dict[str, Any], found: rates.Rates) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 100).print(view(now, found))


def view(now: dict[str, Any], found: rates.Rates) -> RenderableType:
    """Return the page for one look at a mount."""
    from rich.console import Group
    from rich.panel import Panel

    title = f"{now['store']}  {now['root']} at {now['mount_point']}"
    parts = [_figures(now, found), _paces("operation", found.operations), _paces("request", found.requests)]
    parts.append(_processes(found.processes))
    parts += [_lines("pending", [_pending(each) for each in now["pending"][:SHOWN]])] if now["pending"] else []
    recent = [each["message"] for each in now["errors"] if each["at"] > now["at"] - 600]
    parts += [_lines("errors", recent[-3:])] if recent else []
    return Panel(Group(*parts), title=title, subtitle="q ends", title_align="left", subtitle_align="right")


def _figures(now: dict[str, Any], found: rates.Rates) -> RenderableType:
    from rich.table import Table

    size = units.format_size
    grid = Table.grid(padding=(0, 3), expand=False)
    hits = "-" if found.hits is None else f"{found.hits:.0%}"
    cache = f"{size(now['cache']['bytes'])} of {size(now['cache']['limit'])}"
    grid.add_row(
        "[b]read[/b]",
        f"{size(int(found.read))}/s",
        "[b]fetched[/b]",
        f"{size(int(found.fetched))}/s",
        "[b]from the cache[/b]",
        hits,
        "[b]cache[/b]",
        cache,
    )
    grid.add_row(
        "[b]written[/b]",
        f"{size(int(found.written))}/s",
        "[b]sent[/b]",
        f"{size(int(found.sent))}/s",
        "[b]pending[/b]",
        f"{now['pending_changes']} ({size(now['pending_bytes'])})",
        "[b]daemon[/b]",
        f"{found.cpu:.0%} CPU, {size(now['memory'])}",
    )
    return grid


def _paces(kind: str, paces: list[rates.Pace]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(kind, *(("per second", "median", "99 %", "errors")), box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.columns[0].min_width = 16
    for each in paces[:SHOWN]:
        errors = f"[red]{each.errors}[/red]" if each.errors else ""
        table.add_row(each.name, f"{each.rate:.1f}", duration(each.median), duration(each.slow), errors)
    if not paces:
        table.add_row("[dim]none[/dim]")
    return table


def _processes(processes: list[dict[str, Any]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table("process", "pid", "per second", "read", "written", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.columns[0].min_width = 16
    size = units.format_size
    for each in processes[:SHOWN]:
        table.add_row(
            each["name"],
            str(each["pid"]),
            f"{each['operations']:.1f}",
            f"{size(int(each['read']))}/s",
            f"{size(int(each['written']))}/s",
        )
    if not processes:
        table.add_row("[dim]none[/dim]")
    return table


def _lines(title: str, lines: list[str]) -> RenderableType:
    from rich.text import Text

    return Text.assemble((f"{title}\n", "bold"), *(f"{line}\n" for line in lines))


def _pending(each: dict[str, Any]) -> str:
    return f"{each['path']} ({units.format_size(each['bytes'])})" + (f": {each['error']}" if each["error"] else "")


def duration(seconds: float) -> str:
    """Return seconds as people read them: 85 \N{MICRO SIGN}s, 1.2 ms, 3.4 s."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} \N{MICRO SIGN}s"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
