"""`python -m benchmarks`: mountd side by side with other mounts on one S3 server."""

import argparse
import datetime
import json
import os
import platform
import shlex
import signal
import sys
import time
from pathlib import Path

from benchmarks import report
from benchmarks.peers import PEERS
from benchmarks.runner import Choice, described, open_bench
from benchmarks.workload import SCALES
from benchmarks.workloads import WORKLOADS


def _names(known):
    def parse(text):
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return parse


def _latencies(text):
    return [int(each) for each in text.split(",")]


def _arguments(given):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--workloads", type=_names(WORKLOADS), default=list(WORKLOADS), help=",".join(WORKLOADS))
    parser.add_argument("--latency", type=_latencies, help="ms before the first byte of responses (0,20; small: 0)")
    parser.add_argument("--runs", type=int, help="how often everything is done (3; small: 1)")
    parser.add_argument("--scale", choices=SCALES, default="full", help="small is only to see whether all works")
    parser.add_argument("--minutes", type=float, default=25.0, help="begin no further run that would end later")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds that one workload may take")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--report", type=Path, help="where to write the report; the picture goes beside it")
    parser.add_argument("--from", dest="recorded", type=Path, help="measure nothing: report on what --json has written")
    chosen = parser.parse_args(given)
    small = chosen.scale == "small"
    chosen.latency = chosen.latency or ([0] if small else [0, 20])
    chosen.runs = chosen.runs or (1 if small else 3)
    return chosen


def _machine():
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {platform.release()}"


def measure(chosen):
    """Run everything and return the results."""
    order = [name for name in WORKLOADS if name in chosen.workloads]
    sizes = SCALES[chosen.scale]
    choice = Choice(chosen.peers, order, chosen.latency, chosen.runs, sizes, chosen.minutes, chosen.timeout)
    begun = time.monotonic()
    results = {
        "when": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "command": f"python -m benchmarks {shlex.join(sys.argv[1:])}".strip(),
        "machine": _machine(),
        "scale": chosen.scale,
        "runs": chosen.runs,
        "patience": choice.patience,
        "latencies": chosen.latency,
        "workloads": described(choice),
    }

    def say(text):
        print(f"{time.monotonic() - begun:7.1f} {text}", file=sys.stderr, flush=True)

    with open_bench(choice, say) as bench:
        results |= {"records": bench.records, "peers": bench.peers}
        try:
            bench.run(bench.load())
        except KeyboardInterrupt:
            print("interrupted: what there is", file=sys.stderr)
    return results | {"minutes": (time.monotonic() - begun) / 60}


def write(results, chosen):
    """Write what was asked for."""
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))
    if chosen.report:
        chosen.report.parent.mkdir(parents=True, exist_ok=True)
        picture = chosen.report.with_name("results.png")
        report.draw(results, picture)
        chosen.report.write_text(report.markdown(results, picture.name))
    for latency in results["latencies"]:
        print("\n".join(report.console(results, latency)))


def main(given=None):
    """Do what the command line says."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = _arguments(given)
    results = json.loads(chosen.recorded.read_text()) if chosen.recorded else measure(chosen)
    write(results, chosen)


if __name__ == "__main__":
    main()
