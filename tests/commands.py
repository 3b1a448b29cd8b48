"""`mountd` commands without the cost of starting Python and importing: forked off a process that has done both.

Each command is a process of its own, with its own environment, folder and streams, as if it had been started anew. That
a command starts as it should, `tests/cli` tests; most of what another test's mount cost was starting its commands.
"""

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback

from tests.harness import CHECKOUT

# A command with its arguments and its environment is one message.
MESSAGE_MAX = 128 * 1024


class Commands:
    """Runs commands. Made by `open_commands`."""

    def __init__(self, channel, environment):
        self._channel, self._environment = channel, environment

    def imports_for(self, environment):
        """Tell whether a Python with this environment would be the same."""
        return _of_python(environment) == _of_python(self._environment)

    def run(self, arguments, environment, timeout):
        """Run `mountd` like `subprocess.run` with captured output. Raises subprocess.TimeoutExpired."""
        with contextlib.ExitStack() as stack:
            pipes = [os.pipe() for _ in range(3)]
            readers = [stack.enter_context(os.fdopen(reading, "rb")) for reading, _ in pipes]
            writing = [end for _, end in pipes]
            order = {"arguments": arguments, "environment": environment, "folder": os.getcwd()}
            try:
                socket.send_fds(self._channel, [json.dumps(order).encode()], writing)
            finally:
                for end in writing:
                    os.close(end)
            out, err, told = _read(readers, arguments, timeout)
        pid, _, code = told.decode().partition(" ")
        assert code, f"process {pid} died: mountd {arguments}: {err.decode()}"
        return subprocess.CompletedProcess(arguments, int(code), out.decode(), err.decode())


def _of_python(environment):
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


def _read(readers, arguments, timeout):
    """Return what each of the pipes gives until its end; a command that takes longer is killed."""
    found = dict.fromkeys(readers, b"")
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0, deadline - time.monotonic()))
            if not ready:
                for pid in found[readers[-1]].split()[:1]:  # none where it has not even begun
                    os.kill(int(pid), signal.SIGKILL)
                raise subprocess.TimeoutExpired(["mountd", *arguments], timeout)
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                found[key.fileobj] += piece
                if not piece:
                    selector.unregister(key.fileobj)
    return found.values()


@contextlib.contextmanager
def open_commands():
    """Yield a `Commands`; its process ends with the block, or with this one."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = subprocess.Popen([sys.executable, "-m", "tests.commands"], stdin=theirs, env=environment)
        yield Commands(ours, environment)
    process.wait(10)


def serve(channel):
    """Fork a process for each command until the other end is closed."""
    for module in ("mount", "store", "artifact", "cache", "explain", "warm"):
        importlib.import_module(f"mountd.commands.{module}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_MAX, 3)
        if not message:
            return
        if not os.fork():
            _carry_out(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _carry_out(order, out, err, report):
    from mountd import cli

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.write(report, f"{os.getpid()} ".encode())
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    code = 1
    try:
        cli.main(order["arguments"])
    except SystemExit as exc:
        code = exc.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(report, str(code).encode())
        os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as channel:
        serve(channel)
