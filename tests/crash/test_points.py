"""The daemon dies at named points of its own code; see `tests.crash.points`."""

import contextlib
import re

from tests.crash.cycles import SETTINGS
from tests.crash.points import POINTS
from tests.crash.scenarios import SCENARIOS, Stage, wait_for_end
from tests.harness import CHECKOUT
from tests.kits import open_store


def pytest_generate_tests(metafunc):
    if "point" in metafunc.fixturenames and POINTS:
        metafunc.parametrize("point", POINTS, ids=[f"{p.name}-{p.scenario}-{p.kind}" for p in POINTS])


def test_every_point_is_in_the_list():
    """Whoever adds a point adds a test of it."""
    sources = [path.read_text() for path in (CHECKOUT / "mountd").rglob("*.py")]
    found = {name for text in sources for name in re.findall(r'\bcrash\.\w+\("([^"]+)"\)', text)}
    assert found == {point.name for point in POINTS}


if POINTS:

    def test_killed_at_a_point(request, folder, host, point):
        """It dies there, the next mount works, and what is there is the state before the call or the one after it."""
        with open_store(point.kind, folder, request.getfixturevalue) as store:
            host.configure(**SETTINGS)
            mount = host.mount(store, *point.options)

            def arm():
                """Have the next daemon die at the point, which may be while it is mounting."""
                mount.unmount()
                with _environment(host, MOUNTD_CRASH_AT=point.name):
                    done = host.run("mount", mount.name, mount.path, *point.options, check=False)
                if done.returncode == 0:
                    mount.pid = host.mounted(mount.name).pid

            @contextlib.contextmanager
            def die():
                yield
                wait_for_end(mount)

            stage = Stage(mount, store, folder, options=point.options)
            assert stage.play(SCENARIOS[point.scenario], die, arm=arm) == []


@contextlib.contextmanager
def _environment(host, **variables):
    before = dict(host.environment)
    host.environment |= variables
    try:
        yield
    finally:
        host.environment = before
