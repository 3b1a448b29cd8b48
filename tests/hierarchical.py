"""An account with a hierarchical namespace, for want of one that runs here: Azurite behind what such accounts add.

`python -m tests.hierarchical UPSTREAM PORT CONNECTION` listens on 127.0.0.1. Requests of the blob service go to Azurite
as they are. Real directories, renames in one step and what listings say of directories are added after Microsoft's
description of the service (https://learn.microsoft.com/rest/api/storageservices/datalakestoragegen2/path); conditions
are honoured, everything is done under one lock. A directory is, as for the blob service of real accounts, a blob whose
metadata has `hdi_isfolder`.
"""

import contextlib
import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

MARK = {"hdi_isfolder": "true"}
LOCK = threading.Lock()


class Refused(Exception):
    """An answer of the service's second endpoint that is no success."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request. The class attributes `upstream` and `client` are set by `main`."""

    protocol_version = "HTTP/1.1"

    def do(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        parts = urllib.parse.unquote(address.path).strip("/").split("/", 2)
        self.container = self.client.get_container_client(parts[1]) if len(parts) > 1 else None
        key = parts[2] if len(parts) > 2 else ""
        with LOCK:
            try:
                self.dispatch(key, query, body)
            except Refused as refused:
                status, code = refused.args
                said = json.dumps({"error": {"code": code, "message": code}}).encode()
                self.answer(status, {"x-ms-error-code": code, "Content-Type": "application/json"}, said)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = do_PATCH = do

    def dispatch(self, key, query, body):
        if "x-ms-rename-source" in self.headers:
            self.rename(urllib.parse.unquote(self.headers["x-ms-rename-source"]).strip("/").split("/", 1)[1], key)
        elif query.get("resource") == "directory":
            self.make(key)
        elif query.get("resource") == "filesystem":
            self.paths(query)
        elif "recursive" in query:
            self.remove(key)
        else:
            self.forward(key, query, body)

    def state(self, key):
        """Return the properties of a blob, None where there is none."""
        with contextlib.suppress(ResourceNotFoundError):
            return self.container.get_blob_client(key).get_blob_properties()
        return None

    def below(self, key):
        return list(self.container.list_blobs(name_starts_with=key.rstrip("/") + "/"))

    def require(self, state, match, none_match):
        etag = state.etag if state else None
        if (match and match != etag) or (none_match == "*" and state):
            raise Refused(412 if match else 409, "ConditionNotMet" if match else "PathAlreadyExists")

    def make(self, key):
        self.require(self.state(key), None, self.headers.get("If-None-Match"))
        self.parents(key)
        self.container.get_blob_client(key).upload_blob(b"", metadata=MARK, overwrite=True)
        self.answer(201, self.tags(key))

    def parents(self, key):
        """Make the directories above a key, as the service does by itself."""
        at = key.rpartition("/")[0]
        while at and self.state(at) is None:
            self.container.get_blob_client(at).upload_blob(b"", metadata=MARK)
            at = at.rpartition("/")[0]

    def remove(self, key):
        if self.state(key) is None:
            raise Refused(404, "PathNotFound")
        if self.below(key):
            raise Refused(409, "DirectoryNotEmpty")
        self.container.get_blob_client(key).delete_blob()
        self.answer(200, {})

    def rename(self, source, target):
        state = self.state(source)
        if state is None:
            raise Refused(404, "SourcePathNotFound")
        if self.headers.get("x-ms-source-if-match") not in (None, state.etag):
            raise Refused(412, "SourceConditionNotMet")
        self.require(self.state(target), self.headers.get("If-Match"), self.headers.get("If-None-Match"))
        self.parents(target)
        for name in [source, *(blob.name for blob in self.below(source))]:
            origin, goal = (self.container.get_blob_client(n) for n in (name, target + name[len(source) :]))
            goal.start_copy_from_url(origin.url)
            origin.delete_blob()
        self.answer(201, self.tags(target))

    def paths(self, query):
        folder = query.get("directory", "").strip("/")
        if folder and self.state(folder) is None:
            raise Refused(404, "PathNotFound")
        found = [{"name": blob.name} for blob in self.below(folder)][: int(query.get("maxResults", 5000))]
        self.answer(200, {"Content-Type": "application/json"}, json.dumps({"paths": found}).encode())

    def tags(self, key):
        state = self.state(key)
        return {"ETag": state.etag, "Last-Modified": state.last_modified.strftime("%a, %d %b %Y %H:%M:%S GMT")}

    def forward(self, key, query, body):
        left_out = {"connection", "accept-encoding"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        request = urllib.request.Request(
            self.upstream + self.path, data=body or None, headers=headers, method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, said, data = response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            status, said, data = error.code, dict(error.headers), error.read()
        if query.get("restype") == "account":
            said["x-ms-is-hns-enabled"] = "true"
        if self.command == "PUT" and status == 201 and key and query.get("comp") != "block":
            self.parents(key)
        if query.get("comp") == "list" and query.get("delimiter") and status == 200:
            data = folders_as_prefixes(data)
        self.answer(status, said, data)

    def answer(self, status, headers, data=b""):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "keep-alive"):
                self.send_header(name, value)
        told = {name.lower(): value for name, value in headers.items()}
        length = told.get("content-length", len(data)) if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""


def folders_as_prefixes(data):
    """Return a listing in which directories are prefixes, as such accounts list them."""
    root = ET.fromstring(data)
    blobs = root.find("Blobs")
    known = {each.findtext("Name") for each in blobs.findall("BlobPrefix")}
    for blob in blobs.findall("Blob"):
        if blob.findtext("Metadata/hdi_isfolder") == "true":
            blobs.remove(blob)
            name = blob.findtext("Name") + "/"
            if name not in known:
                ET.SubElement(ET.SubElement(blobs, "BlobPrefix"), "Name").text = name
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def main():
    """Serve until killed."""
    Handler.upstream, port, connection = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    Handler.client = BlobServiceClient.from_connection_string(connection)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
