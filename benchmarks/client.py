"""The program that uses a mount: each timed part runs in a process of its own, which is there before the clock runs."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.workload import Sizes
from tests.servers import S3Server

# Loaded once by the process that all others are forked from.
PRELOADED = ["boto3", "numpy", "benchmarks.workloads"]


class Failed(Exception):
    """A workload did not work out; the text says why."""


@dataclass
class Job:
    """What a timed part is given.

    Attributes:
        root: where the store is mounted.
        at: a folder there that is this run's own; `mine` is its path.
        local: a folder of the local disk with what is copied to the store.
        seen: whether to look in the bucket for what was written: not for stores with a format of their own.
        server, bucket: the store itself, past any delay; `endpoint` is what the mounts use.
        own: requests sent to look for what was written, by kind.
        returned: when the calls had returned and only the bucket was waited for, by `time.perf_counter`.
    """

    root: Path
    at: str
    local: Path
    sizes: Sizes
    seen: bool
    server: S3Server
    bucket: str
    endpoint: str
    own: Counter = field(default_factory=Counter)
    returned: float | None = None

    @property
    def mine(self):
        """The path of this run's own folder."""
        return self.root / self.at

    def part(self, name):
        """Return the path of a part of the data: in the mount, or on the local disk."""
        return (self.local if name.startswith("local/") else self.root) / self.sizes.where(name)

    def prepare(self):
        """Make this run's own folder and the client that looks for what arrives, before the clock runs."""
        os.makedirs(self.mine, exist_ok=True)
        self.client = self.server.client()
        self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)  # connects

    def calls_returned(self):
        """Note that from here on, only the bucket is waited for."""
        self.returned = self.returned or time.perf_counter()

    def wait_for(self, **sizes):
        """Return when files of this run's folder are in the bucket with these sizes."""
        self.calls_returned()
        if self.seen:
            for name, size in sizes.items():
                while self._size(f"{self.at}/{name}") != size:
                    time.sleep(0.002)

    def _size(self, key):
        self.own["HEAD"] += 1
        with contextlib.suppress(self.client.exceptions.ClientError):
            return self.client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
        return None

    def wait_for_all(self, folder, wanted):
        """Return when a folder of this run's has these files, by relative name, with these sizes."""
        self.calls_returned()
        while self.seen and not wanted.items() <= self._listed(folder).items():
            time.sleep(0.02)

    def wait_until_gone(self, folder, names):
        """Return when none of these files is in the bucket any more."""
        self.calls_returned()
        while self.seen and not self._listed(folder).keys().isdisjoint(names):
            time.sleep(0.02)

    def _listed(self, folder):
        prefix = f"{self.at}/{folder}/"
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            self.own["LIST"] += 1
            found |= {each["Key"].removeprefix(prefix): each["Size"] for each in page.get("Contents", ())}
        return found


class Crew:
    """Processes that do the same at the same time."""

    def __init__(self, count, work):
        context = multiprocessing.get_context("fork")
        self._barrier = context.Barrier(count + 1)
        self._processes = [context.Process(target=self._run, args=(work, number)) for number in range(count)]
        for process in self._processes:
            process.start()

    def _run(self, work, number):
        self._barrier.wait()
        work(number)

    def work(self):
        """Let them work, and return when all have."""
        self._barrier.wait()
        for process in self._processes:
            process.join()
            if process.exitcode:
                raise Failed(f"one of several processes ended with {process.exitcode}")


def _act(workload, number):
    """Return what a workload times; with a number, that of its limits."""
    from benchmarks.workloads import WORKLOADS  # which knows this module

    chosen = WORKLOADS[workload]
    return chosen.act if number is None else chosen.limit[number]


def _perform(connection, workload, number, job):
    """In the process: prepare, wait for the word, do it, tell how long it took."""
    os.setsid()
    try:
        steps = _act(workload, number)(job)
        next(steps)
        connection.send(("ready", None))
        connection.recv()
        begun = time.perf_counter()
        next(steps, None)
        taken = time.perf_counter() - begun
        own = dict(job.own)
        next(steps, None)
        connection.send(("done", (taken, job.returned and job.returned - begun, own)))
    except BaseException as exc:
        with contextlib.suppress(BrokenPipeError):  # nobody waits any more
            connection.send(("failed", f"{type(exc).__name__}: {exc}"))


class Clients:
    """Makes the processes. They are forked from one that has loaded the libraries and touched no mount."""

    def __init__(self, libraries=()):
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOADED, *libraries])

    @contextlib.contextmanager
    def ready(self, workload, job, *, timeout, number=None):
        """Yield a function that does the timed part and returns its seconds, those of its calls, and its own requests.

        The workload goes by its name; with a number, its limit of that number is meant.

        Raises:
            Failed: it did not work out, or took longer than `timeout` seconds.
        """
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_perform, args=(theirs, workload, number, job))
        process.start()
        theirs.close()

        def hear(wanted):
            if not ours.poll(timeout):
                raise Failed(f"took longer than {timeout:g} s")
            try:
                kind, value = ours.recv()
            except EOFError:
                raise Failed("its process ended") from None
            if kind != wanted:
                raise Failed(value)
            return value

        def run():
            ours.send("go")
            return hear("done")

        try:
            hear("ready")
            yield run
        finally:
            process.join(2)
            if process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            ours.close()
