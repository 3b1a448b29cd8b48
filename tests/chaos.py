"""Faults between a mount and the server of its store, at random places under whatever is running.

Two proxies stand in a row before the server: one for what networks do to connections (`tests.tcp_proxy`), one for what
happens to requests (`tests.proxy`). Faults come one after the other, each for a moment; which ones and how long is
decided by a seed, whom they hit by the timing of the run.
"""

import contextlib
import dataclasses
import random
import threading
import time
from collections import Counter

from tests.objects.services import WORDS
from tests.proxy import Broken, answered, changed, delayed, lost, proxied
from tests.tcp_proxy import tcp_proxied

# Servers that do not compare a body with the checksum that comes with it, as the real service does: there, a body that
# was damaged on its way would be in the store, and no client could help it.
_TAKES_ANYTHING = ("gcs",)
# Their answers bring a checksum of whole objects. That of S3 is of no use for ranges, by which everything is read.
_CHECKSUMS = ("x-goog-hash", "content-md5", "x-ms-blob-content-md5")


@contextlib.contextmanager
def faulty(store, *, seed):
    """Have the mounts of a store reach it through faults, for the block; yield the `Chaos`, which is yet to be started.

    `store` is one of tests/kits.py, and its independent client goes on without them.
    """
    with proxied(store.server.endpoint, remember=False) as http, tcp_proxied(http.endpoint) as tcp:
        reached = store.server.at(tcp.endpoint)
        store.options = reached.options()
        if store.kind == "azure":
            store.environment = {"TEST_AZURE_CONNECTION": reached.connection_string}
        chaos = Chaos(store.kind, http, tcp, seed=seed)
        try:
            yield chaos
        finally:
            chaos.stop()


class Chaos:
    """Faults, one after the other, while it is started.

    Attributes:
        hits: requests and connections that were hit, by kind of fault.
    """

    def __init__(self, kind, http, tcp, *, seed, longest_outage=5.0):
        self.hits = Counter()
        self._words, self._http, self._tcp = WORDS[kind], http, tcp
        self._rng = random.Random(seed)
        self._longest_outage = longest_outage
        self._stopped = threading.Event()
        self._thread = None
        self._faults = ["delay", "reset", "cut", "hole", "outage", "busy", "broken", "lost", "unheard", "short answer"]
        if kind not in _TAKES_ANYTHING:
            self._faults += ["damaged upload"]
        if kind == "s3":  # elsewhere the length is signed, and a request with another one is not taken for ours
            self._faults += ["short upload"]
        if kind in ("gcs", "azure"):
            self._faults += ["damaged download"]

    def start(self):
        """Begin."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        """End the fault there is, and begin no other one."""
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = None

    def _run(self):
        """Go through all faults in random order, again and again: also a short run has some of each."""
        coming = []
        while not self._stopped.wait(self._rng.uniform(0.05, 0.6)):
            coming = coming or self._rng.sample(self._faults, len(self._faults))
            self.inject(coming.pop())

    def inject(self, name):
        """Have one fault, for as long as it takes."""
        rng = self._rng
        match name:
            case "delay":
                self._network("delay", rng.uniform(0.3, 1.5), seconds=rng.uniform(0.01, 0.3))
            case "reset" | "cut":
                self._network(name, rng.uniform(0.1, 0.6), after=rng.randrange(500_000))
            case "hole":
                self._network("hole", rng.uniform(0.5, 4))
            case "outage":
                self._network("refuse", rng.uniform(0.5, self._longest_outage))
            case _:
                self._requests(name)

    def network(self, kind, **how):
        """Return a context in which the network has a fault, see `tests.tcp_proxy`."""
        return self._tcp.fault(kind, **how)

    def lose(self, matches):
        """Have the next request of a kind carried out, and its answer lost; return the rule, see `tests.proxy`."""
        return self._http.on(matches, lost, times=1)

    def delay(self, matches, seconds):
        """Have the next request of a kind arrive late, whether somebody waits for it or not; return the rule."""
        return self._http.on(matches, delayed(seconds), times=1)

    def _network(self, kind, length, **how):
        with self.network(kind, **how) as fault:
            self._stopped.wait(length)
        self.hits["outage" if kind == "refuse" else kind] += fault.hits

    def _requests(self, name):
        matches, act = self._rule(name)
        rule = self._http.on(matches, act, times=self._rng.randint(1, 8 if name == "busy" else 3))
        end = time.monotonic() + self._rng.uniform(0.5, 2)
        while rule.left and time.monotonic() < end and not self._stopped.is_set():
            time.sleep(0.02)
        self._http.clear()
        self.hits[name] += rule.seen

    def _rule(self, name):
        """Return which requests a fault is for, and what is done to them."""
        rng = random.Random(self._rng.random())

        def any_request(request):
            return True

        return {
            "busy": (any_request, answered(self._words["throttled"])),
            "broken": (any_request, answered(self._words["internal"])),
            "lost": (_changes, lost),
            "unheard": (any_request, _unheard),
            "short answer": (_reads, changed(lambda answer: _short(answer, rng))),
            "damaged upload": (_has_body, lambda request, forward: forward(_damaged_request(request, rng))),
            "short upload": (_has_body, lambda request, forward: forward(_short_request(request, rng))),
            "damaged download": (_reads, changed(lambda answer: _damaged(answer, rng))),
        }[name]


def _changes(request):
    return request.method in ("PUT", "POST", "DELETE")


def _reads(request):
    return request.method == "GET"


def _has_body(request):
    # Bytes of objects, which have a checksum; a list of parts, say, has none everywhere.
    return request.method == "PUT" and len(request.body) > 0 and "comp=blocklist" not in request.target


def _unheard(request, forward):
    raise Broken


def _short(answer, rng):
    return dataclasses.replace(answer, cut=rng.randrange(len(answer.body))) if answer.body else answer


def _flipped(body, rng):
    at = rng.randrange(len(body))
    return body[:at] + bytes([body[at] ^ (1 << rng.randrange(8))]) + body[at + 1 :]


def _damaged_request(request, rng):
    return dataclasses.replace(request, body=_flipped(request.body, rng))


def _short_request(request, rng):
    return dataclasses.replace(request, body=request.body[: rng.randrange(len(request.body))])


def _damaged(answer, rng):
    """Damage bytes of a whole object that come with their checksum; other answers stay as they are."""
    whole = answer.status == 200 or answer.header("Content-Range").startswith(f"bytes 0-{len(answer.body) - 1}/")
    whole = whole and answer.header("Content-Range").rpartition("/")[2] in ("", str(len(answer.body)))
    if not answer.body or not whole or not any(map(answer.header, _CHECKSUMS)):
        return answer
    return dataclasses.replace(answer, body=_flipped(answer.body, rng))
