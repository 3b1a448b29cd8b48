"""What a mount did between two looks at it: rates, shares and latencies from counters. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mountd.metrics import difference, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Pace:
    """How often something was done and how long it took. `rate`: per second; `median`, `slow` (99%): seconds."""

    name: str
    rate: float
    median: float
    slow: float
    errors: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened in `seconds`, by second unless said otherwise.

    Attributes:
        read, written: bytes of programs; fetched, sent: of the store.
        hits: share of the bytes read that did not wait for the store, 0 to 1; `None` where nothing was read.
        operations, requests: of the kernel and to the store, the most frequent first.
        processes: what each process did, the busiest first: `pid`, `name`, `operations`, `read`, `written`.
        cpu: share of one core.
    """

    seconds: float
    read: float
    written: float
    fetched: float
    sent: float
    hits: float | None
    operations: list[Pace]
    requests: list[Pace]
    processes: list[dict[str, Any]]
    cpu: float


def between(older: Mapping[str, Any] | None, newer: Mapping[str, Any]) -> Rates:
    """Return what happened from one answer of the daemon to the next; since the mount began without `older`."""
    if older is not None and older["pid"] != newer["pid"]:
        older = None
    seconds: float = max(1e-9, newer["at"] - older["at"] if older else newer["uptime"])

    def growth(*path: str) -> float:
        return _at(newer, path) - (_at(older, path) if older else 0.0)

    def rate(*path: str) -> float:
        return growth(*path) / seconds

    here, waited = growth("served", "here"), growth("served", "waited")
    return Rates(
        seconds=seconds,
        read=rate("kernel", "read"),
        written=rate("kernel", "written"),
        fetched=rate("traffic", "received"),
        sent=rate("traffic", "sent"),
        hits=here / (here + waited) if here + waited else None,
        operations=_paces(older and older["kernel"]["operations"], newer["kernel"]["operations"], seconds),
        requests=_paces(older and older["store_requests"], newer["store_requests"], seconds),
        processes=_processes(older, newer, seconds),
        cpu=rate("cpu"),
    )


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> float:
    found: Any = values
    for name in path:
        found = found[name]
    return float(found)


def _paces(older: Mapping[str, Any] | None, newer: Mapping[str, Any], seconds: float) -> list[Pace]:
    found = []
    for name, new in newer.items():
        old = (older or {}).get(name) or {"counts": [0] * len(new["counts"]), "errors": 0}
        counts = difference(new["counts"], old["counts"])
        if sum(counts):
            errors = new["errors"] - old["errors"]
            found.append(Pace(name, sum(counts) / seconds, quantile(counts, 0.5), quantile(counts, 0.99), errors))
    return sorted(found, key=lambda pace: -pace.rate)


def _processes(older: Mapping[str, Any] | None, newer: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
    before = {each["pid"]: each for each in older["kernel"]["processes"]} if older else {}
    found = []
    for each in newer["kernel"]["processes"]:
        old = before.get(each["pid"], {})
        rates = {name: (each[name] - old.get(name, 0)) / seconds for name in ("operations", "read", "written")}
        if rates["operations"] > 0:
            found.append({"pid": each["pid"], "name": each["name"]} | rates)
    return sorted(found, key=lambda process: -process["operations"])
