"""The benchmarks: figures from recorded numbers, the proxy that stands for distance, and one small real run."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import report, results
from benchmarks.measure import parse_metrics
from benchmarks.proxy import held_back
from benchmarks.workload import SCALES
from tests.harness import mounts_below

CHECKOUT = Path(__file__).parent.parent
PEERS = {
    "mountd": {"raw": True, "waits": True, "version": "1", "command": "mountd mount"},
    "mountd write-back": {"raw": True, "waits": False, "version": "1", "command": "mountd mount --write-back"},
    "rclone": {"raw": True, "waits": False, "version": "2", "command": "rclone mount"},
    "s3fs": {"raw": True, "waits": True, "version": "3", "command": "s3fs"},
    "juicefs": {"raw": False, "waits": True, "failed": "not installed"},
}


def record(peer, *seconds, workload="save", **more):
    return [
        {"latency": 0, "run": run, "workload": workload, "peer": peer, "seconds": each, **more}
        for run, each in enumerate(seconds)
    ]


def recorded(*records, **workload):
    at = {"0": {"title": "a save of 10 MiB", "amount": 10, "unit": "MiB/s"}}
    return {
        "when": "2026-01-01",
        "command": "python -m benchmarks",
        "machine": "a machine",
        "scale": "small",
        "runs": 3,
        "minutes": 1.0,
        "patience": 8,
        "latencies": [0],
        "peers": PEERS,
        "workloads": {"save": {"at": at, "least": None, "against": "", **workload}},
        "records": [each for made in records for each in made],
    }


def only_row(*records, **workload):
    (row,) = results.rows(recorded(*records, **workload), 0)
    return row


def test_the_ratio_is_of_medians_and_to_the_best_peer_with_plain_objects():
    """A format of its own does not count, however fast."""
    row = only_row(
        record("mountd", 2, 1, 9), record("rclone", 3, 3, 3), record("s3fs", 4, 4, 5), record("juicefs", 0.1)
    )
    assert (row.ratio, row.best, row.slower) == (1.5, "rclone", False)
    assert row.waiting == 2  # s3fs is the best of those whose close() waits
    assert (row.cells["mountd"].fastest, row.cells["mountd"].slowest) == (1, 9)


def test_write_back_mode_has_a_ratio_of_its_own():
    """Both modes are held against the same peer."""
    row = only_row(record("mountd", 2), record("mountd write-back", 4), record("s3fs", 2))
    assert (row.ratio, row.later) == (1, 0.5)
    assert row.missed == ["mountd 1.00 of 1.2 times s3fs", "mountd write-back 0.50 of 1.2 times s3fs"]


def test_the_limit_is_a_measurement_without_a_mount_or_another_row():
    """What seeks back is held against a plain write on the same mount."""
    row = only_row(record("mountd", 2), record("limit", 1), least=0.85)
    assert (row.to_limit, row.far_from_limit) == (0.5, True)
    row = only_row(record("mountd", 2), record("mountd", 1.8, workload="plain"), least=0.8, against="plain")
    assert (row.to_limit, row.far_from_limit) == (0.9, False)


def test_a_failure_is_an_entry_of_the_table():
    """It names the reason, and the others' figures stay."""
    failed = [{"latency": 0, "run": 0, "workload": "save", "peer": "rclone", "failed": "took longer | than 120 s"}]
    text = report.markdown(recorded(record("mountd", 2), failed, record("s3fs", 4)))
    assert "failed: took longer / than 120 s" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| a save of 10 MiB | MiB/s")]
    assert [cell.strip() for cell in line.split("|")][3:6] == ["5.00", "failed: took longer / than 120 s", "2.50"]
    assert "- **juicefs**, : not measured: not installed" in text


def test_the_report_tells_what_was_spent():
    """CPU time, memory, requests, and the targets missed."""
    cost = {"cpu": 0.5, "memory": 90 << 20, "requests": {"GET": 7, "PUT": 1}, "received": 10 << 20, "returned": 1.0}
    text = report.markdown(recorded(record("mountd", 2, **cost), record("s3fs", 2, **cost)))
    assert "| 0.50 s, 90 MiB; 7 GET 1 PUT, 10.0 MiB sent |" in text
    assert "0 of 1 rows are at least 1.2 times as fast as the best peer." in text
    assert "- a save of 10 MiB: mountd 1.00 of 1.2 times s3fs" in text
    assert "| a save of 10 MiB | MiB/s | 10.0 | 10.0 |" in text  # until the calls returned


@pytest.mark.parametrize(
    ("seconds", "unit", "amount", "shown"),
    [(2, "MiB/s", 256, "128"), (0.5, "ms each", 100, "5.00"), (12.34, "s", 1, "12.3"), (None, "s", 1, "")],
)
def test_figures_have_the_unit_of_their_row(seconds, unit, amount, shown):
    """Three digits, as no measurement here has more."""
    assert results.figure(seconds, unit, amount) == shown


def test_requests_are_counted_by_kind():
    """SeaweedFS counts HEAD among GET, but times the first byte of what it sends."""
    text = """
SeaweedFS_s3_bucket_traffic_received_bytes_total{bucket="b"} 2.0001e+07
SeaweedFS_s3_request_total{bucket="b",code="200",type="GET"} 5
SeaweedFS_s3_request_total{bucket="b",code="404",type="GET"} 1
SeaweedFS_s3_request_total{bucket="b",code="200",type="PUT"} 3
SeaweedFS_s3_request_seconds_count{bucket="b",type="PUT"} 3
SeaweedFS_s3_time_to_first_byte_millisecond_count{bucket="b",type="GET"} 2
"""
    assert parse_metrics(text) == ({"GET": 2, "HEAD": 4, "PUT": 3}, 20_001_000)


def test_far_away_fewer_files_are_others():
    """A directory has as many files as the row says, at each latency."""
    near = SCALES["full"]
    assert (near.where("small"), near.far_away().where("small")) == ("small/1000", "small/200")
    assert near.where("large/first") == near.far_away().where("large/first") == "large/first"


class Answering(threading.Thread):
    """A server of one connection: answers each request of four bytes with what it is told."""

    def __init__(self, answers):
        super().__init__(daemon=True)
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self):
        with self._listener, self._listener.accept()[0] as connection:
            for pieces in self._answers:
                connection.recv(4, socket.MSG_WAITALL)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.01)


HELD = 0.2


def connected(endpoint):
    """Return a connection to a URL's server."""
    return socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])))


def timed(client, size):
    """Ask, and return the answer of this size and how long it took."""
    begun = time.monotonic()
    client.sendall(b"ask\n")
    answer = client.recv(size, socket.MSG_WAITALL)
    return answer, time.monotonic() - begun


def test_each_response_is_held_back_once():
    """However many pieces it has; bytes stay what they are, and the end of a connection passes, too."""
    large = bytes(range(256)) * 16384
    server = Answering([[b"one"], [b"pi", b"ec", b"es"], [large]])
    with held_back(server.endpoint, HELD) as endpoint, connected(endpoint) as client:
        for wanted in (b"one", b"pieces", large):
            answer, taken = timed(client, len(wanted))
            assert answer == wanted
            assert taken >= HELD
        assert client.recv(1) == b""


def test_an_interim_response_is_not_held_back_in_place_of_the_real_one():
    """100 Continue says nothing of data; what follows it is held even when nothing was asked in between."""
    interim, final = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
    server = Answering([[interim, final]])
    with held_back(server.endpoint, HELD) as endpoint, connected(endpoint) as client:
        answer, taken = timed(client, len(interim + final))
        assert answer == interim + final
        assert taken >= HELD


def test_a_run_measures_what_was_chosen_and_leaves_nothing(tmp_path):
    """Of the mount itself, too; numbers go to a file that reports can be made of."""
    chosen = ["--peers=mountd", "--workloads=small-delete,append", "--scale=small", "--latency=1", "--runs=1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *chosen, "--json", tmp_path / "numbers.json"],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "numbers.json").read_text())
    measured = {(each["workload"], each["peer"]) for each in found["records"] if each.get("seconds")}
    rows = ("mount", "append", "small-delete")
    assert measured == {(row, peer) for row in rows for peer in ("mountd", "mountd write-back")}, found["records"]
    assert "40 files deleted" in report.markdown(found)
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]
    assert mounts_below(tmp_path) == []


def test_single_requests_are_measured_on_each_kind_of_service():
    """Each has a row for each kind of request."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.services", "--rounds", "1", "--times", "2"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=120)
    rows = [line.split("|")[1:] for line in done.stdout.splitlines()[2:]]
    assert {kind.strip() for kind, *_ in rows} == {"s3", "gcs", "azure"}
    assert len(rows) == 15
    assert all(float(wall) > 0 for _, _, wall, *_ in rows)
