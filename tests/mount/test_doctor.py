"""`mountd doctor` on machines and stores that are well, and that are not."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.kits import Bucket


def register(host, bucket, name="prod", **changed):
    """Register a bucket, some of its options changed."""
    host.environment |= bucket.environment
    options = bucket.options | changed
    pairs = [part for key, value in options.items() for part in ("--option", f"{key}={value}")]
    host.run("store", "register", name, f"--path={bucket.root}", *pairs)


def examine(host, *arguments):
    """Return what is found, by name, and the exit code."""
    done = host.run("doctor", "--json", *arguments, check=False)
    found = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["name"], []).append(each)
    return found, done.returncode


def verdicts(found):
    return {name: [each["verdict"] for each in several] for name, several in found.items()}


def test_a_good_bucket_on_a_good_machine_is_well(host, s3_server):
    """And nothing is left in it."""
    bucket = Bucket(s3_server)
    register(host, bucket)
    found, code = examine(host, "prod")
    assert code == 0
    told = verdicts(found)
    assert {told[name][0] for name in ("kernel", "fusermount3", "mounts", "package", "store", "clock")} == {"ok"}
    assert told["promises"] == ["ok"]
    assert bucket.keys() == []
    lines = host.run("doctor", "prod").stdout.splitlines()
    assert "ok store: " in "\n".join(lines)
    assert "\x1b" not in "\n".join(lines)


def test_what_a_poor_service_does_not_decide_is_a_warning(host, poor_s3_server):
    """No failure: it can be used."""
    register(host, Bucket(poor_s3_server))
    found, code = examine(host, "prod")
    assert code == 0
    assert any("lock files" in each["detail"] for each in found["promises"])


def test_wrong_credentials_a_missing_bucket_and_no_answer_are_named(host, s3_server):
    """Each with a line that says what to do."""
    bucket = Bucket(s3_server)
    host.environment["WRONG"] = "wrong"
    register(host, bucket, "wrong", secret="env:WRONG")
    register(host, bucket, "nobody", endpoint_url="http://127.0.0.1:9")
    for name, said in (("wrong", "does not accept the credentials"), ("nobody", "127.0.0.1")):
        found, code = examine(host, name)
        (store,) = found["store"]
        assert (code, store["verdict"]) == (1, "fail")
        assert said in store["detail"]
        assert store["mend"]


def test_a_daemon_that_was_killed_and_broken_settings_are_found(host, s3_server):
    """The rest is looked at all the same."""
    mount = host.mount(Bucket(s3_server), name="prod")
    mount.kill()
    found, code = examine(host)
    assert found["mounts"][0]["mend"] == f"mountd unmount {mount.path}"
    assert code == 0
    (host.folder / "config/mountd/config.toml").write_text("no toml")
    found, code = examine(host)
    assert (verdicts(found)["settings"], code) == (["fail"], 1)
    assert verdicts(found)["kernel"] == ["ok"]


class Yesterday(BaseHTTPRequestHandler):
    """A service whose clock is a day behind."""

    def do_HEAD(self):
        self.send_response_only(403)
        self.send_header("Date", "Tue, 24 Nov 2020 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def yesterday():
    """The URL of that service."""
    server = HTTPServer(("127.0.0.1", 0), Yesterday)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("variable", [None, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_clock_that_is_wrong_is_found_before_requests_are_refused(yesterday, monkeypatch, variable):
    """The service says what time it is: the one that an option names, or the variable that leads AWS' tools there."""
    from mountd.daemon.health import _clock
    from mountd.stores.catalogue import FlavorCatalogue

    if variable:
        monkeypatch.setenv(variable, yesterday)
    found = _clock(FlavorCatalogue().get("s3"), {} if variable else {"endpoint_url": yesterday})
    assert found is not None
    assert (found.verdict, found.mend) == ("fail", "timedatectl set-ntp true")


@pytest.mark.skipif(os.geteuid() != 0, reason="taking fusermount3 away takes root")
def test_a_machine_without_fuse_is_told_what_is_missing(host):
    """In a namespace where /dev/fuse is hidden."""
    script = f"mount -t tmpfs tmpfs /dev && exec {sys.executable} -m mountd doctor --json"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script], env=host.environment, capture_output=True, text=True, check=False
    )
    kernel = next(each for each in json.loads(done.stdout) if each["name"] == "kernel")
    assert (done.returncode, kernel["verdict"]) == (1, "fail")
    assert "modprobe fuse" in kernel["mend"]
