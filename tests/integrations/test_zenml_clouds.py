"""ZenML's artifact stores on Google Cloud Storage and Azure, with each way in which it has their credentials."""

import contextlib
import datetime
import http.server
import ipaddress
import json
import shutil
import tempfile
import threading
import urllib.parse
from pathlib import Path

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from tests.harness import open_hosts
from tests.integrations.zenml_client import ZenML
from tests.kits import AzureContainer, GcsBucket
from tests.servers import AZURITE_ACCOUNT, AZURITE_KEY, azurite

pytestmark = pytest.mark.timeout(300)  # the first test waits until ZenML is there

SCRIPT = Path(__file__).parent / "clouds.py"
HOSTED = f"{AZURITE_ACCOUNT}.dfs.core.windows.net"
PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

# What mountd cannot take over, and what it says of it.
REFUSED = {
    "az-elsewhere": "option account_name is 'elsewhere': leave it out, or change the path",
    "az-other-account": "in the account 'devstoreaccount1', and ZenML's is in 'elsewhere', which no URI tells apart: "
    "have one of them here, after mountd store delete az-key",
    "gcp-double": "holds an empty, '.' or '..' component; write it like gs://bucket/prefix; in ZenML: "
    "zenml artifact-store update 'gcp-double' --path=URI",
    "gcp-nothing": "the path names no bucket; write it like gs://bucket/prefix",
}


class TokenServer(http.server.BaseHTTPRequestHandler):
    """Where a service account gets its access tokens; `server.asked` has who asked."""

    def do_POST(self):
        """Give a token to everybody."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        (assertion,) = urllib.parse.parse_qs(body)["assertion"]
        self.server.asked.append(jwt.decode(assertion, verify=False)["iss"])
        answer = json.dumps({"access_token": "granted", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def token_server():
    """Run a `TokenServer` for the length of the block."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenServer) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def key_file(port, key):
    """Return the text of a service account's key file."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "test",
            "client_email": "lab@test.iam.gserviceaccount.com",
            "private_key_id": "hunter2",
            "private_key": key.private_bytes(*PEM).decode(),
            "token_uri": f"http://127.0.0.1:{port}/token",
        }
    )


def write_certificate(path, key):
    """Write a certificate for 127.0.0.1, and its key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=6))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(PEM[0]) + key.private_bytes(*PEM))


def signature():
    """Return a shared access signature of the account."""
    return generate_account_sas(
        AZURITE_ACCOUNT,
        AZURITE_KEY,
        resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=AccountSasPermissions.from_string("rwdlac"),
        expiry=datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6),
    )


class Clouds:
    """A host whose ZenML knows stores in both clouds, and whose mountd has imported them.

    Attributes:
        kits: the independent clients of those that there are, by name.
        secrets: what nobody should see, by what it is called here.
        done: the finished `mountd store import-zenml`.
        asked: for whom tokens of Google have been given out.
    """

    def __init__(self, host, kits, secrets, stores, asked):
        self.host, self.kits, self.asked = host, kits, asked
        self.secrets = secrets
        self._zenml = ZenML(host).start(SCRIPT)
        self._tell(
            {
                "stores": stores,
                "secrets": {
                    "gcp-secret": {"token": secrets["GCS_TOKEN"]},
                    "az-text": {"connection_string": secrets["AZ_TEXT"]},
                    "az-both": {"connection_string": secrets["AZ_TEXT"], "account_name": AZURITE_ACCOUNT},
                    "az-key": {"account_name": AZURITE_ACCOUNT, "account_key": AZURITE_KEY},
                    "az-sas": {"account_name": AZURITE_ACCOUNT, "sas_token": secrets["AZ_SAS"]},
                    "az-elsewhere": {"account_name": "elsewhere", "account_key": AZURITE_KEY},
                    "az-variables": {"AZURE_STORAGE_CONNECTION_STRING": secrets["AZ_TEXT"]},
                    "names": {"of": "az-text"},
                },
            }
        )
        self.done = host.run("store", "import-zenml", check=False)

    def _tell(self, line):
        self._zenml.stdin.write(json.dumps(line) + "\n")
        self._zenml.stdin.flush()
        lines = iter(self._zenml.stdout.readline, "")
        answer = next((line for line in lines if line.startswith("answer ")), None)
        assert answer, (self.host.folder / "zenml.log").read_text()[-3000:]
        return json.loads(answer.removeprefix("answer "))

    def exchange(self, name, entry, text):
        """Have ZenML's own store write `text`, and return what it reads in `entry`."""
        return self._tell([name, entry, text])

    def settings(self):
        """Return the text of mountd's settings."""
        return (self.host.folder / "config/mountd/config.toml").read_text()

    def options(self, name):
        """Return the options of a store of mountd."""
        stores = json.loads(self.host.run("store", "list", "--json").stdout)
        (found,) = [each for each in stores if each["name"] == name]
        return found["options"]

    def said(self, name):
        """Return what the import said of a store, the first line left out."""
        _, _, rest = self.done.stdout.partition(f"Registered store {name!r}: ")
        lines = rest.splitlines()[1:]
        ends = [i for i, line in enumerate(lines) if not line.startswith("  ")]
        return [line.strip() for line in lines[: min(ends, default=None)]]

    @contextlib.contextmanager
    def mounted(self, name, **options):
        """Mount a store for the length of the block, with options that it still needs, and yield the `Mount`."""
        pairs = [part for key, value in options.items() for part in ("--option", f"{key}={value}")]
        if pairs:
            self.host.run("store", "update", name, *pairs)
        self.host.run("mount", name, "--freshness=0")
        mount = self.host.mounted(name)
        yield mount
        mount.unmount()


@pytest.fixture(scope="module")
def clouds(gcs_server, azure_server):
    """See `Clouds`. ZenML is started twice for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="mountd-test-"))
    key = rsa.generate_private_key(65537, 2048)
    certificate = folder / "certificate"
    write_certificate(certificate, key)
    with open_hosts(folder) as make_host, token_server() as tokens, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with azurite(certificate) as tls, contextlib.ExitStack() as closing:
            kits = {name: AzureContainer(tls if name in ("az-key", "az-sas") else azure_server) for name in AZURE}
            for each in kits.values():
                closing.enter_context(each.client)
            kits["gcp-secret"] = GcsBucket(gcs_server)
            secrets = {
                "GCS_TOKEN": key_file(tokens.server_port, key),
                "AZ_TEXT": azure_server.connection_string,
                "AZ_SAS": signature(),
                "AZ_KEY": AZURITE_KEY,
            }
            host = make_host()
            host.environment |= GcsBucket.environment | {
                "STORAGE_EMULATOR_HOST": gcs_server.endpoint,  # as ZenML has no option for it
                "SSL_CERT_FILE": str(certificate),
            }
            yield Clouds(host, kits, secrets, stores(kits), tokens.asked)
    shutil.rmtree(folder)


SECRETS = (("az-key", "account_key", "AZ_KEY"), ("az-sas", "sas_token", "AZ_SAS"))
AZURE = ("az-text", "az-both", "az-key", "az-sas", "az-variables", "az-name")


def stores(kits):
    """Return what to register with ZenML."""

    def azure(name, secret=None, scheme="az"):
        found = {"flavor": "azure", "path": f"{scheme}://{kits[name].container}/artifacts"}
        return found | ({"authentication_secret": secret} if secret else {})

    account = {"storage_account": "lab", "client_id": "app", "tenant_id": "directory", "client_secret": "hunter2"}
    return {
        "gcp-secret": {
            "flavor": "gcp",
            "path": f"{kits['gcp-secret'].root}/artifacts",
            "authentication_secret": "gcp-secret",
        },
        "az-text": azure("az-text", "az-text"),
        "az-both": {
            "flavor": "azure",
            "path": f"abfs://{kits['az-both'].container}@{HOSTED}/artifacts",
            "authentication_secret": "az-both",
        },
        "az-key": azure("az-key", "az-key", "abfs"),
        "az-sas": azure("az-sas", "az-sas"),
        "az-variables": azure("az-variables") | {"secrets": ["az-variables"], "environment": {"LAB": "1"}},
        "az-name": azure("az-name", "{{names.of}}"),
        "az-connector": {
            "flavor": "azure",
            "path": "az://connected",
            "connector": {
                "connector_type": "azure",
                "auth_method": "service-principal",
                "resource_types": ["blob-container"],
                "configuration": account,
            },
        },
        "gcp-connector": {
            "flavor": "gcp",
            "path": "gs://connected",
            "connector": {
                "connector_type": "gcp",
                "auth_method": "impersonation",
                "resource_types": ["gcs-bucket"],
                "configuration": {"service_account_json": "hunter2", "project_id": "p", "target_principal": "x@y"},
            },
        },
        "gcp-gone": {"flavor": "gcp", "path": "gs://gone", "authentication_secret": "deleted"},
        "gcp-plain": {"flavor": "gcp", "path": "gs://plain/"},
        "gcp-double": {"flavor": "gcp", "path": "gs://bucket//artifacts"},
        "gcp-nothing": {"flavor": "gcp", "path": "gs://"},
        "az-elsewhere": {
            "flavor": "azure",
            "path": f"abfs://c@{HOSTED}/artifacts",
            "authentication_secret": "az-elsewhere",
        },
        "az-other-account": azure("az-key", "az-elsewhere", "az"),
    }


def assert_plain_objects(mount, kit, name):
    """What is written through the mount is an object under ZenML's root, and the other way round."""
    (mount / "fit").mkdir()
    (mount / "fit/model").write_bytes(b"weights of " + name.encode())
    assert kit.get("artifacts/fit/model") == b"weights of " + name.encode()
    kit.put("artifacts/other", b"from elsewhere")
    assert (mount / "other").read_bytes() == b"from elsewhere"


def test_a_bucket_of_google_is_mounted_with_the_key_file_of_zenmls_secret(clouds):
    """It needs one reference, to the text that ZenML has, or the file's path; ZenML's own store reads what the mount
    wrote, and the other way round.
    """
    assert clouds.said("gcp-secret") == [
        "its token stays with ZenML, in its secret 'gcp-secret'; where it is needed: "
        "mountd store update gcp-secret --option token=env:NAME (or file:PATH)"
    ]
    clouds.host.environment["GCS_TOKEN"] = clouds.secrets["GCS_TOKEN"]
    with clouds.mounted("gcp-secret", token="env:GCS_TOKEN") as mount:
        assert set(clouds.asked) == {"lab@test.iam.gserviceaccount.com"}
        assert_plain_objects(mount, clouds.kits["gcp-secret"], "gcp-secret")
        assert clouds.exchange("gcp-secret", "fit/model", "back") == "weights of gcp-secret"
        assert (mount / "from-zenml").read_text() == "back"
    file = clouds.host.folder / "key.json"
    file.write_text(clouds.secrets["GCS_TOKEN"])
    clouds.asked.clear()
    with clouds.mounted("gcp-secret", token=file) as mount:
        assert set(clouds.asked) == {"lab@test.iam.gserviceaccount.com"}
        assert (mount / "fit/model").read_bytes() == b"weights of gcp-secret"


@pytest.mark.parametrize("name", ["az-text", "az-both", "az-name"])
def test_a_container_is_mounted_with_the_connection_string_of_zenmls_secret(clouds, name):
    """Also where the path names the account, and where the secret's name is in another one."""
    assert [line.partition(" stays")[0] for line in clouds.said(name)] == ["its connection_string"]
    clouds.host.environment["AZ_TEXT"] = clouds.secrets["AZ_TEXT"]
    with clouds.mounted(name, connection_string="env:AZ_TEXT") as mount:
        assert_plain_objects(mount, clouds.kits[name], name)
        assert clouds.exchange(name, "fit/model", "back") == f"weights of {name}"
        assert (mount / "from-zenml").read_text() == "back"


@pytest.mark.parametrize(("name", "option", "secret"), SECRETS)
def test_a_container_is_mounted_with_an_accounts_key_or_signature(clouds, name, option, secret, tmp_path):
    """The account's name comes with the import; the secret is a reference, here to a file."""
    assert clouds.options(name) == {"account_name": AZURITE_ACCOUNT}
    assert [line.partition(" stays")[0] for line in clouds.said(name)] == [f"its {option}"]
    (tmp_path / "secret").write_text(clouds.secrets[secret])
    where = clouds.kits[name].server.endpoint.removeprefix("https://")
    more = {option: f"file:{tmp_path}/secret", "account_host": f"{where}/{AZURITE_ACCOUNT}"}
    with clouds.mounted(name, **more) as mount:
        assert_plain_objects(mount, clouds.kits[name], name)


def test_what_zenml_sets_for_steps_is_named(clouds):
    """With the same variables, the store is mounted; without, it is said what is missing, in one line."""
    assert clouds.said("az-variables") == [
        "ZenML sets AZURE_STORAGE_CONNECTION_STRING, LAB for its steps; set the same for mountd mount"
    ]
    refused = clouds.host.run("mount", "az-variables", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "or set AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_CONNECTION_STRING" in refused.stderr
    clouds.host.environment["AZURE_STORAGE_CONNECTION_STRING"] = clouds.secrets["AZ_TEXT"]
    try:
        with clouds.mounted("az-variables") as mount:
            assert_plain_objects(mount, clouds.kits["az-variables"], "az-variables")
    finally:
        del clouds.host.environment["AZURE_STORAGE_CONNECTION_STRING"]


def test_of_a_connector_what_is_no_secret_is_taken_over(clouds):
    """Where a connector exchanges what it has for something else, or a secret is gone, the default chain is named."""
    assert clouds.options("az-connector") == {"account_name": "lab", "client_id": "app", "tenant_id": "directory"}
    (line,) = clouds.said("az-connector")
    assert line.startswith("its client_secret stays with ZenML, in its service connector 'az-connector-connector'")
    for name, where in (
        ("gcp-connector", "its service connector 'gcp-connector-connector';"),
        ("gcp-gone", "its secret 'deleted', which ZenML does not show here;"),
    ):
        assert clouds.options(name) == {}
        (line,) = clouds.said(name)
        assert line.startswith(f"ZenML has its credentials from {where} mountd uses the cloud's default chain")
    assert clouds.said("gcp-plain") == []
    assert "Registered store 'gcp-plain': gcs, gs://plain\n" in clouds.done.stdout


def test_what_cannot_be_taken_over_is_refused_in_a_line_each(clouds):
    """With what to do, and nothing of it is registered; everything else is. No secret is anywhere."""
    lines = clouds.done.stderr.splitlines()
    assert len(lines) == len(REFUSED) + 1
    for name, reason in REFUSED.items():
        (line,) = [each for each in lines if each.startswith(f"ZenML's store {name!r} is not registered: ")]
        assert reason in line
        assert f"[stores.{name}]" not in clouds.settings()
    assert clouds.done.returncode == 1
    for secret in (*clouds.secrets.values(), AZURITE_KEY, "hunter2"):
        assert secret not in clouds.done.stdout + clouds.done.stderr + clouds.settings()
