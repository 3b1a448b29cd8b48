"""A workload on a mount whose store is reached through faults: nothing hangs, nothing acknowledged is lost."""

import os
import time

import pytest

from tests.chaos import faulty
from tests.crash.cycles import read_back
from tests.kits import open_store
from tests.workload.crew import Crew

MiB = 1024 * 1024
SEED = int(os.environ.get("FAULT_SEED", "1"))
SETTINGS = {"part_size": "5MiB", "request_deadline": "2s", "retry_budget": "3s"}


@pytest.mark.parametrize(("kind", "seconds"), [("s3", 10), ("gcs", 5), ("azure", 5)])
def test_work_goes_on_through_faults(request, folder, make_host, kind, seconds):
    """Every call returns; when the service is well again, all is stored without anybody's help. [close-retries]

    Another seed: FAULT_SEED=2. For as long as you like: make soak.
    """
    with open_store(kind, folder, request.getfixturevalue) as store, faulty(store, seed=SEED) as chaos:
        host = make_host()
        host.configure(**SETTINGS)
        mount = host.mount(store)
        crew = Crew(folder / "manifests", mount.path, seed=SEED)
        try:
            crew.start()
            chaos.start()
            time.sleep(seconds)
            chaos.stop()
            crew.stop()
            for verdict in read_back(crew, mount, store, make_host):
                assert verdict.lost == [], f"seed {SEED}"
            assert chaos.hits.total() > 0
            assert crew.totals()["acknowledged"] > 0
            mount.unmount()
        finally:
            crew.kill()


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_a_lost_answer_to_the_last_request_of_an_edit_is_no_conflict(request, folder, host, kind):
    """Most of the file is taken from the old object, and nobody else has changed it. [lost-answer]"""
    with open_store(kind, folder, request.getfixturevalue) as store, faulty(store, seed=SEED) as chaos:
        data = bytearray(os.urandom(24 * MiB))
        mount = host.mount(store)
        (mount / "a").write_bytes(data)
        rule = chaos.lose(completes)
        with open(mount / "a", "r+b") as file:
            file.seek(9 * MiB)
            file.write(b"x" * 5000)
        data[9 * MiB : 9 * MiB + 5000] = b"x" * 5000
        assert rule.seen == 1
        mount.unmount()
        assert store.get("a") == data
        assert [key for key in store.keys() if not key.startswith(".mountd-")] == ["a"]


def completes(request):
    """Tell whether a request is the one that makes an object out of its parts."""
    last = ("uploadId=", "/compose", "comp=blocklist")
    return (
        request.method in ("POST", "PUT")
        and "partNumber" not in request.target
        and any(each in request.target for each in last)
    )


def test_an_outage_ends_and_work_goes_on(request, folder, make_host):
    """While nobody listens, `close()` fails in time; afterwards what it refused is stored by itself. [close-retries]"""
    with open_store("s3", folder, request.getfixturevalue) as store, faulty(store, seed=SEED) as chaos:
        host = make_host()
        host.configure(**SETTINGS)
        mount = host.mount(store)
        (mount / "a").write_bytes(b"before")
        with chaos.network("refuse"):
            with pytest.raises(OSError, match="Input/output error"):
                (mount / "a").write_bytes(b"after")
            reader = os.open(mount / "a", os.O_RDONLY)
            assert os.read(reader, 100) == b"after"
            os.close(reader)  # what became of a write is not the reader's business
        end = time.monotonic() + 60
        while store.get("a") != b"after" and time.monotonic() < end:
            time.sleep(0.1)
        assert store.get("a") == b"after"
        mount.unmount()
