"""One worker as a process: `python -m tests.workload MOUNT DIRECTORY MANIFEST --seed N`, until SIGTERM.

It outlives the daemon: where the mount has gone it waits for the next one. What it knew of an earlier run is in the
manifest.
"""

import argparse
import os
import random
import signal
import time

from tests.workload.manifest import Manifest
from tests.workload.perform import Disconnected, Performer
from tests.workload.plan import Plan, Sizes

PAUSE = 0.02


def main():
    """Work until told to stop, and finish the call under way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mount")
    parser.add_argument("directory")
    parser.add_argument("manifest")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--share", type=float, default=Sizes.share, help="of large files")
    chosen = parser.parse_args()
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    manifest = Manifest(chosen.manifest)
    rng = random.Random(f"{chosen.seed} {chosen.directory} {manifest.last}")
    plan = Plan(rng, chosen.directory, manifest.expected, Sizes(share=chosen.share))
    while not stopped and _wait_for(chosen.mount, chosen.directory, stopped):
        performer = Performer(chosen.mount, manifest)
        try:
            while not stopped:
                # Steps that belong together go on only as long as they succeed.
                all(performer.run(step) for step in plan.steps(manifest.last + 1, performer.busy))
                time.sleep(rng.random() * PAUSE)
        except Disconnected:
            performer.drop()
        else:
            performer.close()
    manifest.close()


def _wait_for(mount, directory, stopped):
    """Return once the store is mounted, or tell that it is too late."""
    while not stopped:
        try:
            if os.path.ismount(mount) and os.stat(os.path.join(mount, directory)):
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    main()
