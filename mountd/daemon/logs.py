"""Where the daemon's log goes: a file beside its data that does not grow without bound, or standard error."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mountd.private import open_private
from mountd.redaction import without_secrets

if TYPE_CHECKING:
    from io import TextIOWrapper

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MAX_BYTES, KEPT = 5 * 1024 * 1024, 3

# Chatty at DEBUG, and some of them would print what requests carry, signatures included.
_QUIET = (
    *("botocore", "aiobotocore", "s3fs", "fsspec", "asyncio", "urllib3", "aiohttp", "pyfuse3", "gcsfs", "azure"),
    *("httpx", "httpcore", "paramiko"),
)


def opened(path: Path) -> int:
    """Return a descriptor that appends to a log."""
    return open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """Each new file is readable by its owner alone; a link is not followed."""

    def _open(self) -> TextIOWrapper:
        return open(opened(Path(self.baseFilename)), "a", encoding=self.encoding, errors=self.errors)


class _Discreet(logging.Formatter):
    """Leaves secrets out, also of tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def to_file(path: Path, *, debug: bool) -> None:
    """Log to `path`, readable by its owner alone; full files are kept as `path.1` and so on."""
    _set_up(_PrivateFile(path, maxBytes=MAX_BYTES, backupCount=KEPT), debug=debug)


def to_stderr(*, debug: bool) -> None:
    """Log to standard error, as systemd and containers expect."""
    _set_up(logging.StreamHandler(sys.stderr), debug=debug)


def _set_up(handler: logging.Handler, *, debug: bool) -> None:
    handler.setFormatter(_Discreet(FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
