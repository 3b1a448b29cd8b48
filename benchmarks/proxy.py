"""A TCP proxy that holds back the first byte of each HTTP response, as a store far away would, and nothing else.

    python -m benchmarks.proxy HOST PORT SECONDS

Prints the port it listens at on 127.0.0.1. Bytes never reach Python: the kernel moves them from socket to socket
through a pipe. Clients speak HTTP/1.1 without pipelining, so the first bytes from the server after bytes from the
client begin a response. An interim one (100 Continue) passes at once, as from real services: it says nothing of data.
"""

import contextlib
import heapq
import itertools
import os
import select
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

from tests.servers import die_with_parent

# <linux/splice.h> (in the os module from Python 3.12 on) and <fcntl.h>.
SPLICE_F_MOVE, SPLICE_F_NONBLOCK, F_SETPIPE_SZ = 1, 2, 1031
PIPE = 1024 * 1024
# How often one direction may move a pipe full of bytes before the others have their turn.
TURNS = 4


class Flow:
    """One direction of a connection: bytes from `source` to `sink`."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.ended = False  # nothing will come any more, and all has been passed on
        self.held = False
        self._pending = 0  # bytes in the pipe
        self._into, self._out_of = _pipe()

    @property
    def waits_to_read(self):
        """Whether it can go on once the source has something."""
        return not (self.ended or self.held or self._pending)

    @property
    def waits_to_write(self):
        """Whether it can go on once the sink takes something."""
        return bool(self._pending)

    def move(self):
        """Pass on what is there; return how many bytes came from the source."""
        came = 0
        with contextlib.suppress(BlockingIOError):
            for _ in range(TURNS):
                if not self._pending:
                    got = os.splice(self.source.fileno(), self._into, PIPE, flags=SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
                    if not got:
                        self._end()
                        break
                    self._pending = got
                    came += got
                self._pending -= os.splice(
                    self._out_of, self.sink.fileno(), self._pending, flags=SPLICE_F_MOVE | SPLICE_F_NONBLOCK
                )
        return came

    def _end(self):
        self.ended = True
        with contextlib.suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)

    def close(self):
        """Release the pipe."""
        os.close(self._into)
        os.close(self._out_of)


def _pipe():
    """Return the two ends of a pipe: to write to, and to read from."""
    import fcntl

    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(write, F_SETPIPE_SZ, PIPE)
    return write, read


class Connection:
    """A client's connection, and the one to the server."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.up, self.down = Flow(client, server), Flow(server, client)
        self._asked = False  # the client has sent something that was not answered yet

    def pass_requests(self):
        """Move what the client sends."""
        if self.up.move():
            self._asked = True

    def pass_responses(self):
        """Move what the server sends; tell whether it has to be held back first."""
        if self._asked and not self.down.waits_to_write:
            begin = _peek(self.server)
            if begin is None:
                return False
            if begin.startswith(b"HTTP/1.1 100 "):
                self._pass_interim(begin)
                return False
            self._asked = False
            if begin:
                self.down.held = True
                return True
        self.down.move()
        return False

    def _pass_interim(self, begin):
        end = begin.find(b"\r\n\r\n") + 4
        self.client.sendall(self.server.recv(end if end > 3 else len(begin)))

    @property
    def ended(self):
        """Whether both sides are done."""
        return self.up.ended and self.down.ended

    def close(self):
        """End it."""
        for each in (self.up, self.down, self.client, self.server):
            each.close()


def _peek(sock):
    """Return the first bytes that can be read, without taking them: `b""` at the end, None while there are none."""
    try:
        return sock.recv(1024, socket.MSG_PEEK)
    except BlockingIOError:
        return None


class Proxy:
    """The proxy's loop: one thread, all connections."""

    def __init__(self, upstream, seconds):
        self._upstream, self._seconds = upstream, seconds
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections = {}  # by each of its two descriptors
        self._watched = {}
        self._due = []  # when a held response goes on: (time, number, connection)
        self._numbers = itertools.count()

    def run(self):
        """Serve for ever."""
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else -1
            for fd, _ in self._epoll.poll(wait):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._connections:
                    self._serve(self._connections[fd], fd)
            self._release()

    def _accept(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._upstream, timeout=10)
                except OSError:
                    client.close()
                    continue
                for each in (client, server):
                    each.setblocking(False)
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(client, server)
                for each in (client, server):
                    self._connections[each.fileno()] = connection
                self._watch(connection)

    def _serve(self, connection, fd):
        """Go on with what a descriptor that is ready allows: either direction may wait for it."""
        try:
            connection.pass_requests()
            if not connection.down.held and connection.pass_responses():
                heapq.heappush(self._due, (time.monotonic() + self._seconds, next(self._numbers), connection))
        except OSError:
            self._drop(connection)
            return
        self._watch(connection)

    def _release(self):
        """Let go what has been held for long enough."""
        while self._due and self._due[0][0] <= time.monotonic():
            connection = heapq.heappop(self._due)[2]
            if connection.client.fileno() < 0:
                continue
            connection.down.held = False
            try:
                connection.down.move()
            except OSError:
                self._drop(connection)
                continue
            self._watch(connection)

    def _watch(self, connection):
        """Have epoll report exactly what the connection waits for."""
        if connection.ended:
            self._drop(connection)
            return
        up, down = connection.up, connection.down
        for sock, reads, writes in (
            (connection.client, up.waits_to_read, down.waits_to_write),
            (connection.server, down.waits_to_read, up.waits_to_write),
        ):
            wanted = select.EPOLLIN * reads | select.EPOLLOUT * writes
            self._register(sock.fileno(), wanted)

    def _register(self, fd, wanted):
        """A descriptor that nothing is wanted of is not registered: its hang-up would be reported for ever."""
        if self._watched.get(fd, 0) == wanted:
            return
        if not wanted:
            self._epoll.unregister(fd)
        elif self._watched.get(fd):
            self._epoll.modify(fd, wanted)
        else:
            self._epoll.register(fd, wanted)
        self._watched[fd] = wanted

    def _drop(self, connection):
        for sock in (connection.client, connection.server):
            self._register(sock.fileno(), 0)
            del self._connections[sock.fileno()]
        connection.close()


@contextlib.contextmanager
def held_back(endpoint, seconds):
    """Run the proxy in front of the server at the URL `endpoint`, and yield its URL."""
    parts = urllib.parse.urlsplit(endpoint)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.proxy", parts.hostname, str(parts.port), str(seconds)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def main():
    """Run it; the arguments are those of the module."""
    host, port, seconds = sys.argv[1:]
    proxy = Proxy((host, int(port)), float(seconds))
    print(proxy.port, flush=True)
    proxy.run()


if __name__ == "__main__":
    main()
