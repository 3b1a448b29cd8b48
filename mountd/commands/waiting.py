"""Progress for people who wait: a bar at a terminal, nothing in a pipe."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[Any], None]]:
    """Yield what takes the daemon's progress: files and bytes left, and what is waited for first."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # here: rich is slow to import
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(title, total=None)
        most = 0

        def show(left: Any) -> None:
            nonlocal most
            most = max(most, left["bytes"])
            first = ", ".join(left["waiting_for"])
            bar.update(
                task,
                total=most or None,
                completed=most - left["bytes"],
                description=f"{title}: {left['files']} files left{f' ({first})' if first else ''}",
            )

        yield show
