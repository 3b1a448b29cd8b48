"""A mount that has to finish first what an earlier daemon has left: who waits at a terminal sees how far it is, and the
service manager is asked for patience.
"""

import contextlib
import os
import pty
import socket
import subprocess
import threading

import pytest

from tests.harness import until
from tests.proxy import proxied

FILES = 40


class Held:
    """Copies and uploads of one file, on the way to the store until `release` is called."""

    def __init__(self, proxy):
        self._released = threading.Event()
        self.release = self._released.set
        self.copies = proxy.on(lambda request: "x-amz-copy-source" in request.headers, self._wait)
        self.uploads = proxy.on(lambda request: request.method == "PUT" and request.path.endswith("/late"), self._wait)

    def _wait(self, request, forward):
        assert self._released.wait(150)
        return forward()


class Terminal:
    """`mountd` with a terminal for standard error."""

    def __init__(self, host, *arguments):
        self._terminal, slave = pty.openpty()
        environment = host.environment | {"TERM": "xterm", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            host.command(*arguments), env=environment, stdout=subprocess.PIPE, stderr=slave, text=True
        )
        os.close(slave)
        self.shown = ""

    def read_until(self, text):
        """Read what is shown until `text` is there, or, without it, to the end."""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while not text or text not in self.shown:
                self.shown += os.read(self._terminal, 65536).decode()
        return self.shown

    def finish(self):
        """Return what was printed, when the command has ended well."""
        self.read_until("")
        os.close(self._terminal)
        printed, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.shown
        return printed


@pytest.fixture
def killed(host, s3_server, s3_store):
    """A mount point, and what holds the store back: two daemons were killed, with a change pending and in a rename.

    The directory's name is one that rich would take for markup.
    """
    for number in range(FILES):
        s3_store.put(f"[/d]/{number}", b"x" * 1000)
    with proxied(s3_server.endpoint) as proxy:
        s3_store.options = s3_store.options | {"endpoint_url": proxy.endpoint}
        mount = host.mount(s3_store, "--write-back", "--freshness", "inf")
        os.listdir(mount.path)
        held = Held(proxy)
        try:
            (mount / "late").write_bytes(b"late")
            mount.kill()
            mount.revive()
            renaming = threading.Thread(target=_rename, args=(mount / "[/d]", mount / "[/e]"))
            renaming.start()
            until(lambda: held.copies.seen)
            mount.kill()
            renaming.join()
            yield mount, held
        finally:
            held.release()
            host.close()


def _rename(source, target):
    with contextlib.suppress(OSError):
        os.rename(source, target)


def recovered(mount, store, printed):
    """Check that the store and the mount have everything, and that it was said."""
    assert "Note: 1 changes (4 B) that were acknowledged and did not reach the store go there now" in printed
    assert "Note: finished the rename of [/d]/ to [/e]/" in printed
    mount.host.run("sync")
    wanted = {f"[/e]/{number}": b"x" * 1000 for number in range(FILES)} | {"late": b"late"}
    assert {key: store.get(key) for key in store.keys()} == wanted
    assert {f"[/e]/{path.name}": path.read_bytes() for path in (mount / "[" / "e]").iterdir()} | {
        "late": (mount / "late").read_bytes()
    } == wanted


def test_at_a_terminal_what_is_left_is_shown(killed, s3_store):
    """How many files of which rename, while the mount is waited for."""
    mount, held = killed
    command = Terminal(mount.host, "mount", "store", mount.path)
    shown = command.read_until(f"{FILES} files left (rename of [/d]/ to [/e]/)")
    assert f"Mounting {mount.path}: {FILES} files left (rename of [/d]/ to [/e]/)" in shown
    assert command.process.poll() is None
    held.release()
    recovered(mount, s3_store, command.finish())


def test_in_a_pipe_nothing_is_shown(killed, s3_store):
    """Beside what is said at the end."""
    mount, held = killed
    command = mount.host.start("mount", "store", mount.path)
    before = held.copies.seen
    until(lambda: held.copies.seen > before)
    held.release()
    printed, complained = command.communicate(timeout=60)
    assert (command.returncode, complained) == (0, "")
    recovered(mount, s3_store, printed)


def test_a_service_manager_is_asked_for_patience(killed, s3_store):
    """Instead of ending, by `TimeoutStartSec`, a daemon that has much to finish; `systemctl status` says what."""
    mount, held = killed
    host = mount.host
    address = host.folder / "manager"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(60)
        host.environment["NOTIFY_SOCKET"] = str(address)
        host.start("mount", "store", mount.path, "--foreground")
        told = dict(line.split("=", 1) for line in manager.recv(65536).decode().splitlines())
        wanted = f"{s3_store.root}: {FILES} files left: rename of [/d]/ to [/e]/"
        assert told == {"STATUS": wanted, "EXTEND_TIMEOUT_USEC": "120000000"}
        held.release()
        while b"READY=1" not in manager.recv(65536):
            pass
