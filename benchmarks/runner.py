"""Runs workloads: servers, mounts, turns, and a record of each."""

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import measure
from benchmarks.client import Clients, Failed, Job
from benchmarks.data import build
from benchmarks.peers import MARKER, PEERS, free_port
from benchmarks.places import BucketPlace
from benchmarks.proxy import held_back
from benchmarks.results import LIMIT
from benchmarks.workload import MiB
from benchmarks.workloads import WORKLOADS
from tests.servers import S3Server, seaweedfs

# The row that each mount gives by itself.
MOUNTING = "mount"


@dataclass
class Choice:
    """What to run.

    Attributes:
        latencies: in ms. `runs`: at most so many; no further one is begun that would end after `minutes`.
        timeout: seconds that one timed part may take. `patience`: what took longer is not repeated.
    """

    peers: list[str]
    workloads: list[str]
    latencies: list[int]
    runs: int
    sizes: object
    minutes: float = 25.0
    timeout: float = 120.0
    patience: float = 16.0

    def sizes_at(self, latency):
        """Return how much is done at a latency."""
        return self.sizes.far_away() if latency else self.sizes


def title(workload, sizes):
    """Return what a workload is called at these sizes."""
    known = asdict(sizes)
    return workload.title.format(**known, **{f"{name}_mib": value // MiB for name, value in known.items()})


def described(choice):
    """Return what the report has to know of the workloads."""

    def at(workload):
        known = {}
        for latency in choice.latencies:
            sizes = choice.sizes_at(latency)
            known[str(latency)] = {
                "title": title(workload, sizes),
                "amount": workload.amount(sizes),
                "unit": workload.unit,
            }
        return known

    found = {name: WORKLOADS[name] for name in choice.workloads}
    mounting = {str(latency): {"title": "time to mount", "amount": 1, "unit": "s"} for latency in choice.latencies}
    return {MOUNTING: {"at": mounting}} | {
        name: {"at": at(each), "least": each.least, "against": each.against} for name, each in found.items()
    }


class Local:
    """The local disk, as if it were a mount: the limit of warm and hot rows."""

    name = LIMIT

    def __init__(self, folder):
        self.root = folder

    def pids(self):
        """It has no daemon."""
        return []


@dataclass
class Bench:
    """One call of the benchmarks. Attributes: `records`, and `peers`, what the report says of them."""

    choice: Choice
    folder: Path
    server: object
    bucket: str
    counter: measure.StoreCounter
    clients: Clients
    say: object
    records: list = field(default_factory=list)
    peers: dict = field(default_factory=dict)
    slow: set = field(default_factory=set)
    begun: float = field(default_factory=time.monotonic)

    @property
    def data(self):
        """The folder of what is in the store."""
        return self.folder / "data"

    def load(self):
        """Make the data and bring it into all stores; find out which peers there are. Returns the peers."""
        names = {part for name in self.choice.workloads for part in WORKLOADS[name].data}
        self.say(f"making {len(names)} parts of data")
        self.data.mkdir()
        (self.data / MARKER).write_bytes(b"ready")
        for latency in self.choice.latencies:
            build(self.data, names, self.choice.sizes_at(latency))
        BucketPlace(self.server, self.bucket).load(self.data)
        return [peer for name in self.choice.peers for kind in PEERS[name] if (peer := self._made(kind)) is not None]

    def _made(self, kind):
        """Return a peer that can be measured, with its data in place."""
        peer = kind(self.server, self.bucket)
        known = self.peers[peer.name] = {"raw": peer.raw, "waits": peer.waits}
        try:
            known["version"] = peer.version()
            if not peer.raw:
                self.say(f"loading {peer.name}")
                with peer.place(self.folder) as place:
                    place.load(self.data)
        except (Failed, OSError) as exc:
            known["failed"] = str(exc)
            self.say(f"{peer.name}: {exc}")
            return None
        return peer

    def run(self, peers):
        """Run everything that was chosen; latencies take turns, too."""
        with contextlib.ExitStack() as stack:
            endpoints = {0: self.server.endpoint}
            for latency in filter(None, self.choice.latencies):
                endpoints[latency] = stack.enter_context(held_back(self.server.endpoint, latency / 1000))
            longest = 0.0
            for run in range(self.choice.runs):
                begun = time.monotonic()
                if run and begun + longest > self.begun + self.choice.minutes * 60:
                    self.say(f"no time for run {run}")
                    return
                for latency in self.choice.latencies:
                    self._turn(peers, latency, run, endpoints[latency])
                longest = max(longest, time.monotonic() - begun)

    def _turn(self, peers, latency, run, endpoint):
        """Have each competitor run each group, in an order that differs from run to run."""
        for group in ("reading", "writing"):
            chosen = [WORKLOADS[name] for name in self.choice.workloads if WORKLOADS[name].group == group]
            chosen.sort(key=lambda each: each.drop)  # last, as they make the server read from disk, too
            if not chosen:
                continue
            able = [peer for peer in peers if group == "writing" or not peer.writes_only]
            begin = run % len(able) if able else 0
            for peer in able[begin:] + able[:begin]:
                if not self.peers[peer.name].get("failed"):
                    Visit(self, peer, latency, run, endpoint).go(chosen)
            Limits(self, latency, run, endpoint).go(chosen)
            measure.vacuum(self.server.process)

    def job(self, root, at, *, latency, endpoint, seen):
        """Return what a timed part is given."""
        server = S3Server(self.server.endpoint, self.server.key, self.server.secret, None)
        return Job(root, at, self.data, self.choice.sizes_at(latency), seen, server, self.bucket, endpoint)

    def record(self, **values):
        """Keep what was measured, and say it."""
        self.records.append(values)
        done = f"failed: {values['failed'][:200]}" if "failed" in values else f"{values['seconds']:.3f} s"
        self.say(
            f"  {values['latency']:>3} ms  run {values['run']}  {values['workload']:<20} {values['peer']:<18} {done}"
        )
        if values.get("seconds", 0) > self.choice.patience or "failed" in values:
            self.slow.add((values["latency"], values["workload"], values["peer"]))


class Visit:
    """One peer's turn with one group of workloads, on a fresh mount."""

    def __init__(self, bench, peer, latency, run, endpoint):
        self.bench, self.peer, self.latency, self.run, self.endpoint = bench, peer, latency, run, endpoint
        self._at = f"work-{peer.name.replace(' ', '-').replace(',', '')}-{latency}-{run}"
        self._done = set()  # on the mount there is

    @property
    def _sizes(self):
        return self.bench.choice.sizes_at(self.latency)

    def go(self, workloads):
        """Prepare, mount, run, unmount."""
        skipped = {name for latency, name, peer in self.bench.slow if (latency, peer) == (self.latency, self.peer.name)}
        chosen = [each for each in workloads if each.name not in skipped and each.after not in skipped]
        chosen = [each for each in chosen if not each.only or self.peer.name.split(",")[0].split()[0] in each.only]
        try:
            self._prepare(chosen)
            measure.warm_server(self.bench.server.process)
            for workload in chosen:
                self._mounted()
                self._measure(workload)
        except Failed as exc:
            self.bench.record(**self._key(MOUNTING), failed=str(exc))
        finally:
            self.peer.unmount()
            BucketPlace(self.bench.server, self.bench.bucket).remove(self._at)

    def _key(self, workload):
        return {"latency": self.latency, "run": self.run, "workload": workload, "peer": self.peer.name}

    def _prepare(self, workloads):
        """Put what workloads use up, before the mount is there to know of it."""
        needed = [each.setup for each in workloads if each.setup is not None]
        if needed:
            with self.peer.place(self.bench.folder) as place:
                for setup in dict.fromkeys(needed):
                    setup(place, self._at, self._sizes)

    def _mounted(self):
        """Mount, unless it is; record how long that took."""
        if self.peer.root is not None and os.path.ismount(self.peer.root):
            return
        self._done.clear()
        folder = self.bench.folder / "mounts" / f"{self._at}-{time.monotonic_ns()}"
        seconds = self.peer.mount(folder, self.endpoint)
        self.bench.peers[self.peer.name]["command"] = self.peer.command
        self.bench.record(**self._key(MOUNTING), seconds=seconds)

    def _measure(self, workload):
        """Run one workload; a peer that fails it is mounted anew."""
        try:
            if workload.after and workload.after not in self._done:
                self._run(WORKLOADS[workload.after])
            measured = self._run(workload)
        except Failed as exc:
            self.bench.record(**self._key(workload.name), failed=str(exc))
            self.peer.unmount()
            return
        self.bench.record(**self._key(workload.name), **measured)

    def _run(self, workload):
        """Run one workload and return what was measured."""
        bench = self.bench
        pids = self.peer.pids()
        measure.settle(pids)
        job = bench.job(self.peer.root, self._at, latency=self.latency, endpoint=self.endpoint, seen=self.peer.raw)
        with bench.clients.ready(workload.name, job, timeout=bench.choice.timeout) as work:
            if workload.drop:
                measure.drop_caches()
            measure.reset_peaks(pids)
            cpu = measure.cpu_seconds(pids)
            bench.counter.start()
            seconds, returned, own = work()
            requests, received = bench.counter.stop(own)
        pids = self.peer.pids()
        self._done.add(workload.name)
        cost = {"cpu": measure.cpu_seconds(pids) - cpu, "memory": measure.peak_memory(pids)}
        return {"seconds": seconds, "returned": returned, **cost, "requests": requests, "received": received}


class Limits:
    """The turn of what is no mount."""

    def __init__(self, bench, latency, run, endpoint):
        self.bench, self.latency, self.run, self.endpoint = bench, latency, run, endpoint

    def go(self, workloads):
        """Measure the limit of each workload that has one."""
        measure.warm_server(self.bench.server.process)
        for workload in workloads:
            if workload.limit and (self.latency, workload.name, LIMIT) not in self.bench.slow:
                key = {"latency": self.latency, "run": self.run, "workload": workload.name, "peer": LIMIT}
                try:
                    self.bench.record(**key, seconds=self._measure(workload))
                except Failed as exc:
                    self.bench.record(**key, failed=str(exc))
        BucketPlace(self.bench.server, self.bench.bucket).remove(f"work-{LIMIT}")

    def _measure(self, workload):
        if isinstance(workload.limit, tuple):
            return min(self._run(workload, number) for number in range(len(workload.limit)))
        if workload.limit == "page cache":
            self._run(workload, None)
        return self._run(workload, None)

    def _run(self, workload, number):
        bench = self.bench
        job = bench.job(
            bench.data, f"work-{LIMIT}", latency=self.latency, endpoint=self.endpoint, seen=number is not None
        )
        with bench.clients.ready(workload.name, job, timeout=bench.choice.timeout, number=number) as work:
            if workload.limit == "disk":
                measure.drop_caches()
            return work()[0]


def _libraries(choice):
    """Return what the clients have loaded before they start: nothing large where nothing large is used."""
    return sorted({library for name in choice.workloads for library in WORKLOADS[name].libraries})


@contextlib.contextmanager
def open_bench(choice, say):
    """Start the server and yield a `Bench`; nothing is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="mountd-bench-"))
    port = free_port()
    try:
        with seaweedfs(f"-metricsPort={port}") as server:
            bucket = server.make_bucket()
            yield Bench(choice, folder, server, bucket, measure.StoreCounter(port), Clients(_libraries(choice)), say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
