"""Histograms, and what happened between two looks."""

import pytest

from mountd.commands.rates import between
from mountd.metrics import BOUNDS, PROCESSES, Histogram, Timings, Watch, difference, quantile


def test_quantiles_come_from_buckets():
    """Linear within one; what took longer than all bounds counts as the largest."""
    histogram = Histogram()
    assert quantile(histogram.counts, 0.5) == 0.0
    for _ in range(10):
        histogram.add(0.0003)  # between 0.25 and 0.5 ms
    assert quantile(histogram.counts, 0.5) == pytest.approx(0.000375)
    histogram.add(1000)
    assert quantile(histogram.counts, 1.0) == BOUNDS[-1]
    assert sum(histogram.counts) == 11
    assert histogram.total == pytest.approx(1000.003)


def test_what_is_on_a_bound_is_below_it():
    """As Prometheus' `le` has it."""
    histogram = Histogram()
    histogram.add(BOUNDS[3])
    assert histogram.counts[3] == 1


def test_processes_are_told_apart_and_bounded():
    """Reads and writes belong to whoever has opened the file; the last active ones are kept."""
    watch = Watch()
    watch.opened(1, 10)
    watch.moved(1, read=5)
    watch.moved(1, written=7)
    watch.moved(2, read=100)  # a handle that was opened before
    watch.closed(1)
    watch.moved(1, read=1000)
    ((ten,),) = ([each for each in watch.to_json()["processes"] if each["pid"] == 10],)
    assert (ten["operations"], ten["read"], ten["written"]) == (3, 5, 7)
    assert (watch.read, watch.written) == (1105, 7)
    for pid in range(100, 100 + PROCESSES):
        watch.process(pid)
    assert len(watch.processes) == PROCESSES
    assert 10 not in watch.processes


def look(at, *, reads, pid=1, here=0, waited=0):
    """Return an answer of a daemon after as many reads, each of 1 ms and 100 bytes."""
    timings, watch = Timings(), Watch()
    for _ in range(reads):
        timings.add("read", 0.001)
    watch.operations = timings
    watch.read = reads * 100
    return {
        "pid": pid,
        "at": at,
        "uptime": at,
        "kernel": watch.to_json(),
        "traffic": {"received": waited, "sent": 0},
        "served": {"here": here, "waited": waited},
        "store_requests": {},
        "cpu": at / 2,
    }


def test_rates_are_differences_by_time():
    """Of counters and of histograms."""
    found = between(look(10, reads=3), look(12, reads=7, here=300, waited=100))
    (pace,) = found.operations
    assert (found.seconds, found.read, found.hits, found.fetched, found.cpu) == (2, 200, 0.75, 50, 0.5)
    assert (pace.name, pace.rate) == ("read", 2)
    assert 0.0005 < pace.median <= 0.001
    assert difference([3, 4], [1, 4]) == [2, 0]


def test_a_daemon_that_was_started_anew_counts_from_its_start():
    """Counters that have begun again are no negative rates."""
    found = between(look(10, reads=100), look(4, reads=8, pid=2))
    assert found.read == 200
    assert found.hits is None
