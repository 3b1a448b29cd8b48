"""How long programs wait in write-through and in write-back mode, and how long until the store has everything.

    python benchmarks/write_back.py [--files 300] [--size 4096] [--large 268435456] [--latency 0]

A bucket of a local SeaweedFS; `--latency` seconds are added to each request by a proxy, as if it were far away.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.harness import open_hosts
from tests.kits import Bucket
from tests.proxy import any_request, delayed, proxied
from tests.servers import seaweedfs


def timed(act):
    """Return how many seconds `act()` takes."""
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def measure(mount, chosen):
    """Return, by what was done, the seconds until the calls returned and until the store had it."""
    data, large = os.urandom(chosen.size), os.urandom(chosen.large)

    def small():
        (mount / "small").mkdir()
        for number in range(chosen.files):
            (mount / "small" / f"{number}").write_bytes(data)

    def saved():
        (mount / "saved").mkdir()
        for number in range(chosen.files):
            (mount / "saved" / "partial").write_bytes(data)
            os.rename(mount / "saved" / "partial", mount / "saved" / f"{number}")

    found = {}
    for name, act in (
        (f"{chosen.files} files of {chosen.size} bytes", small),
        (f"{chosen.files} written and renamed", saved),
        (f"one of {chosen.large >> 20} MiB", lambda: (mount / "large").write_bytes(large)),
    ):
        calls = timed(act)
        found[name] = calls, calls + timed(lambda: mount.host.run("sync", timeout=1200))
    return found


def main():
    """Measure both modes, each on a mount of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--large", type=int, default=256 << 20)
    parser.add_argument("--latency", type=float, default=0.0)
    chosen = parser.parse_args()
    modes = {"write-through": (), "write-back": ("--write-back",)}
    with tempfile.TemporaryDirectory() as folder, seaweedfs() as server, proxied(server.endpoint) as proxy:
        if chosen.latency:
            proxy.on(any_request, delayed(chosen.latency))
        print(f"{'seconds':<32}" + "".join(f"{mode:>15}{'in the store':>15}" for mode in modes))
        with open_hosts(Path(folder)) as make_host:
            columns = []
            for options in modes.values():
                store = Bucket(server)
                if chosen.latency:
                    store.options = store.options | {"endpoint_url": proxy.endpoint}
                columns.append(measure(make_host().mount(store, *options), chosen))
        for name in columns[0]:
            print(f"{name:<32}" + "".join(f"{part:>15.2f}" for column in columns for part in column[name]))


if __name__ == "__main__":
    main()
