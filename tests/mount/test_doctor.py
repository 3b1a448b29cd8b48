"""`mountd doctor` on machines and stores that are well, and that are not."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.kits import Bucket, LocalFolder


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


@pytest.mark.skipif(os.geteuid() != 0, reason="the setting is root's")
def test_small_reads_ahead_are_found_and_mended_as_it_says(host, s3_server):
    """As of mounts by others than root, whose daemons may not change it. What is to be typed helps."""
    mount = host.mount(Bucket(s3_server), name="prod")
    setting = f"/sys/class/bdi/{device(mount.path)}/read_ahead_kb"
    found = []
    # The daemon, which is root's here, goes on setting it for a moment.
    for _ in range(50):
        Path(setting).write_text("128")
        (found,) = examine(host)[0]["read_ahead"]
        if found["verdict"] == "warn":
            break
    assert found["detail"].startswith(f"{mount.path}: 128 KiB")
    command = found["mend"].partition(": ")[2]
    assert command == f"echo 1024 > {setting}"
    subprocess.run(["sh", "-ec", command], check=True)
    found, code = examine(host)
    assert (verdicts(found)["read_ahead"], code) == (["ok"], 0)
    assert found["read_ahead"][0]["detail"] == f"{mount.path}: 1024 KiB"


def device(path):
    """Return the number of the device that is mounted at `path`, as /sys has it."""
    number = os.stat(path).st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def test_roots_mounts_read_ahead_by_themselves(host, tmp_path):
    """A mount point with a space in its name is one like others."""
    host.run("mount", str(LocalFolder(tmp_path / "store").folder), host.folder / "a b")
    wanted = "ok" if os.geteuid() == 0 else "warn"
    for _ in range(50):  # the kernel may just have put its own value back, see mountd.fuse.session
        (found,) = examine(host)[0]["read_ahead"]
        if found["verdict"] == wanted:
            break
    assert found["detail"].startswith(f"{host.folder / 'a b'}: ")
    assert found["verdict"] == wanted
