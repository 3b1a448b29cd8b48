"""Daemons that are killed under a workload, mounted again, and looked at."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

from tests.workload.crew import Crew

# Small parts and short waits: much happens in little time.
SETTINGS = {"part_size": "5MiB", "request_deadline": "5s", "retry_budget": "5s"}


class Cycles:
    """A mount that is killed again and again under a crew at work.

    Args:
        host: where it is mounted; without settings so far.
        options: of `mountd mount`, such as `--write-back`.
        pauses: shortest and longest time between two kills, in seconds.
    """

    def __init__(self, host, store, *, seed, options=(), share=0.06, pauses=(0.3, 2.5)):
        host.configure(**SETTINGS)
        self.kills = 0
        self.mount = host.mount(store, *options)
        self.crew = Crew(host.folder / "manifests", self.mount.path, seed=seed, share=share)
        self._options, self._pauses = options, pauses
        self._rng = random.Random(f"{seed} kills")

    def run(self, *, during_mount=False):
        """Work, kill, mount again while the workers wait, and go on for a moment; they have stopped on return.

        `during_mount`: the next daemon is killed, too, while it is being mounted.
        """
        self.crew.start()
        self._pause()
        self.kill(during_mount=during_mount)
        time.sleep(self._rng.uniform(0, 0.7))
        self.crew.stop()

    def kill(self, *, during_mount=False):
        """Kill the daemon, and mount again."""
        self.mount.kill()
        self.kills += 1
        if during_mount:
            self._kill_while_mounting()
        self.mount.revive(*self._options)

    def _pause(self):
        time.sleep(self._rng.uniform(*self._pauses))

    def _kill_while_mounting(self):
        """Begin to mount, and kill the daemon in the middle of that, or shortly afterwards."""
        host = self.mount.host
        mounting = host.start("mount", self.mount.name, self.mount.path, *self._options)
        while not self._daemons() and mounting.poll() is None:
            time.sleep(0.01)
        time.sleep(self._rng.uniform(0, 0.6))
        self.kills += bool(self._daemons())
        # Until the command has ended: one that forks meanwhile, and ends, can hide both of its processes.
        while (found := self._daemons()) or mounting.poll() is None:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        mounting.communicate()

    def _daemons(self):
        """Return the host's processes that serve, or are about to; not those of the command line."""
        found = []
        for pid in self.mount.host.daemons():
            with contextlib.suppress(OSError):
                if b"mountd.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    found.append(pid)
        return found


def read_back(crew, mount, store, make_host):
    """Check what the mount shows, then the store, by an independent client and through another machine's mount.

    The last has an empty cache. The workers have stopped. Returns the verdicts, in this order.
    """
    own = crew.check(mount.path)
    mount.host.run("sync", "--timeout=60")
    assert mount.status()["pending"] == []
    client = crew.check(store)
    other = make_host().mount(store)
    cold = crew.check(other.path)
    other.unmount()
    return own, client, cold
