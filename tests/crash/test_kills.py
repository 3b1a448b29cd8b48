"""`kill -9` of the daemon at random times under a workload: what was acknowledged is there, and the rest is whole."""

import os

import pytest

from tests.crash.cycles import Cycles, read_back
from tests.kits import open_store

KILLS = 4
SEED = int(os.environ.get("CRASH_SEED", "1"))

# Options of `mountd mount` to be tried, by name.
MODES = {"write-through": (), "write-back": ("--write-back",)}


@pytest.mark.parametrize(("kind", "mode"), [("s3", "write-through"), ("s3", "write-back"), ("local", "write-through")])
def test_killed_again_and_again(request, folder, make_host, kind, mode):
    """Each time the next mount works, by itself, and for programs that waited for it. [close-durable]

    Another seed: CRASH_SEED=2. For as long as you like: make soak.
    """
    with open_store(kind, folder, request.getfixturevalue) as store:
        cycles = Cycles(make_host(), store, seed=SEED, options=MODES[mode])
        try:
            for number in range(KILLS):
                cycles.run(during_mount=number % 2 == 1)
                verdict = cycles.crew.check(cycles.mount.path)
                assert verdict.lost == [], f"seed {SEED}, kill {number}"
            for verdict in read_back(cycles.crew, cycles.mount, store, make_host):
                assert verdict.lost == [], f"seed {SEED}"
            assert cycles.crew.totals()["acknowledged"] > 0
        finally:
            cycles.crew.kill()
