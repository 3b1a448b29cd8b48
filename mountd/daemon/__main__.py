"""The background process of one mount: `python -m mountd.daemon`, started by `launch`, told what to do on standard
input.

It reports on the descriptor given as its only argument, in lines of JSON: any number of times how much is left of what
an earlier daemon has left half done, and then once, the mount's record, or why there is none.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from mountd.daemon import limits, logs
from mountd.daemon.order import MountOrder
from mountd.errors import EXIT_FAILURE, MountdError, UserError, exit_code_of
from mountd.redaction import without_secrets

if TYPE_CHECKING:
    from mountd.daemon.records import MountRecord

log = logging.getLogger("mountd.daemon")


def main() -> int:
    """Leave the caller's process tree, mount, report, serve; return the exit code."""
    limits.seldom_collect()
    from mountd.daemon import service  # the heavy ones: trio, pyfuse3

    report = int(sys.argv[1])
    order = MountOrder.from_json(sys.stdin.read())
    if os.fork():
        os._exit(0)  # a caller that lives on, such as a notebook, gets no child to look after
    os.chdir("/")  # so that no folder is kept in use
    told = False
    logs.to_file(order.data / "mountd.log", debug=order.settings.debug)

    def ready(record: MountRecord) -> None:
        nonlocal told
        told = True
        os.write(report, json.dumps({"ready": record.to_json()}).encode())
        os.close(report)

    def progress(left: Any) -> None:
        line = json.dumps({"progress": left}).encode() + b"\n"
        if len(line) > select.PIPE_BUF:  # what is not longer is written whole, or not at all
            return
        os.set_blocking(report, False)
        with contextlib.suppress(OSError):  # whoever waits has been stopped, or has gone
            os.write(report, line)
        os.set_blocking(report, True)

    try:
        service.run(order, ready, progress=progress)
    except Exception as exc:
        message, code = _told(exc)
        log.log(logging.ERROR, "%s", message, exc_info=code is None)
        if not told:
            # Closed by the end of the process: who reads to the end knows that nothing is left running.
            os.write(report, json.dumps({"error": message, "exit_code": code or EXIT_FAILURE}).encode())
        return code or EXIT_FAILURE
    return 0


def _told(exc: Exception) -> tuple[str, int | None]:
    """Return the line for the user, and the exit code; none for a bug, whose trace goes to the log."""
    if isinstance(exc, UserError):
        return without_secrets(str(exc)), exc.exit_code
    if isinstance(exc, MountdError):
        return without_secrets(str(exc)), exit_code_of(exc)
    return without_secrets(f"internal error: {type(exc).__name__}: {exc}; the log has the details"), None


if __name__ == "__main__":
    sys.exit(main())
