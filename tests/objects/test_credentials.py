"""Where credentials are looked for when the options name none, and how each library's options are reached."""

import datetime
import inspect
import json

import pytest

from mountd.config import MountSettings
from mountd.errors import BadCredentials, Denied
from mountd.objects.interface import Key
from mountd.objects.opening import open_store
from mountd.stores import credentials
from mountd.stores.catalogue import FlavorCatalogue
from mountd.stores.options import parse_options
from mountd.stores.signatures import _INTERNAL
from mountd.stores.store import StoreConfig
from tests.objects.services import Container
from tests.policies import policy_for
from tests.proxy import Answer, answered, proxied

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 0.1})
A = Key("a")


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """Set AWS_ variables, and only those: nothing of this machine is found."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def set_variables(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"AWS_{name}", value)

    return set_variables


async def works(server, **options):
    """Tell whether a store with these options, and no others that hold credentials, stores and reads an object."""
    root = f"s3://{server.make_bucket()}"
    config = StoreConfig("test", "s3", root, {"endpoint_url": server.endpoint} | options)
    async with open_store(config, SETTINGS) as opened:
        await opened.store.check()
        await opened.store.put(A, b"bytes")
        return (await opened.store.read_range(A, 0, 9)).data == b"bytes"


async def test_variables_are_taken(s3_server, aws):
    """AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. [default-chain]"""
    aws(ACCESS_KEY_ID=s3_server.key, SECRET_ACCESS_KEY=s3_server.secret)
    assert await works(s3_server)


@pytest.mark.parametrize("chosen", ["default", "lab"])
async def test_profiles_are_read(s3_server, aws, tmp_path, chosen):
    """The one called `default`, and the one that the option `profile` names. [default-chain]"""
    keys = f"aws_access_key_id={s3_server.key}\naws_secret_access_key={s3_server.secret}\n"
    (tmp_path / "credentials").write_text(f"[{chosen}]\n{keys}")
    assert await works(s3_server, **({} if chosen == "default" else {"profile": chosen}))


async def test_the_role_of_an_instance_is_taken(s3_server, aws):
    """From the machine's metadata service, here one of the test's own. [default-chain]"""
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6)
    keys = {"AccessKeyId": s3_server.key, "SecretAccessKey": s3_server.secret, "Token": ""}
    handed = {"Code": "Success", **keys, "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}
    role = "/latest/meta-data/iam/security-credentials/"
    with proxied(s3_server.endpoint) as metadata:
        for path, body in (("/latest/api/token", "token"), (role, "worker"), (f"{role}worker", json.dumps(handed))):
            metadata.on(lambda request, path=path: request.path == path, answered(Answer(200).with_body(body.encode())))
        aws(EC2_METADATA_SERVICE_ENDPOINT=metadata.endpoint, EC2_METADATA_DISABLED="false")
        assert await works(s3_server)


async def test_without_credentials_it_is_said_where_they_are_looked_for(s3_server, aws):
    """In one line; and a profile that is not there is named."""
    with pytest.raises(BadCredentials, match=r"no credentials were found: .*AWS_ACCESS_KEY_ID.*anon=true"):
        await works(s3_server)
    with pytest.raises(BadCredentials, match="nowhere"):
        await works(s3_server, profile="nowhere")


async def test_a_key_file_that_google_does_not_know_is_told(tmp_path, monkeypatch, gcs_server):
    """GOOGLE_APPLICATION_CREDENTIALS is looked at first; what is wrong with it is the message. [default-chain]"""
    bucket = gcs_server.make_bucket()
    options = {"endpoint_url": gcs_server.endpoint, "project": "test", "token": "google_default"}
    config = StoreConfig("test", "gcs", f"gs://{bucket}", options)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(BadCredentials, match=r"missing\.json"):
        async with open_store(config, SETTINGS) as opened:
            await opened.store.check()


async def test_a_login_of_gcloud_is_used_and_renewed(tmp_path, monkeypatch, gcs_server):
    """The token of the file that `gcloud auth application-default login` writes is renewed where it is needed."""
    given = {"access_token": "fresh", "expires_in": 3600, "token_type": "Bearer"}
    with proxied(gcs_server.endpoint) as proxy:
        answer = Answer(200, (("Content-Type", "application/json"),)).with_body(json.dumps(given).encode())
        renewals = proxy.on(lambda request: request.path == "/token", answered(answer))
        login = {"type": "authorized_user", "client_id": "id", "client_secret": "secret", "refresh_token": "refresh"}
        file = tmp_path / "gcloud" / "application_default_credentials.json"
        file.parent.mkdir()
        file.write_text(json.dumps(login))
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(file.parent))
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{proxy.endpoint}/token")
        options = {"endpoint_url": proxy.endpoint, "token": "google_default"}
        config = StoreConfig("test", "gcs", f"gs://{gcs_server.make_bucket()}", options)
        async with open_store(config, SETTINGS) as opened:
            await opened.store.check()
            await opened.store.put(A, b"bytes")
        assert renewals.seen >= 1
        asked = [request for request in proxy.requests if request.path != "/token"]
        assert {request.headers["Authorization"] for request in asked} == {"Bearer fresh"}
        renewals.left = 0
        revoked = json.dumps({"error": "invalid_grant", "error_description": "Token has been revoked."})
        proxy.on(lambda request: request.path == "/token", answered(Answer(400).with_body(revoked.encode())))
        with pytest.raises(BadCredentials, match="revoked"):
            async with open_store(config, SETTINGS) as opened:
                await opened.store.check()


async def test_variables_of_azure_are_taken(azure_server, monkeypatch):
    """adlfs reads those of the az command: here a whole connection string. [default-chain]"""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure_server.connection_string)
    config = StoreConfig("test", "azure", f"abfs://{azure_server.make_container()}", {})
    async with open_store(config, SETTINGS) as opened:
        await opened.store.check()
        await opened.store.put(A, b"bytes")


async def test_without_credentials_of_azure_it_is_said_what_would_be_some(monkeypatch):
    """In one line and at once, where azure-identity tells all that it has tried. [told-apart]"""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")  # the others look around for a while
    monkeypatch.setenv("PATH", "/nowhere")
    config = StoreConfig("test", "azure", "abfs://container", {"account_name": "nobody", "anon": False})
    async with open_store(config, SETTINGS) as opened:
        with pytest.raises(
            BadCredentials, match=r"^abfs://container/ does not accept the credentials: no cred.*az login"
        ):
            await opened.store.check()


async def test_keys_in_files_are_read_again_when_they_are_refused(s3_server, tmp_path):
    """An upload that has begun goes on; without newer keys the refusal stands. [file-renewed]"""
    bucket = s3_server.make_bucket()

    def hand_out():
        account = s3_server.account(policy_for(bucket, prefix=""))
        (tmp_path / "key").write_text(account.key)
        (tmp_path / "secret").write_text(f"{account.secret}\n")
        return account

    first = hand_out()
    keys = {"key": f"file:{tmp_path}/key", "secret": f"file:{tmp_path}/secret"}
    config = StoreConfig("test", "s3", f"s3://{bucket}", {"endpoint_url": s3_server.endpoint} | keys)
    async with open_store(config, SETTINGS) as opened:
        store = opened.store
        await store.check()
        await store.put(A, b"bytes")
        made = await store.stat(A)  # with the service's time
        upload = await store.open_upload(Key("b"))
        s3_server.revoke(first)
        with pytest.raises(Denied):
            await store.stat(A)
        hand_out()
        assert await store.stat(A) == made
        await upload.put_part(1, 0, b"part")
        await upload.complete([1])
        assert (await store.read_range(Key("b"), 0, 9)).data == b"part"
        assert store.capabilities.conditional_put


async def test_a_signature_in_a_file_is_read_again_when_it_has_expired(azure_server, tmp_path):
    """The same for Azure: a connection string that a cron job writes. [file-renewed]"""
    container = Container(azure_server)
    file = tmp_path / "connection"
    file.write_text(azure_server.connect(f"SharedAccessSignature={container.signature('rl', hours=-1)}"))
    options = {"connection_string": f"file:{file}"}
    async with open_store(StoreConfig("test", "azure", f"abfs://{container.name}", options), SETTINGS) as opened:
        with pytest.raises(BadCredentials):
            await opened.store.check()
        file.write_text(azure_server.connect(f"SharedAccessSignature={container.signature('rl')}"))
        await opened.store.check()
        assert (await opened.store.read_range(A, 0, 9)).data == b"bytes"


CLASSES = {
    "s3": ("s3fs", "S3FileSystem", "s3://b"),
    "gcs": ("gcsfs.core", "GCSFileSystem", "gs://b"),
    "azure": ("adlfs", "AzureBlobFileSystem", "abfs://b"),
}


@pytest.mark.parametrize("flavor", CLASSES)
def test_every_argument_of_the_library_is_an_option(flavor):
    """Each one is taken by `--option` and reaches the constructor, nested ones as JSON. [options-reach]"""
    module, name, root = CLASSES[flavor]
    cls = getattr(__import__(module, fromlist=[name]), name)
    chosen = FlavorCatalogue().get(flavor)
    takes = inspect.signature(cls.__init__).parameters.values()
    declared = [each.name for each in takes if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    wanted = set(declared) - _INTERNAL
    known = {option.name: option for option in chosen.options(root)}
    assert wanted <= set(known)
    values = {"bool": "true", "int": "7", "json": '{"a": {"b": [1, true]}}', "str": "text", "auto": '{"a": 1}'}
    given = {each: "env:SECRET" if known[each].secret else values[known[each].type] for each in wanted}
    parsed = parse_options(chosen, root, given)
    assert set(parsed) == wanted
    open_with = credentials.Resolved({key: value for key, value in parsed.items() if value != "env:SECRET"})
    assert set(open_with) - {"region"} <= set(chosen.arguments(root, open_with))
    nested = {key for key, value in parsed.items() if isinstance(value, dict)}
    assert {key for key in wanted if known[key].type in ("json", "auto")} <= nested


def test_nested_options_reach_the_client():
    """Path-style addressing, a certificate, and headers for every request: as they were given, through to s3fs."""
    flavor = FlavorCatalogue().get("s3")
    given = {
        "region": "eu-west-1",
        "config_kwargs": '{"s3": {"addressing_style": "path"}}',
        "client_kwargs": '{"verify": "/ca.pem"}',
        "s3_additional_kwargs": '{"ServerSideEncryption": "aws:kms"}',
        "key": "id",
    }
    options = parse_options(flavor, "s3://b", given)
    filesystem = flavor.filesystem("s3://b", options, asynchronous=True)
    assert filesystem.config_kwargs["s3"] == {"addressing_style": "path"}
    assert filesystem.client_kwargs == {"region_name": "eu-west-1", "verify": "/ca.pem"}
    assert filesystem.s3_additional_kwargs == {"ServerSideEncryption": "aws:kms"}
    assert filesystem.key == "id"
