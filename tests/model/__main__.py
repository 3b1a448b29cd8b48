"""Look for differences between model and file system for as long as you like: `python -m tests.model s3 -n 1000`."""

import argparse
import contextlib

from hypothesis import Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import places
from tests.model.machine import TreeMachine
from tests.model.test_model import SETTINGS
from tests.servers import seaweedfs


@contextlib.contextmanager
def _place(name, kind):
    with contextlib.ExitStack() as stack:
        if name == "s3":
            yield stack.enter_context(places.s3(stack.enter_context(seaweedfs()), kind))
        else:
            yield stack.enter_context(places.local(kind) if name == "local" else places.disk())


def main():
    """Run the machine with other settings than the test has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", choices=["disk", "local", "s3"])
    parser.add_argument("--alone", action="store_true", help="a mount that asks nothing twice, no other client")
    parser.add_argument("--write-back", action="store_true", help="the same in write-back mode")
    parser.add_argument("-n", "--examples", type=int, default=300)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-shrink", action="store_true", help="stop at the first difference")
    parser.add_argument("--verbosity", choices=[each.name for each in Verbosity], default="normal")
    chosen = parser.parse_args()
    phases = [Phase.generate] if chosen.no_shrink else [Phase.generate, Phase.shrink]
    kind = places.WriteBack if chosen.write_back else places.Alone if chosen.alone else places.Mounted
    with _place(chosen.place, kind) as place:
        machine = seed(chosen.seed)(type("Machine", (TreeMachine,), {"place": place}))
        limits = {
            "verbosity": Verbosity[chosen.verbosity],
            "max_examples": chosen.examples,
            "stateful_step_count": chosen.steps,
            "phases": phases,
        }
        run_state_machine_as_test(
            machine,
            settings=settings(SETTINGS, derandomize=False, database=None, **limits),
        )


if __name__ == "__main__":
    main()
