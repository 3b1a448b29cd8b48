"""`mountd dashboard`: a page on a local port that shows what a mount is doing, and its metrics for Prometheus."""

from __future__ import annotations

import importlib.resources
import json
import threading
import time
from collections import deque
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import click

from mountd.commands import names, rates
from mountd.commands.top import chosen
from mountd.daemon import client
from mountd.errors import EXIT_BUSY, UserError
from mountd.metrics import difference, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mountd.daemon.records import MountRecord

PORT = 8265
# Seconds between two looks at the mount, and how many are kept: half an hour.
INTERVAL, KEPT = 1.0, 1800


@click.command(short_help="Serve a page that shows what a mount is doing.")
@click.argument("store", required=False, metavar="[STORE_OR_MOUNTPOINT]", shell_complete=names.mounts)
@click.option("--port", "-p", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def dashboard(store: str | None, port: int, show: bool) -> None:
    """Serve a page on 127.0.0.1 with throughput, hit ratio, latencies, what is pending and the cache over time, until
    Ctrl-C. Its /metrics is for Prometheus.

    \b
    Examples:
      mountd dashboard --open
      mountd dashboard prod --port 9000
    """
    record = chosen(store)
    try:
        server = Server(("127.0.0.1", port), History(record))
    except OSError as exc:
        raise UserError(f"port {port} cannot be used: {exc.strerror}; choose another: --port 0", EXIT_BUSY) from exc
    url = f"http://127.0.0.1:{server.server_port}/"
    click.echo(f"{record.root}: {url}  (Ctrl-C ends)")
    if show:
        click.launch(url)
    threading.Thread(target=server.history.watch, daemon=True).start()
    with server:
        server.serve_forever()


class History:
    """What a mount did lately, looked at once a second. Used by several threads."""

    def __init__(self, record: MountRecord) -> None:
        self._record = record
        self._lock = threading.Lock()
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._latest: dict[str, Any] = {}
        self._error = ""

    def watch(self) -> None:
        """Look, for ever."""
        before: Mapping[str, Any] | None = None
        while True:
            try:
                now = self.metrics()
            except UserError as exc:  # it may come back
                with self._lock:
                    self._error, before = str(exc), None
            else:
                if before is not None:
                    self._add(before, now)
                before = now
            time.sleep(INTERVAL)

    def metrics(self) -> dict[str, Any]:
        """Return the daemon's counters. Raises UserError."""
        found: dict[str, Any] = client.ask(self._record, "metrics")
        return found

    def _add(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        found = rates.between(before, now)
        operations = _all(before["kernel"]["operations"], now["kernel"]["operations"])
        requests = _all(before["store_requests"], now["store_requests"])
        sample = {
            "at": now["at"],
            **{name: getattr(found, name) for name in ("read", "written", "fetched", "sent", "hits", "cpu")},
            "operations": sum(operations) / found.seconds,
            "requests": sum(requests) / found.seconds,
            **{f"operation{share}": quantile(operations, share / 100) for share in (50, 99)},
            **{f"request{share}": quantile(requests, share / 100) for share in (50, 99)},
            "pending": now["pending_bytes"],
            "cache": now["cache"]["bytes"],
        }
        about = {name: now[name] for name in ("store", "root", "mount_point", "pid", "uptime", "memory", "cache")}
        latest = about | {"pending_changes": now["pending_changes"], "pending": now["pending"], "rates": asdict(found)}
        latest["errors"] = [each["message"] for each in now["errors"][-5:]]
        with self._lock:
            self._samples.append(sample)
            self._latest, self._error = latest, ""

    def to_json(self) -> dict[str, Any]:
        """Return all samples, the latest figures, and why there are no newer ones."""
        with self._lock:
            return {"samples": list(self._samples), "latest": self._latest, "error": self._error}


def _all(older: Mapping[str, Any], newer: Mapping[str, Any]) -> Sequence[int]:
    """Return the histogram of everything that happened between two looks, whatever its kind."""
    parts = [
        difference(each["counts"], older[name]["counts"] if name in older else [0] * len(each["counts"]))
        for name, each in newer.items()
    ]
    return [sum(column) for column in zip(*parts, strict=True)]


class Server(ThreadingHTTPServer):
    """Serves the page, its data and the metrics."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], history: History) -> None:
        super().__init__(address, _Handler)
        self.history = history


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        # A page of somebody else's whose name leads to 127.0.0.1 must not read this: DNS rebinding.
        port = self.server.server_port
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return self._answer(403, "text/plain", "only for this machine\n")
        if self.path == "/":
            page = importlib.resources.files("mountd.commands").joinpath("dashboard.html").read_text()
            return self._answer(200, "text/html; charset=utf-8", page)
        if self.path == "/data":
            return self._answer(200, "application/json", json.dumps(self.server.history.to_json()))
        if self.path == "/metrics":
            return self._metrics()
        return self._answer(404, "text/plain", "not here\n")

    def _metrics(self) -> None:
        from mountd.commands.prometheus import text

        try:
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", text([self.server.history.metrics()]))
        except UserError as exc:
            self._answer(503, "text/plain", f"{exc}\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the page asks every second."""
