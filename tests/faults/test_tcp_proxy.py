"""The proxy does what it says, to a server that sends back what it gets."""

import contextlib
import socket
import threading
import time
import urllib.parse

import pytest

from tests.tcp_proxy import tcp_proxied


@pytest.fixture
def proxy():
    """A proxy before an echo."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo(connection):
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(65536):
                    connection.sendall(data)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        with tcp_proxied(f"http://127.0.0.1:{listener.getsockname()[1]}") as made:
            yield made
        listener.shutdown(socket.SHUT_RDWR)


def connect(proxy):
    parts = urllib.parse.urlsplit(proxy.endpoint)
    return socket.create_connection((parts.hostname, parts.port), timeout=5)


def answered(connection, data):
    """Send something and return what comes back before the connection ends, or as much as was sent."""
    connection.sendall(data)
    found = b""
    while len(found) < len(data) and (piece := connection.recv(65536)):
        found += piece
    return found


def test_without_a_fault_all_passes(proxy):
    """Both ways, and more than one chunk."""
    with connect(proxy) as connection:
        assert answered(connection, b"x" * 1_000_000) == b"x" * 1_000_000


def test_a_connection_is_reset_in_the_middle(proxy):
    """After the bytes that were named, and without an orderly end."""
    with connect(proxy) as connection, proxy.fault("reset", after=1500) as fault:
        with pytest.raises(ConnectionResetError):
            answered(connection, b"x" * 1000) and answered(connection, b"x" * 1000)
        assert fault.hits == 1


def test_a_connection_is_cut_in_the_middle(proxy):
    """What was announced does not come, and the connection ends in order."""
    with connect(proxy) as connection, proxy.fault("cut", after=1500):
        assert len(answered(connection, b"x" * 1000)) == 500


def test_a_fault_counts_from_the_first_byte_after_its_beginning(proxy):
    """Even where the proxy is waiting for that byte already."""
    with connect(proxy) as connection:
        assert answered(connection, b"hello") == b"hello"
        time.sleep(0.02)
        with proxy.fault("cut", after=1500):
            assert len(answered(connection, b"x" * 1000)) == 500


def test_nothing_comes_out_of_a_hole(proxy):
    """Connections are accepted, nobody answers; what was sent arrives when the network is well again."""
    with proxy.fault("hole"), connect(proxy) as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            answered(connection, b"hello")
        connection.settimeout(5)
        proxy.heal()
        assert connection.recv(100) == b"hello"


def test_nobody_listens_for_a_while(proxy):
    """Connections there are are reset, new ones are refused, and the next ones find the same port."""
    with connect(proxy) as old:
        assert answered(old, b"hello") == b"hello"
        with proxy.fault("refuse"):
            with pytest.raises(ConnectionResetError):
                answered(old, b"hello")
            with pytest.raises(ConnectionRefusedError):
                while True:
                    with contextlib.suppress(ConnectionResetError):  # one that was just being accepted
                        connect(proxy).close()
    while True:
        with contextlib.suppress(ConnectionError), connect(proxy) as connection:
            assert answered(connection, b"again") == b"again"
            break
