"""Mounts with fewer rights than everything: to a prefix alone, without deleting, without writing, and none any more."""

import errno
import json
import os
import re
import shutil
import signal
import time

import pytest

from tests.kits import Bucket
from tests.policies import policy_for
from tests.proxy import proxied

MiB = 1024 * 1024


class Limited(Bucket):
    """The prefix team/a of a bucket, as seen by an account with some of the policy's statements."""

    def __init__(self, server, *statements):
        super().__init__(server)
        self.account = server.account(policy_for(self.bucket, *statements))
        self.root = f"s3://{self.bucket}/team/a"
        self.options = self.account.options()
        self.environment = {"TEST_S3_SECRET": self.account.secret}
        self.put("team/a/there", b"there")
        self.put("team/b/theirs", b"theirs")
        self.put("other", b"other")


def refused(number, call, *arguments):
    with pytest.raises(OSError) as failed:
        call(*arguments)
    assert failed.value.errno == number


def outside(request, bucket, prefix):
    """Tell whether a request of S3 asks for anything that is not below the prefix."""
    if request.method == "POST" and "delete" in request.query:
        keys = re.findall(rb"<Key>(.*?)</Key>", request.body)
        return not keys or not all(key.startswith(prefix.encode()) for key in keys)
    key = request.path.removeprefix(f"/{bucket}").removeprefix("/") or request.query.get("prefix", "")
    source = request.headers.get("x-amz-copy-source", f"{bucket}/{prefix}").lstrip("/")
    return not key.startswith(prefix) or not source.startswith(f"{bucket}/{prefix}")


def test_a_prefix_is_mounted_with_rights_to_it_alone(host, s3_server):
    """The policy of docs/flavors/s3.md is enough for all that a mount does; no more is asked. [prefix-alone]"""
    store = Limited(s3_server)
    with proxied(s3_server.endpoint) as proxy:
        store.options |= {"endpoint_url": proxy.endpoint}
        mount = host.mount(store)
        assert os.listdir(mount.path) == ["there"]
        (mount / "d" / "e").mkdir(parents=True)
        (mount / "d" / "e" / "small").write_text("small")
        (mount / "d" / "large").write_bytes(bytes(24 * MiB))
        with open(mount / "d" / "large", "r+b") as file:
            file.seek(MiB)
            file.write(b"changed")
        with open(mount / "d" / "e" / "small", "a") as file:
            file.write(" more")
        (mount / "there").rename(mount / "moved")
        (mount / "d").rename(mount / "f")
        (mount / "link").symlink_to("moved")
        os.chmod(mount / "moved", 0o600)
        assert (mount / "f" / "e" / "small").read_text() == "small more"
        assert store.get("team/a/f/large")[MiB : MiB + 7] == b"changed"
        shutil.rmtree(mount / "f")
        (mount / "moved").unlink()
        assert (mount / "link").is_symlink()
        mount.unmount()
        assert [each for each in proxy.requests if outside(each, store.bucket, "team/a/")] == []
    assert [key for key in store.keys() if not key.startswith("team/a/")] == ["other", "team/b/theirs"]


def test_rights_that_reach_no_further_are_told_at_mount(host, s3_server):
    """The bucket around the prefix cannot be mounted: one line names the missing right. [list-needed]"""
    store = Limited(s3_server)
    store.root = f"s3://{store.bucket}"
    host.environment |= store.environment
    pairs = [part for key, text in store.options.items() for part in ("--option", f"{key}={text}")]
    host.run("store", "register", "above", "--path", store.root, *pairs)
    done = host.run("mount", "above", host.folder / "mnt", check=False)
    assert done.returncode == 4
    assert "s3:ListBucket" in done.stderr
    assert store.root in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_the_right_to_delete_files_are_made_but_not_removed(host, s3_server):
    """Removals and renames are refused before anything is half done, as the mount says. [no-delete] [weaker-told]"""
    store = Limited(s3_server, "List", "Read", "Write")
    mount = host.mount(store)
    told = json.loads(host.run("store", "describe", "store", "--json").stdout)
    assert (told["mounted"], told["weaknesses"]) == (True, mount.status()["weaknesses"])
    assert [line for line in told["weaknesses"] if "do not allow deleting" in line]
    (mount / "new").write_text("new")
    with open(mount / "there", "a") as file:
        file.write(" and more")
    (mount / "d").mkdir()
    (mount / "d" / "x").write_text("x")
    before = store.keys()
    refused(errno.EACCES, os.unlink, mount / "there")
    refused(errno.EACCES, os.rename, mount / "there", mount / "elsewhere")
    refused(errno.EACCES, os.rename, mount / "new", mount / "there")
    refused(errno.EACCES, os.rename, mount / "d", mount / "e")
    refused(errno.EACCES, os.rmdir, mount / "d")
    refused(errno.EACCES, shutil.rmtree, mount / "d")
    assert store.keys() == before
    assert store.get("team/a/there") == b"there and more"
    assert sorted(os.listdir(mount.path)) == ["d", "new", "there"]


def test_read_only_credentials_make_a_read_only_mount(host, s3_server):
    """It says so at start, and changes are refused as on any read-only file system. [read-only-credentials]"""
    store = Limited(s3_server, "List", "Read")
    host.environment |= store.environment
    pairs = [part for key, text in store.options.items() for part in ("--option", f"{key}={text}")]
    host.run("store", "register", "store", "--path", store.root, *pairs)
    done = host.run("mount", "store", host.folder / "mnt")
    assert "read-only: the credentials do not allow writing" in done.stdout
    mount = host.mounted()
    assert mount.status()["read_only"]
    assert (mount / "there").read_text() == "there"
    refused(errno.EROFS, (mount / "new").write_text, "new")
    refused(errno.EROFS, os.unlink, mount / "there")
    refused(errno.EROFS, os.mkdir, mount / "d")
    refused(errno.EROFS, os.rename, mount / "there", mount / "elsewhere")
    assert store.keys() == ["other", "team/a/there", "team/b/theirs"]


def test_credentials_that_are_revoked_deny_every_call(host, s3_server):
    """EACCES at once, with the reason in `mountd status`; the mount lives on. [revoked]"""
    store = Limited(s3_server)
    mount = host.mount(store, "--freshness", "0")
    (mount / "mine").write_text("mine")
    file = open(mount / "late", "w")
    file.write("written before")
    file.flush()
    s3_server.revoke(store.account)
    refused(errno.EACCES, os.listdir, mount.path)
    refused(errno.EACCES, os.stat, mount / "there")
    refused(errno.EACCES, (mount / "there").read_text)
    refused(errno.EACCES, (mount / "new").write_text, "new")
    refused(errno.EACCES, os.unlink, mount / "there")
    refused(errno.EACCES, file.close)
    assert "InvalidAccessKeyId" in json.dumps(mount.status()["errors"])
    for done in (host.run("sync", check=False), mount.unmount(check=False)):
        assert (done.returncode, "late: InvalidAccessKeyId" in done.stderr) == (7, True)
    assert mount.path.is_mount()
    assert store.keys() == ["other", "team/a/mine", "team/a/there", "team/b/theirs"]
    os.kill(mount.pid, signal.SIGTERM)  # which does not wait for what cannot be
    while host.daemons():
        time.sleep(0.05)
