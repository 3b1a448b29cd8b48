"""Write-through: what the store could not take is kept."""

import errno
import os

import pytest

from tests.proxy import answered, any_request, proxied, s3_error

MiB = 1 << 20


@pytest.fixture
def troubled(host, s3_server, s3_store):
    """A bucket behind a proxy, mounted with little patience, and the proxy."""
    with proxied(s3_server.endpoint) as proxy:
        s3_store.options = s3_store.options | {"endpoint_url": proxy.endpoint}
        (host.folder / "config" / "mountd").mkdir(parents=True)
        settings = host.folder / "config" / "mountd" / "config.toml"
        settings.write_text('[mount]\nretry_budget = "0.5s"\nfreshness = "inf"\n')
        mount = host.mount(s3_store)
        os.listdir(mount.path)
        yield mount, proxy
        proxy.clear()
        host.close()


def refuse(proxy):
    """Have the store answer nothing but that it is too busy."""
    proxy.on(any_request, answered(s3_error(503, "SlowDown")))


def write(path, data):
    """Write a file, and return the error of its close, if any."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, data)
    try:
        os.close(descriptor)
    except OSError as exc:
        return exc.errno
    return None


@pytest.mark.parametrize("size", [5, 3 * MiB])
def test_what_close_refused_survives_the_daemon(troubled, s3_store, size):
    """It is readable, listed with the reason, there after `kill -9`, and stored when that is possible.

    [through-stored] [dirty-survives] [through-kept-told]
    """
    mount, proxy = troubled
    assert write(mount / "before", b"stored") is None
    assert s3_store.get("before") == b"stored"
    data = os.urandom(size)
    refuse(proxy)
    assert write(mount / "a", data) == errno.EIO
    assert (mount / "a").read_bytes() == data
    (kept,) = mount.status()["pending"]
    assert (kept["path"], kept["safe"], kept["change"]) == ("a", True, "put")
    assert "reduce your request rate" in kept["error"] or "SlowDown" in kept["error"]
    with open(mount / "a", "rb") as file, pytest.raises(OSError, match="Input/output"):
        os.fsync(file.fileno())
    mount.kill()
    proxy.clear()
    mount.host.run("mount", "store", mount.path)
    assert (mount / "a").read_bytes() == data
    mount.host.run("sync")
    assert s3_store.get("a") == data
    assert mount.host.mounted().status()["pending"] == []


def test_a_kept_file_can_be_written_again_and_removed(troubled, s3_store):
    """The last state is what is stored; of one that is removed nothing is. [through-kept-removed]"""
    mount, proxy = troubled
    refuse(proxy)
    assert write(mount / "a", b"first") == errno.EIO
    assert write(mount / "a", b"second") == errno.EIO
    assert write(mount / "b", b"gone") == errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        os.unlink(mount / "b")
    assert (mount / "b").read_bytes() == b"gone"
    proxy.clear()
    os.unlink(mount / "b")
    assert not (mount / "b").exists()
    mount.host.run("sync")
    assert s3_store.get("a") == b"second"
    assert [key for key in s3_store.keys() if "mountd" not in key] == ["a"]
