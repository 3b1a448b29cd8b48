"""`python -m benchmarks.services`: what single requests to each kind of service cost, without a mount.

Wall time, and the CPU time of this process alone: what the daemon would spend. Medians of the rounds, in milliseconds.
"""

import argparse
import os
import statistics
import time

import trio

from mountd.config import MountSettings
from mountd.objects.interface import Key
from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig
from tests import kits, servers

KINDS = {
    "s3": (servers.seaweedfs, kits.Bucket),
    "gcs": (servers.fake_gcs, kits.GcsBucket),
    "azure": (servers.azurite, kits.AzureContainer),
}
DATA = os.urandom(4096)


def acts(store, key, version):
    """Return the requests that are measured, by title."""
    return {
        "list 1000 names": lambda: store.list_page(Key("many/"), limit=1000),
        "stat": lambda: store.stat(key),
        "read of 4 KiB": lambda: store.read_range(key, 0, len(DATA), version=version),
        "put of 4 KiB": lambda: store.put(Key("put"), DATA),
        "delete": lambda: store.delete(Key("put")),
    }


async def measured(act, times):
    """Return wall and CPU time of one call, in milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        await act()
    return (time.perf_counter() - wall) * 1e3 / times, (time.process_time() - cpu) * 1e3 / times


async def measure(outside, rounds, times):
    """Print a row for each kind of request to a store."""
    config = StoreConfig("bench", outside.kind, outside.root, outside.options)
    async with open_store(config, MountSettings()) as opened:
        await opened.store.check()
        info = await opened.store.put(Key("one"), DATA)
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(opened.store.put, Key(f"many/{number:04}"), b"x")
        for title, act in acts(opened.store, info.key, info.version).items():
            count = max(1, times // 50) if title.startswith("list") else times
            found = [await measured(act, count) for _ in range(rounds)]
            wall, cpu = (statistics.median(each) for each in zip(*found, strict=True))
            print(f"| {outside.kind} | {title} | {wall:.2f} | {cpu:.2f} |", flush=True)


def main(kinds, rounds, times):
    """Print a table."""
    print("| service | request | wall, ms | CPU, ms |\n|---|---|---|---|")
    for kind in kinds:
        start, kit = KINDS[kind]
        with start() as server:
            outside = kit(server)
            os.environ.update(outside.environment)
            trio.run(measure, outside, rounds, times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.services", description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS), help=",".join(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=300, help="requests of each kind in a round")
    chosen = parser.parse_args()
    main(chosen.kinds.split(","), chosen.rounds, chosen.times)
