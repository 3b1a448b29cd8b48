"""`mountd dashboard` in a real browser, and what else its port answers."""

import contextlib
import http.client
import json
import re
import shutil
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

GRAFANA = Path(__file__).parent.parent.parent / "docs/grafana/mountd.json"

needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")


@pytest.fixture
def mount(host, s3_store):
    """A mounted bucket."""
    return host.mount(s3_store, name="prod")


@pytest.fixture
def url(mount):
    """Where the dashboard of the mount is served."""
    process = mount.host.start("dashboard", "prod", "--port", "0")
    line = process.stdout.readline()
    yield re.search(r"http://[0-9.:]+/", line)[0]
    process.terminate()


def data(url):
    """Return what the page is made from."""
    return json.loads(urllib.request.urlopen(f"{url}data", timeout=10).read())


def wait_for_samples(url, count):
    """Return the data once there are so many samples; the page is served from the start on."""
    while len((found := data(url))["samples"]) < count:
        pass
    return found


def browse(url, folder, *options):
    """Return the page's DOM after its script has run for some seconds of the browser's own time."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder}", "--virtual-time-budget=3000", "--window-size=1280,1100", *options]
    done = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def value(page, field):
    """Return what a number on the page says."""
    return re.search(rf'<b data-field="{field}">([^<]*)</b>', page)[1]


def points(page):
    """Return how many points each line of the charts has."""
    return [drawn.count("L") + drawn.count("M") for drawn in re.findall(r'<path d="([^"]*)"', page)]


@contextlib.contextmanager
def somebody_at_work(mount):
    """Have files written during the block."""
    ended = threading.Event()

    def work():
        while not ended.wait(0.05):
            (mount / "new").write_bytes(b"x" * 50_000)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@needs_browser
def test_the_page_shows_what_happens_and_goes_on(mount, url, tmp_path):
    """Numbers, lines, tables, and more of it at the next look."""
    wait_for_samples(url, 2)
    quiet = browse(url, tmp_path / "one")
    assert value(quiet, "written") == "0 B/s"
    assert "s3://" in quiet
    seen = len(data(url)["samples"])
    with somebody_at_work(mount):
        while len(found := data(url)["samples"]) < seen + 2 or not found[-1]["written"]:
            pass
        busy = browse(url, tmp_path / "two")
    assert max(points(busy)) > max(points(quiet)) >= 2
    assert "<td>put</td>" in busy
    assert "<td>write</td>" in busy
    assert re.search(r"<td>python[^<]*</td>", busy)


@needs_browser
def test_the_page_says_when_the_mount_has_ended(mount, url, tmp_path):
    """Instead of showing old numbers as if they were new."""
    wait_for_samples(url, 1)
    mount.unmount()
    while not data(url)["error"]:
        pass
    assert "does not answer" in re.search(r'id="error"[^>]*>([^<]*)<', browse(url, tmp_path / "browser"))[1]


def test_metrics_are_for_prometheus_and_the_page_for_this_machine(mount, url):
    """The same as `mountd status --prometheus`; names that lead here from elsewhere are refused."""
    answer = urllib.request.urlopen(f"{url}metrics", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(answer.read().decode())}
    printed = text_string_to_metric_families(mount.host.run("status", "--prometheus").stdout)
    assert names == {family.name for family in printed}
    port = int(url.rstrip("/").rpartition(":")[2])
    for path, host, status in (("/data", "evil.example:80", 403), ("/", f"localhost:{port}", 200), ("/x", None, 404)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        assert answer.status == status
        assert answer.getheader("Content-Security-Policy")
        connection.close()


def test_grafana_asks_for_what_there_is(mount):
    """Every metric in the example is one that is exported, and all that are exported by time are in it."""
    exported = set()
    for family in text_string_to_metric_families(mount.host.run("status", "--prometheus").stdout):
        exported |= {sample.name for sample in family.samples} or {family.name}
        if family.type == "histogram":
            exported |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
        if family.type == "counter":
            exported.add(f"{family.name}_total")
    queries = [target["expr"] for panel in json.loads(GRAFANA.read_text())["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"\bmountd_\w+", query)}
    assert asked - exported == set()
    assert len(asked) > 10


def test_a_port_that_is_taken_is_named(mount, url):
    """One line, with what to do."""
    port = url.rstrip("/").rpartition(":")[2]
    done = mount.host.run("dashboard", "--port", port, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "--port 0" in done.stderr
