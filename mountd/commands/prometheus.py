"""Metrics of mounts in Prometheus' text format. Names and units are by its conventions: base units, `_total`.

Source: https://prometheus.io/docs/practices/naming/ and prometheus_client's custom collectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from mountd.metrics import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

_LABELS = ("store", "mount_point")

# Name, help, and where the value is.
_GAUGES: Sequence[tuple[str, str, Callable[[Mapping[str, Any]], float]]] = (
    ("mountd_uptime_seconds", "Seconds since the store was mounted.", lambda m: m["uptime"]),
    ("mountd_cache_bytes", "Bytes in the local cache.", lambda m: m["cache"]["bytes"]),
    ("mountd_cache_limit_bytes", "Bytes that the local cache may have.", lambda m: m["cache"]["limit"]),
    ("mountd_pending_changes", "Changes that the store does not have yet.", lambda m: m["pending_changes"]),
    ("mountd_pending_bytes", "Bytes that the store does not have yet.", lambda m: m["pending_bytes"]),
    ("mountd_open_files", "Open files.", lambda m: m["handles"]),
    ("mountd_known_names", "Names kept in memory.", lambda m: m["names"]),
    ("mountd_resident_memory_bytes", "Memory of the daemon.", lambda m: m["memory"]),
)
_COUNTERS: Sequence[tuple[str, str, Callable[[Mapping[str, Any]], float]]] = (
    ("mountd_read_bytes", "Bytes that programs have read.", lambda m: m["kernel"]["read"]),
    ("mountd_written_bytes", "Bytes that programs have written.", lambda m: m["kernel"]["written"]),
    ("mountd_cache_hit_bytes", "Bytes read that did not wait for the store.", lambda m: m["served"]["here"]),
    ("mountd_cache_miss_bytes", "Bytes read that waited for the store.", lambda m: m["served"]["waited"]),
    ("mountd_store_received_bytes", "Bytes of objects that came.", lambda m: m["traffic"]["received"]),
    ("mountd_store_sent_bytes", "Bytes of objects that were sent.", lambda m: m["traffic"]["sent"]),
    ("mountd_cpu_seconds", "CPU time of the daemon.", lambda m: m["cpu"]),
)
_TIMINGS: Sequence[tuple[str, str, str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]] = (
    ("mountd_operation", "operation", "Requests of the kernel", lambda m: m["kernel"]["operations"]),
    ("mountd_store_request", "request", "Requests to the store", lambda m: m["store_requests"]),
)


class _Collector:
    def __init__(self, mounts: Iterable[Mapping[str, Any]]) -> None:
        self._mounts = list(mounts)

    def collect(self) -> Iterator[Metric]:
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=_LABELS)
            for mount in self._mounts:
                gauge.add_metric(_labels(mount), value(mount))
            yield gauge
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=_LABELS)
            for mount in self._mounts:
                counter.add_metric(_labels(mount), value(mount))
            yield counter
        for name, label, text, timings in _TIMINGS:
            yield from self._timings(name, label, text, timings)

    def _timings(
        self, name: str, label: str, text: str, timings: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> Iterator[Metric]:
        labelled = (*_LABELS, label)
        took = HistogramMetricFamily(f"{name}_duration_seconds", f"{text}: how long they took.", labels=labelled)
        failed = CounterMetricFamily(f"{name}_errors", f"{text} that failed.", labels=labelled)
        for mount in self._mounts:
            for kind, each in timings(mount).items():
                labels = [*_labels(mount), kind]
                took.add_metric(labels, buckets=_buckets(each["counts"]), sum_value=each["total"])
                failed.add_metric(labels, each["errors"])
        yield took
        yield failed


def _labels(mount: Mapping[str, Any]) -> list[str]:
    return [mount["store"], mount["mount_point"]]


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return Prometheus' cumulative buckets."""
    found, so_far = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        so_far += count
        found.append((bound, float(so_far)))
    return found


def text(mounts: Iterable[Mapping[str, Any]]) -> str:
    """Return the exposition of what daemons have answered to `metrics`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(mounts))
    return generate_latest(registry).decode()
