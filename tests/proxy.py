"""An HTTP proxy in front of a real server, on 127.0.0.1, that does to chosen requests what it is told.

It is a thread of the test's process. What a request gets is the business of the first rule that matches it; without
one it is passed on as it came, `Host` included, so that signatures made for the proxy's address hold. Rules can be
added while clients are at work.
"""

import contextlib
import dataclasses
import http.client
import json
import socket
import struct
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Said anew for each connection, or for the request as a whole, and by nobody signed.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a client asks for. `path` is without the query, decoded; `query` has one value per name."""

    method: str
    target: str
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def path(self):
        return urllib.parse.unquote(urllib.parse.urlsplit(self.target).path)

    @property
    def query(self):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.target).query, keep_blank_values=True))


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a client gets. `headers` may have a name twice; their Content-Length is sent as it is here.

    `cut`: bytes of the body after which the connection ends, `None` for all of them.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cut: int | None = None

    def with_body(self, body):
        """Return the same answer with another body, and the length of that."""
        kept = tuple((name, value) for name, value in self.headers if name.lower() != "content-length")
        return dataclasses.replace(self, headers=(*kept, ("Content-Length", str(len(body)))), body=body)

    def header(self, name):
        """Return the value of a header, empty where there is none."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), "")

    def with_header(self, name, value):
        """Return the same answer with another value of a header."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return dataclasses.replace(self, headers=(*kept, (name, value)))


class Broken(Exception):
    """The connection is to be reset, without a word."""


@dataclasses.dataclass
class Rule:
    """What is done to requests. `act` gets the request and what passes it, or another one, on, and returns the answer.

    `seen` counts the requests it was applied to; `left` is how many more it takes, `None` for any number.
    """

    matches: object
    act: object
    left: int | None
    seen: int = 0


class Proxy:
    """A running proxy. Attributes: `endpoint`, its URL; `requests`, all that it has got, in order.

    `remember`: whether requests are kept at all; with their bodies they take room.
    """

    def __init__(self, upstream, *, remember=True):
        self._remember = remember
        parts = urllib.parse.urlsplit(upstream)
        self.upstream = (parts.hostname, parts.port)
        self.requests = []
        self._rules = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            def answer(self, request, forward):
                return proxy._answer(request, forward)

            upstream = proxy.upstream

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, matches, act, *, times=None):
        """Do `act` to the next `times` requests for which `matches(request)` is true, and return the `Rule`."""
        rule = Rule(matches, act, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self):
        """Pass everything on from now, and forget the requests so far."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    def _answer(self, request, forward):
        with self._lock:
            if self._remember:
                self.requests.append(request)
            rule = next((each for each in self._rules if each.left != 0 and each.matches(request)), None)
            if rule is not None:
                rule.seen += 1
                rule.left = None if rule.left is None else rule.left - 1
        return forward() if rule is None else rule.act(request, forward)


@contextlib.contextmanager
def proxied(upstream, *, remember=True):
    """Run a proxy in front of the server with the URL `upstream`, and yield the `Proxy`."""
    proxy = Proxy(upstream, remember=remember)
    thread = threading.Thread(target=proxy._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy._server.shutdown()
        proxy._server.server_close()
        thread.join()


# What can be done to a request.


def any_request(request):
    """Match all."""
    return True


def passed(request, forward):
    """Pass it on: to exempt it from a rule that was added later."""
    return forward()


def answered(answer):
    """Answer by itself; the server does not see the request."""
    return lambda request, forward: answer


def changed(change):
    """Pass it on and change the answer."""
    return lambda request, forward: change(forward())


def cut(length):
    """Pass it on, and end the connection after so many bytes of the answer's body, whose length was announced."""
    return changed(lambda answer: dataclasses.replace(answer, cut=length))


def delayed(seconds):
    """Pass it on after a while."""

    def act(request, forward):
        time.sleep(seconds)
        return forward()

    return act


def lost(request, forward):
    """Pass it on, and reset the connection instead of answering: the request was carried out, and nobody is told."""
    forward()
    raise Broken


def unheard(request, forward):
    """Reset the connection; the server does not see the request."""
    raise Broken


# How each service says that something went wrong.


def s3_error(status, code, message="", *, headers=(), **fields):
    """Return an error of S3; `fields` are further elements of its XML."""
    elements = {"Code": code, "Message": message or code, **fields, "RequestId": "0"}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in elements.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()
    return Answer(status, (("Content-Type", "application/xml"), *headers)).with_body(body)


def gcs_error(status, reason, message="", *, headers=()):
    """Return an error of Google Cloud Storage's JSON API."""
    told = {"message": message or reason, "domain": "global", "reason": reason}
    body = json.dumps({"error": {"code": status, "message": message or reason, "errors": [told]}}).encode()
    return Answer(status, (("Content-Type", "application/json"), *headers)).with_body(body)


def azure_error(status, code, message="", *, headers=()):
    """Return an error of Azure Blob Storage."""
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message or code}</Message></Error>'
    )
    said = (("Content-Type", "application/xml"), ("x-ms-error-code", code), ("x-ms-version", "2021-12-02"))
    return Answer(status, (*said, *headers)).with_body(body.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep connections open

    def handle_error(self, request, client_address):
        """A client that goes away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with a connection of its own to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def setup(self):
        super().setup()
        self._server = http.client.HTTPConnection(*self.upstream, timeout=60)

    def finish(self):
        self._server.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle_one_request(self):
        """Read one request and answer it, or end the connection."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        request = Request(self.command, self.path, self.headers, self._body())
        try:
            self._send(request, self.answer(request, lambda changed=request: self._forward(changed)))
        except Broken:
            self._reset()

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _forward(self, request):
        self._server.close()  # the server may have closed it meanwhile; to find that out costs more than to connect
        self._server.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self._server.putheader(name, value)
        if request.body or request.method in ("PUT", "POST"):
            self._server.putheader("Content-Length", str(len(request.body)))
        self._server.endheaders(request.body or None)
        got = self._server.getresponse()
        body = got.read()
        headers = tuple((name, value) for name, value in got.getheaders() if name.lower() not in _HOP_BY_HOP)
        length = got.getheader("Content-Length") if request.method == "HEAD" else str(len(body))
        if length is not None and got.status not in (204, 304):
            headers += (("Content-Length", length),)
        return Answer(got.status, headers, body)

    def _send(self, request, answer):
        head = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        body = b"" if request.method == "HEAD" else answer.body
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body[: answer.cut])
        if answer.cut is not None and request.method != "HEAD":
            self.close_connection = True

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
