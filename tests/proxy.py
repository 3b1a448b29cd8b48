"""A server in front of a server: it notes what is asked, and can be told to spoil what passes through it."""

import contextlib
import http.client
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_OWN = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Request:
    """A request as it arrived. Names of headers are in lower case; `body` and `headers` can be changed."""

    method: str
    path: str
    headers: dict
    body: bytes


@dataclass
class Answer:
    """An answer on its way back. Names of headers are in lower case; everything can be changed."""

    status: int
    headers: dict
    body: bytes


@dataclass
class Proxy:
    """What stands between a client and a server.

    Attributes:
        url: where it listens.
        requests: what was asked so far.
        spoil: called with each request before it is passed on.
        spoil_answer: called with each request and its answer.
    """

    url: str = ""
    requests: list = field(default_factory=list)
    spoil: object = lambda request: None
    spoil_answer: object = lambda request, answer: None


@contextlib.contextmanager
def in_front_of(url):
    """Listen on 127.0.0.1, pass everything on to the server at `url`, and yield the `Proxy`."""
    there = urllib.parse.urlsplit(url)
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            request = Request(self.command, self.path, headers, body)
            proxy.requests.append(request)
            proxy.spoil(request)
            answer = send(request)
            proxy.spoil_answer(request, answer)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "content-length" not in answer.headers:
                self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = pass_on

        def log_message(self, *arguments):
            pass

    def send(request):
        connection = http.client.HTTPConnection(there.hostname, there.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(request.method, request.path, request.body, request.headers)
            got = connection.getresponse()
            headers = {name.lower(): value for name, value in got.getheaders()}
            own = _OWN - {"content-length"} if request.method == "HEAD" else _OWN
            kept = {name: value for name, value in headers.items() if name not in own}
            return Answer(got.status, kept, got.read())

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
