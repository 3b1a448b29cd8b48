"""Workers as a test sees them: processes that are started, stopped between two calls, and asked what they know."""

import subprocess
import sys
import time
from pathlib import Path

from tests.harness import CHECKOUT
from tests.servers import die_with_parent
from tests.workload.check import Verdict, compare, settled, through_client, through_mount
from tests.workload.manifest import DIRECTORY, Manifest


class Hung(AssertionError):
    """A call does not return."""


class Crew:
    """Workers on one mount point.

    Args:
        folder: for the manifests, outside the mount.
        mount: the mount point, whoever serves it.
        bound: seconds within which every call has to return, whatever happens to the store.
    """

    def __init__(self, folder, mount, *, seed, workers=2, share=0.06, bound=90):
        self.mount, self.seed = Path(mount), seed
        self._folder, self._share, self._bound = folder, share, bound
        self.homes = [f"w{number}" for number in range(workers)]
        self._running = []
        folder.mkdir(exist_ok=True)
        for home in self.homes:
            (self.mount / home).mkdir()
            self._settle(home, {home: DIRECTORY})

    def start(self):
        """Have all of them work."""
        for home in self.homes:
            command = [sys.executable, "-m", "tests.workload", self.mount, home, self._manifest(home)]
            command += ["--seed", self.seed, "--share", self._share]
            log = (self._folder / f"{home}.log").open("ab")
            with log:
                process = subprocess.Popen(
                    list(map(str, command)), cwd=CHECKOUT, stdout=log, stderr=log, preexec_fn=die_with_parent
                )
            self._running.append(process)

    def stop(self):
        """Have all of them stop between two calls. Raises Hung where a call does not return."""
        running, self._running = self._running, []
        for process in running:
            process.terminate()
        end = time.monotonic() + self._bound
        for home, process in zip(self.homes, running, strict=True):
            try:
                code = process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                for each in running:
                    each.kill()
                raise Hung(f"{home} does not return from a call: {self._last(home)}") from None
            assert code == 0, f"{home}: {code}: {(self._folder / f'{home}.log').read_text()[-3000:]}"

    def kill(self):
        """End all of them, come what may."""
        for process in self._running:
            process.kill()
            process.wait()
        self._running = []

    def expected(self):
        """Return what the manifests say, by worker."""
        found = {}
        for home in self.homes:
            manifest = Manifest(self._manifest(home))
            manifest.close()
            found[home] = manifest.expected
        return found

    def check(self, reader):
        """Compare what somebody reads with the manifests, and go on from there. They have stopped.

        `reader` is a mount point, or a store with its independent client.
        """
        verdict = Verdict()
        for home, expected in self.expected().items():
            by_client = hasattr(reader, "keys")
            found = (through_client if by_client else through_mount)(reader, home)
            verdict += compare(expected, found, directories=not by_client)
            if not by_client:
                verdict.lost += expected.wrong
                self._settle(home, settled(expected, found))
        return verdict

    def totals(self):
        """Return what was done: changes acknowledged, failures by error, and the longest call."""
        all_of_them = self.expected().values()
        failed = {}
        for expected in all_of_them:
            for error, count in expected.failed.items():
                failed[error] = failed.get(error, 0) + count
        slowest = max(expected.slowest for expected in all_of_them)
        return {"acknowledged": sum(each.acknowledged for each in all_of_them), "failed": failed, "slowest": slowest}

    def _manifest(self, home):
        return self._folder / f"{home}.manifest"

    def _settle(self, home, states):
        manifest = Manifest(self._manifest(home))
        manifest.settle(states)
        manifest.close()

    def _last(self, home):
        return self._manifest(home).read_text().splitlines()[-1][:500]
