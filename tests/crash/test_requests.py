"""The daemon dies at every single request of a call: when it was carried out, and before the answer is there."""

import contextlib
import dataclasses

import pytest

from tests.crash.cycles import SETTINGS
from tests.crash.scenarios import SCENARIOS, Stage, wait_for_end
from tests.kits import Bucket
from tests.proxy import Broken, any_request, proxied

# Calls of several requests, or with more behind them than one; each request costs a mount.
PLAYED = ("create-large", "overwrite", "rename-over", "rename-directory", "unlink")


@dataclasses.dataclass
class Killer:
    """Kills a daemon when so many requests have been carried out. `seen`: how many there have been."""

    mount: object
    after: int
    seen: int = 0

    def __call__(self, request, forward):
        self.seen += 1
        if self.seen < self.after:
            return forward()
        if self.seen == self.after:
            forward()
            self.mount.kill()
        raise Broken


@pytest.mark.parametrize("name", PLAYED)
def test_killed_at_each_request(folder, host, s3_server, name):
    """What is there afterwards is the state before the call or the one after it, whole. [close-durable]"""
    with proxied(s3_server.endpoint, remember=False) as proxy:
        store = Bucket(s3_server)
        store.options = s3_server.at(proxy.endpoint).options()
        host.configure(**SETTINGS)
        stage = Stage(host.mount(store), store, folder)
        kills = 0
        while True:
            killer = Killer(stage.mount, kills + 1)

            @contextlib.contextmanager
            def die(killer=killer):
                proxy.on(any_request, killer)
                yield
                if killer.seen >= killer.after:
                    wait_for_end(stage.mount)
                proxy.clear()

            assert stage.play(SCENARIOS[name], die) == [], f"killed at request {killer.after}"
            if killer.seen < killer.after:
                break
            kills += 1
        assert kills > 0
