"""Credentials of a mount: the daemon finds what its caller would find, and renews what expires."""

import errno
import json
import os
import sys
import textwrap

import pytest

from tests.kits import Bucket
from tests.policies import policy_for


class Chained(Bucket):
    """A bucket whose store names no credentials."""

    def __init__(self, server):
        super().__init__(server)
        self.options = {"endpoint_url": server.endpoint}
        self.environment = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def store(s3_server):
    return Chained(s3_server)


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def works(mount):
    (mount / "a").write_text("works")
    return (mount / "a").read_text() == "works"


def denied(call, *arguments):
    with pytest.raises(OSError) as failed:
        call(*arguments)
    return failed.value.errno == errno.EACCES


def test_the_environment_of_the_caller_reaches_the_daemon(host, store, s3_server):
    """A profile that AWS_PROFILE names, of the file that AWS_SHARED_CREDENTIALS_FILE names. [default-chain]"""
    keys = f"aws_access_key_id={s3_server.key}\naws_secret_access_key={s3_server.secret}\n"
    file = write(host.folder, "credentials", f"[lab]\n{keys}")
    store.environment |= {"AWS_PROFILE": "lab", "AWS_SHARED_CREDENTIALS_FILE": str(file)}
    assert works(host.mount(store))


def test_credentials_that_expire_are_renewed_without_remount(host, store, s3_server):
    """A process hands out keys for seconds; the mount asks it again, and takes another account's. [renewed]"""
    other = s3_server.account(policy_for(store.bucket, prefix=""))
    keys, calls = host.folder / "keys.json", host.folder / "calls"
    script = write(
        host.folder,
        "hand_out.py",
        f"""
        import datetime, json, pathlib
        with open({str(calls)!r}, "a") as file:
            file.write("called\\n")
        key, secret = json.loads(pathlib.Path({str(keys)!r}).read_text())
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        print(json.dumps({{"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": "",
                           "Expiration": ends.isoformat()}}))
        """,
    )
    write(host.folder, "home/.aws/config", f"[default]\ncredential_process = {sys.executable} {script}\n")
    keys.write_text(json.dumps([s3_server.key, s3_server.secret]))
    mount = host.mount(store, "--freshness", "0")
    assert works(mount)
    before = len(calls.read_text().splitlines())
    keys.write_text(json.dumps([other.key, other.secret]))
    assert works(mount)
    assert len(calls.read_text().splitlines()) > before
    s3_server.revoke(other)
    assert denied(os.listdir, mount.path)
    keys.write_text("no keys")
    assert denied(os.listdir, mount.path)
    keys.write_text(json.dumps([s3_server.key, s3_server.secret]))
    assert works(mount)


def test_a_public_bucket_is_mounted_without_credentials(host, store):
    """Read-only, as nobody may write to it; the mount says so. [anonymous]"""
    allowed = policy_for(store.bucket, "List", "Read", prefix="")
    for statement in allowed["Statement"]:
        statement["Principal"] = "*"
    store.client.put_bucket_policy(Bucket=store.bucket, Policy=json.dumps(allowed))
    store.put("a", b"public")
    store.options |= {"anon": "true"}
    mount = host.mount(store)
    assert (mount / "a").read_bytes() == b"public"
    assert mount.status()["read_only"]
    assert [line for line in mount.status()["weaknesses"] if "read-only" in line]
