"""The control socket takes anything that its owner's programs send: an answer or a closed connection, and goes on."""

import json
import os
import socket
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import HealthCheck, example, given, settings

from mountd.config import MountSettings
from mountd.daemon import control
from mountd.daemon.control import Control
from mountd.daemon.notify import Notifier
from mountd.daemon.order import MountOrder
from mountd.daemon.service import Service
from mountd.metrics import Timings
from mountd.objects.account import AccountingStore
from mountd.objects.memory import MemoryStore
from mountd.objects.opening import OpenStore
from mountd.stores.store import StoreConfig
from mountd.vfs.opening import open_filesystem
from tests.harness import frozen

fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
PATHS = st.sampled_from(["", "/", "a", "..", "a/../../b", "a//b", "\0", "\ud800", "x" * 5000, "a/b/c"]) | JSON
REQUESTS = st.fixed_dictionaries(
    {"do": st.sampled_from(["status", "sync", "nothing"]) | JSON},
    optional={"path": PATHS, "timeout": st.sampled_from([0, -1, float("nan"), 10**400, "1s", "inf"]) | JSON},
).map(lambda request: json.dumps(request).encode())
LINES = REQUESTS | JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30)


class AskedFor(MemoryStore):
    """Keeps the keys that were asked about."""

    def __init__(self):
        super().__init__()
        self.keys = set()

    async def stat(self, key):
        self.keys.add(key)
        return await super().stat(key)

    async def list_page(self, prefix, **options):
        self.keys.add(prefix)
        return await super().list_page(prefix, **options)


async def answers_to(line, folder, caplog):
    """Return the answers of a daemon to a line, which must still know its state afterwards."""
    store = AskedFor()
    order = MountOrder(StoreConfig("x", "local", "/nowhere"), Path(folder) / "mnt", MountSettings())
    data = Path(folder) / "data"
    async with (
        open_filesystem(store, data=data, settings=order.settings, root="memory") as fs,
        trio.open_nursery() as nursery,
    ):
        opened = OpenStore(store, AccountingStore(store).account, Counter(), Counter(), Timings())
        service = Service(order, order.settings, opened, fs, Notifier(None))
        commands = Control(service.commands())
        said = await _exchange(commands, nursery, line)
        assert json.loads(await _exchange(commands, nursery, b'{"do": "status"}'))["kind"] == "result"
    assert [key for key in store.keys if ".." in key.split("/") or "//" in key] == []
    assert "bug" not in caplog.text
    return [json.loads(answer) for answer in said.splitlines()]


async def _exchange(commands, nursery, line):
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    nursery.start_soon(_answer, commands, theirs)
    said = b""
    async with ours:
        await ours.send_all(line + b"\n")
        async for piece in ours:
            said += piece
    return said


async def _answer(commands, stream):
    async with stream:
        await commands.answer(stream)


@fuzz
@given(line=LINES)
@example(line=b"[" * 60_000)
@example(line=b'{"do": "sync", "path": 3, "timeout": 1}')
@example(line=b'{"do": "sync", "timeout": NaN}')
@example(line=b'{"do": "sync", "path": "a/../../b", "timeout": 1}')
@example(line=b'{"do": "sync", "path": "\\ud800", "timeout": 1}')
@example(line=b'{"do": {}}')
def test_any_line_gets_an_answer_or_none(tmp_path_factory, monkeypatch, caplog, line):
    """No request ends the daemon, has an error without a name, or makes a key that leads elsewhere."""
    monkeypatch.setattr(control, "PATIENCE", 1.0)
    folder = tmp_path_factory.mktemp("x")
    for answer in trio.run(answers_to, line.replace(b"\n", b""), folder, caplog):
        assert answer["kind"] in ("result", "error", "progress")
        if answer["kind"] == "error":
            assert isinstance(answer["message"], str)
            assert answer["exit_code"] in (1, 2, 4, 7)


@pytest.fixture
def mounted(host, local_store):
    """A mount, and what connects to its control socket."""
    mount = host.mount(local_store)
    (place,) = (host.folder / "run" / "mountd").glob("*.socket")

    def connect():
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{place.name}")
        finally:
            os.close(folder)
        return connection

    return mount, connect


def test_a_real_daemon_lives_on(mounted):
    """After bytes, lines that are too long, halves of lines, connections that end in the middle of an answer."""
    mount, connect = mounted
    for sent in (b"\xff\0\n", b"[" * 60_000 + b"\n", b"x" * 200_000, b'{"do": "sync", "path": 3, "timeout": 1}\n', b""):
        with connect() as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                said = connection.recv(4096)
            except OSError:  # closed before all of it was read
                continue
            assert said == b"" or json.loads(said)["kind"] == "error"
    with connect() as slow:
        slow.sendall(b'{"do": "sta')
        assert mount.status()["pid"] == mount.pid  # others are served meanwhile
        slow.settimeout(60)
        assert slow.recv(100) == b""


def test_a_client_that_goes_away_while_it_waits_ends_nothing(host, s3_store):
    """Nor one of many: the daemon tells progress to nobody, and goes on."""
    mount = host.mount(s3_store)
    (place,) = (host.folder / "run" / "mountd").glob("*.socket")
    with open(mount / "a", "wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        with frozen(s3_store.server.process.pid):
            for _ in range(3):
                with socket.socket(socket.AF_UNIX) as connection:
                    folder = os.open(place.parent, os.O_RDONLY)
                    connection.connect(f"/proc/self/fd/{folder}/{place.name}")
                    os.close(folder)
                    connection.sendall(b'{"do": "sync", "timeout": 30}\n')
                    assert b"progress" in connection.recv(100)
    mount.host.run("sync")
    assert mount.status()["pid"] == mount.pid
    assert s3_store.get("a") == b"x" * 100_000
