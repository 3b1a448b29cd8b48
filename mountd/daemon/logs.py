"""Where the daemon's log goes: a file beside its data that does not grow without bound, or standard error."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MAX_BYTES, KEPT = 5 * 1024 * 1024, 3

# Chatty at DEBUG, and some of them would print what requests carry, signatures included.
_QUIET = (
    *("botocore", "aiobotocore", "s3fs", "fsspec", "asyncio", "urllib3", "aiohttp", "pyfuse3", "gcsfs", "azure"),
    *("httpx", "httpcore", "paramiko"),
)


def to_file(path: Path, *, debug: bool) -> None:
    """Log to `path`, readable by its owner alone; full files are kept as `path.1` and so on."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    _set_up(logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=KEPT), debug=debug)


def to_stderr(*, debug: bool) -> None:
    """Log to standard error, as systemd and containers expect."""
    _set_up(logging.StreamHandler(sys.stderr), debug=debug)


def _set_up(handler: logging.Handler, *, debug: bool) -> None:
    handler.setFormatter(logging.Formatter(FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
