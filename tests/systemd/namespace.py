"""A mount namespace of its own for tests that change what the whole machine sees. Needs root."""

import contextlib
import subprocess
import time
from pathlib import Path


class Namespace:
    """Runs programs in the mount namespace of a process.

    Attributes:
        process: the first program in it; it ends with the namespace.
    """

    def __init__(self, process):
        self.process = process

    def run(self, *command, check=True, **options):
        """Run a program in it and return the finished process."""
        enter = ["nsenter", f"--target={self.process.pid}", "--mount", "--", *map(str, command)]
        done = subprocess.run(enter, capture_output=True, text=True, timeout=120, check=False, **options)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done


@contextlib.contextmanager
def open_namespace(prepare, first, **options):
    """Yield a `Namespace` in which the shell script `prepare` has run and `first` is running."""
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "--", "sh", "-ec", f'{prepare}\nexec "$@"', "sh", *first],
        **options,
    )
    try:
        while _runs(process.pid) != first[0]:  # the shell does until everything is prepared
            time.sleep(0.01)
            assert process.poll() is None, "the namespace could not be made"
        yield Namespace(process)
    finally:
        process.kill()
        process.wait()


def _runs(pid):
    """Return the name by which a process was called last."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
