"""Single calls during which the daemon dies: what comes before, the call, and what may be there afterwards."""

import contextlib
import time
from dataclasses import dataclass

from tests.workload.check import compare, through_client, through_mount
from tests.workload.contents import fresh
from tests.workload.manifest import DIRECTORY, Manifest
from tests.workload.perform import Disconnected, Performer
from tests.workload.plan import MiB, Step

SMALL, LARGE = 3000, 12 * MiB


@dataclass(frozen=True)
class Scenario:
    """Steps that are acknowledged, and those during which the daemon is to die. Paths are below a directory `home`."""

    before: tuple[Step, ...]
    steps: tuple[Step, ...]


def _write(path, stream, size=SMALL, **how):
    return Step("write", f"home/{path}", content=fresh(stream, size), **how)


_TREE = (Step("mkdir", "home/d"), _write("d/a", 1), _write("d/b", 2))

SCENARIOS = {
    "create": Scenario((), (_write("a", 1),)),
    "create-exclusively": Scenario((), (_write("a", 1, exclusive=True),)),
    "create-large": Scenario((), (_write("a", 1, LARGE),)),
    "overwrite": Scenario((_write("a", 1),), (_write("a", 2, sync=True),)),
    "append": Scenario((_write("a", 1),), (Step("append", "home/a", content=fresh(2, 500)),)),
    "edit-large": Scenario((_write("a", 1, LARGE),), (Step("edit", "home/a", content=fresh(2, 5000), offset=6 * MiB),)),
    "truncate": Scenario((_write("a", 1),), (Step("truncate", "home/a", size=100),)),
    "rename": Scenario((_write("a", 1),), (Step("rename", "home/a", "home/b"),)),
    "rename-over": Scenario((_write("a", 1), _write("b", 2)), (Step("rename", "home/a", "home/b"),)),
    "save": Scenario((_write("a", 1),), (_write("a.tmp", 2, sync=True), Step("rename", "home/a.tmp", "home/a"))),
    "rename-directory": Scenario(_TREE, (Step("rename-directory", "home/d", "home/e"),)),
    "unlink": Scenario((_write("a", 1),), (Step("unlink", "home/a"),)),
    "mkdir": Scenario((), (Step("mkdir", "home/d"),)),
}


class Stage:
    """A mount on which scenarios are played, each in a directory of its own."""

    def __init__(self, mount, store, folder, *, options=()):
        self.mount, self.store = mount, store
        self._folder, self._options = folder, options
        self._played = 0

    def play(self, scenario, die):
        """Play a scenario whose steps run while `die()` is a context in which the daemon may die; mount again.

        Returns what is wrong afterwards, as the mount shows it and as an independent client sees the store.
        """
        self._played += 1
        home = f"home{self._played}"
        (self.mount / home).mkdir()
        manifest = Manifest(self._folder / f"{home}.manifest")
        manifest.settle({home: DIRECTORY})
        with contextlib.closing(manifest):
            with self._performer(manifest) as performer:
                for step in _placed(scenario.before, home):
                    assert performer.run(step), step
            if self.mount.alive:
                with self._performer(manifest) as performer, die(), contextlib.suppress(Disconnected):
                    all(performer.run(step) for step in _placed(scenario.steps, home))
            if not self.mount.alive:
                self.mount.revive(*self._options)
            return manifest.expected.wrong + self._differences(manifest.expected, home)

    @contextlib.contextmanager
    def _performer(self, manifest):
        performer = Performer(self.mount.path, manifest)
        try:
            yield performer
        finally:
            performer.drop()

    def _differences(self, expected, home):
        shown = compare(expected, through_mount(self.mount.path, home), directories=True)
        self.mount.host.run("sync", "--timeout=60")
        stored = compare(expected, through_client(self.store, home), directories=False)
        return shown.lost + stored.lost


def _placed(steps, home):
    """Return steps with their paths below another directory."""
    for step in steps:
        path, target = (text.replace("home/", f"{home}/", 1) for text in (step.path, step.target))
        yield Step(step.kind, path, target, step.content, step.offset, step.size, step.exclusive, step.sync)


def wait_for_end(mount, seconds=30):
    """Return when the daemon is dead, or fail."""
    end = time.monotonic() + seconds
    while mount.alive:
        assert time.monotonic() < end, f"the daemon lives on{mount.host.logs()}"
        time.sleep(0.02)
