"""A long run: `python -m tests.soak --minutes 10 --store s3`: mixed work, kills and faults; a report at the end.

Exits with 1 if anything that was acknowledged is lost, a program was told what cannot be, a call did not return, or the
daemon grew beyond a bound.
"""

import argparse
import contextlib
import random
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.chaos import faulty
from tests.crash.cycles import Cycles
from tests.harness import open_hosts
from tests.kits import open_store
from tests.servers import azurite, fake_gcs, seaweedfs
from tests.workload.check import Verdict
from tests.workload.crew import Hung

MiB = 1024 * 1024
SERVERS = {"s3": ("s3_server", seaweedfs), "gcs": ("gcs_server", fake_gcs), "azure": ("azure_server", azurite)}
# What one daemon may take at most, whatever it has done.
BOUNDS = {"memory": 400 * MiB, "descriptors": 500, "nodes": 2000}
# Seconds between two looks at the daemon, and of a stretch of work between two checks of everything.
LOOK, STRETCH = 3.0, 40.0


class Samples:
    """What the daemons take, looked at now and then. Attributes: `seen`, by name, all values in order."""

    def __init__(self, mount):
        self.seen = {name: [] for name in BOUNDS}
        self._mount = mount
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _run(self):
        while not self._stopped.wait(LOOK):
            # Between a daemon's end and the next one's begin there is nothing to see.
            with contextlib.suppress(AssertionError, OSError, ValueError, KeyError):
                state = self._mount.status()
                descriptors = len(list(Path(f"/proc/{state['pid']}/fd").iterdir()))
                self._note(memory=self._mount.memory(), descriptors=descriptors, nodes=state["nodes"])

    def _note(self, **values):
        for name, value in values.items():
            self.seen[name].append(value)

    def passed(self):
        """Return the names of bounds that were passed."""
        return [name for name, values in self.seen.items() if values and max(values) > BOUNDS[name]]


class Soak:
    """One run on one kind of store."""

    def __init__(self, chosen, store, make_host, chaos):
        options = ("--write-back",) if chosen.write_back else ()
        self._store, self._make_host, self._chaos = store, make_host, chaos
        self._rng = random.Random(f"{chosen.seed} soak")
        self._end = time.monotonic() + chosen.minutes * 60
        self._every = chosen.kill_every
        self.cycles = Cycles(make_host(), store, seed=chosen.seed, options=options)
        self.mount, self.crew = self.cycles.mount, self.cycles.crew
        self.verdict, self.checks = Verdict(), 0

    def run(self):
        """Work in stretches with a check after each, until time is up."""
        while time.monotonic() < self._end and not self.verdict.lost:
            self._stretch(min(time.monotonic() + STRETCH, self._end))
            self._check()

    def _stretch(self, end):
        self.crew.start()
        if self._chaos is not None:
            self._chaos.start()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, self._rng.uniform(0.3, 2) * self._every if self._every else left))
            if self._every and time.monotonic() < end:
                self._kill()
        if self._chaos is not None:
            self._chaos.stop()
        self.crew.stop()

    def _kill(self):
        # A store that cannot be reached cannot be mounted, so the network is well for that moment.
        if self._chaos is not None:
            self._chaos.stop()
        self.cycles.kill(during_mount=self._rng.random() < 0.3)
        if self._chaos is not None:
            self._chaos.start()

    def _check(self):
        """Everything has to be in the store, and seen so by another client and by a mount with an empty cache."""
        self.mount.host.run("sync", "--timeout=120")
        assert self.mount.status()["pending"] == []
        self.verdict += self.crew.check(self._store)
        other = self._make_host()
        cold = other.mount(self._store)
        found = self.crew.check(cold.path)
        cold.unmount()
        shutil.rmtree(other.folder / "state")
        self.verdict += Verdict(0, found.compared, 0, found.lost)
        self.checks += 1


def report(chosen, soak, samples, hits, trouble):
    """Print what was done and found; tell whether all is well."""
    totals, verdict = soak.crew.totals(), soak.verdict
    failures = ", ".join(f"{count} {error}" for error, count in sorted(totals["failed"].items())) or "none"
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(hits.items())) or "none"
    print(f"changes acknowledged: {totals['acknowledged']}; failed: {failures}")
    print(f"slowest call: {totals['slowest'][0]:.1f} s ({totals['slowest'][1]})")
    print(f"kills survived: {soak.cycles.kills}; faults injected: {faults}")
    print(f"checks of everything: {soak.checks}")
    print(f"acknowledged changes checked: {verdict.checked} ({verdict.compared} paths)")
    for name, values in samples.seen.items():
        unit, divisor = (" MiB", MiB) if name == "memory" else ("", 1)
        if values:
            first, most, last = (round(value / divisor) for value in (values[0], max(values), values[-1]))
            print(f"{name}: {first} at the beginning, {most} at most, {last} at the end{unit}")
    trouble = [*trouble, *(f"more {name} than {BOUNDS[name]}" for name in samples.passed())]
    print(f"lost: {len(verdict.lost)}")
    for line in [*verdict.lost[:20], *trouble]:
        print(f"  {line}")
    print(f"repeat with: {shlex.join(['python', '-m', 'tests.soak', *_arguments(chosen)])}")
    return not verdict.lost and not trouble


def _arguments(chosen):
    found = [f"--minutes={chosen.minutes:g}", f"--store={chosen.store}", f"--seed={chosen.seed}"]
    return [*found, f"--kill-every={chosen.kill_every:g}", *(["--write-back"] if chosen.write_back else [])]


def main():
    """Run for the given time, report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--store", choices=[*SERVERS, "local"], default="s3")
    parser.add_argument("--write-back", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--kill-every", type=float, default=8, help="seconds between kills, on average; 0: none")
    chosen = parser.parse_args()
    print(f"{chosen.minutes:g} minutes on {chosen.store}, seed {chosen.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="mountd-soak-"))
    trouble, hits = [], Counter()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        servers = {}
        if chosen.store in SERVERS:
            name, run = SERVERS[chosen.store]
            servers[name] = stack.enter_context(run())
        store = stack.enter_context(open_store(chosen.store, folder, servers.get))
        chaos = stack.enter_context(faulty(store, seed=chosen.seed)) if servers else None
        soak = Soak(chosen, store, stack.enter_context(open_hosts(folder)), chaos)
        stack.callback(soak.crew.kill)
        with Samples(soak.mount) as samples:
            try:
                soak.run()
            except Hung as exc:
                trouble.append(str(exc))
            except AssertionError as exc:
                trouble.append(f"the mount is not well: {exc}")
        well = report(chosen, soak, samples, chaos.hits if chaos is not None else hits, trouble)
        soak.crew.kill()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
