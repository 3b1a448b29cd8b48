"""A workload on a mount whose store is reached through faults: nothing hangs, nothing acknowledged is lost."""

import os
import time

import pytest

from tests.chaos import faulty
from tests.crash.cycles import read_back
from tests.harness import until
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


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
@pytest.mark.parametrize("last", ["rename", "remove", "write", "remove and write"])
def test_a_request_that_was_given_up_undoes_nothing_when_it_arrives(request, folder, host, kind, last):
    """A file is stored at the second attempt; the first one arrives after what is done next. [late-arrival]"""
    with open_store(kind, folder, request.getfixturevalue) as store, faulty(store, seed=SEED) as chaos:
        host.configure(**SETTINGS)
        mount = host.mount(store)
        if last == "write":  # brings back the version that the late request is to replace
            (mount / "a").write_bytes(b"0")
        rule = chaos.delay(lambda request: writes(request, "a"), 2.5)
        (mount / "a").write_bytes(b"1")
        if last == "rename":
            os.rename(mount / "a", mount / "b")
        if last.startswith("remove"):
            os.unlink(mount / "a")
        if last.endswith("write"):
            (mount / "a").write_bytes(b"0")
        time.sleep(2)
        assert rule.seen == 1
        mount.unmount()
        found = {key: store.get(key) for key in store.keys() if not key.startswith(".mountd-")}
        assert found == {"rename": {"b": b"1"}, "remove": {}}.get(last, {"a": b"0"})


def writes(request, key):
    """Tell whether a request makes an object of some bytes."""
    named = request.path.endswith(f"/{key}") or f'"name": "{key}"'.encode() in request.body
    return request.method in ("PUT", "POST") and named and len(request.body) > 0


def completes(request):
    """Tell whether a request is the one that makes an object out of its parts."""
    last = ("uploadId=", "/compose", "comp=blocklist")
    return (
        request.method in ("POST", "PUT")
        and "partNumber" not in request.target
        and any(each in request.target for each in last)
    )


@pytest.mark.parametrize("size", [3, 9])
def test_a_truncation_that_could_not_be_stored_is_shown_and_stored_later(request, folder, make_host, size):
    """What programs see of a file whose truncation failed is what the store gets in the end. [truncate-retries]"""
    with open_store("s3", folder, request.getfixturevalue) as store, faulty(store, seed=SEED) as chaos:
        host = make_host()
        host.configure(**SETTINGS)
        mount = host.mount(store, "--freshness", "600")
        path = mount / "a"
        path.write_bytes(b"before")
        path.chmod(0o640)
        os.link(path, mount / "b")
        with chaos.network("refuse"):
            with pytest.raises(OSError, match="Input/output error"):
                os.truncate(path, size)
            wanted = b"before"[:size].ljust(size, b"\0")
            until(lambda: path.stat().st_size == size)
            assert path.read_bytes() == wanted
            with open(mount / "b", "rb") as other:
                assert other.read() == wanted
                assert os.fstat(other.fileno()).st_size == size
            with pytest.raises(OSError, match="Input/output error"):
                os.truncate(mount / "b", size + 1)
            assert path.read_bytes() == wanted + b"\0"
            assert oct(path.stat().st_mode)[-3:] == "640"
            assert path.stat().st_nlink == 2
        for name in ("a", "b"):
            until(lambda name=name: store.get(name) == wanted + b"\0")
        mount.unmount()


def test_an_outage_ends_and_work_goes_on(request, folder, make_host):
    """While nobody listens, `close()` fails in time; afterwards what it refused is stored by itself. [close-retries]

    Under every name that the file has.
    """
    with open_store("s3", folder, request.getfixturevalue) as store, faulty(store, seed=SEED) as chaos:
        host = make_host()
        host.configure(**SETTINGS)
        mount = host.mount(store)
        (mount / "a").write_bytes(b"before")
        os.link(mount / "a", mount / "b")
        with chaos.network("refuse"):
            with pytest.raises(OSError, match="Input/output error"):
                (mount / "a").write_bytes(b"after")
            reader = os.open(mount / "a", os.O_RDONLY)
            assert os.read(reader, 100) == b"after"
            os.close(reader)  # what became of a write is not the reader's business
        for name in ("a", "b"):
            until(lambda name=name: store.get(name) == b"after")
        mount.unmount()
