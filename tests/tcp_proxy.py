"""A TCP proxy in front of a real server, on 127.0.0.1, that can do to connections what networks do to them.

It knows nothing of HTTP (`tests.proxy` does): it delays bytes, loses them, and ends connections in the middle of
whatever is on its way. One fault at a time, for the length of a block; a thread per connection.
"""

import contextlib
import select
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass

CHUNK = 64 * 1024
# How soon a connection on which nothing moves notices that there is a fault, in seconds.
LOOK = 0.05


@dataclass
class Fault:
    """What is wrong with the network.

    Attributes:
        kind: `delay`: each piece of data is late by `seconds`. `reset`: connections are reset (RST) once `after` bytes
            have passed, both ways together. `cut`: likewise, but they end as if in order (FIN). `hole`: nothing passes,
            and nobody is told. `refuse`: nobody listens, and connections are reset.
        hits: connections that it has met.
    """

    kind: str
    seconds: float = 0.0
    after: int = 0
    hits: int = 0


class TcpProxy:
    """A running proxy. Attributes: `endpoint`, its URL, with the scheme of the server's."""

    def __init__(self, upstream):
        parts = urllib.parse.urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port)
        self._fault = None
        self._closed = False
        self._listener = _listen(0)
        self._port = self._listener.getsockname()[1]
        self.endpoint = f"{parts.scheme}://127.0.0.1:{self._port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def fault(self, kind, **how):
        """Have the network be so for the block, and yield the `Fault`."""
        made = Fault(kind, **how)
        self._fault = made
        try:
            yield made
        finally:
            self.heal()

    def heal(self):
        """End the fault there is."""
        self._fault = None

    def close(self):
        """Stop listening; connections end."""
        self._closed = True
        self._thread.join()

    def _accept(self):
        """Take connections as long as somebody listens: a listener that is closed refuses."""
        while not self._closed:
            refusing = self._fault is not None and self._fault.kind == "refuse"
            if refusing and self._listener is not None:
                self._listener.close()
                self._listener = None
            elif not refusing and self._listener is None:
                self._listener = _listen(self._port)
            if self._listener is None:
                time.sleep(LOOK)
            elif select.select([self._listener], [], [], LOOK)[0]:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
        if self._listener is not None:
            self._listener.close()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with socket.create_connection(self._upstream, timeout=30) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Connection(client, server, self).run()

    @property
    def state(self):
        """The fault there is, `None` without one, and whether the proxy is closed."""
        return self._fault, self._closed


class _Connection:
    """A client's connection and the one to the server."""

    def __init__(self, client, server, proxy):
        self._peers = {client: server, server: client}
        self._proxy = proxy
        self._met = None
        self._left = 0

    def run(self):
        """Carry bytes both ways until either side, or a fault, ends it."""
        open_ends = set(self._peers)
        while open_ends:
            ready = select.select(list(open_ends), [], [], LOOK)[0]
            fault, closed = self._proxy.state  # as it is now that there is something to carry
            if closed:
                return
            if fault is None:
                self._met = None
            elif self._stopped_by(fault):
                return
            elif fault.kind == "hole":
                time.sleep(LOOK)
                continue
            for end in ready:
                if not self._carry(end):
                    open_ends.discard(end)

    def _stopped_by(self, fault):
        """Meet a fault; tell whether that is the end."""
        if self._met is not fault:
            self._met, self._left = fault, fault.after
            fault.hits += 1
        if fault.kind == "refuse" or (fault.kind == "reset" and self._left <= 0):
            self._reset()
            return True
        return fault.kind == "cut" and self._left <= 0

    def _carry(self, end):
        """Pass on what has come at one end; tell whether more may come."""
        met = self._met
        limit = max(1, min(CHUNK, self._left)) if met is not None and met.kind in ("reset", "cut") else CHUNK
        data = end.recv(limit)
        if not data:
            with contextlib.suppress(OSError):
                self._peers[end].shutdown(socket.SHUT_WR)
            return False
        if met is not None and met.kind == "delay":
            time.sleep(met.seconds)
        self._left -= len(data)
        self._peers[end].settimeout(30)  # a peer that takes nothing for so long is as good as gone
        self._peers[end].sendall(data)
        return True

    def _reset(self):
        for each in self._peers:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


@contextlib.contextmanager
def tcp_proxied(upstream):
    """Run a proxy in front of the server with the URL `upstream`, and yield the `TcpProxy`."""
    proxy = TcpProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
