"""A web server's folder, mounted: for reading, and nothing else."""

import errno
import os
import time

import pytest

from tests.servers import web_server


class WebFolder:
    """A folder that a web server shows, as a store; other clients are whoever changes files there."""

    environment = {}
    options = {}

    def __init__(self, folder, root):
        self.folder, self.root = folder, root


@pytest.fixture
def store(folder):
    (folder / "site" / "data").mkdir(parents=True)
    with web_server(folder / "site") as root:
        yield WebFolder(folder / "site", f"{root}/data")


def test_a_web_folder_is_listed_and_read(host, store):
    """Files with their sizes, folders, and names with characters that mean something in a URL."""
    (store.folder / "outside").write_bytes(b"not below the root")
    (store.folder / "data" / "large").write_bytes(bytes(range(256)) * 20_000)
    names = ["a b", "100%", "what?", "#1", "ä", "c&d=e", "<x>", "%41"]
    (store.folder / "data" / "sub dir?").mkdir()
    for name in names:
        (store.folder / "data" / "sub dir?" / name).write_text(name)
    mount = host.mount(store)
    assert sorted(os.listdir(mount.path)) == ["large", "sub dir?"]
    assert (mount / "large").stat().st_size == 256 * 20_000
    with open(mount / "large", "rb") as file:  # from a server that knows no ranges
        file.seek(5_000_000)
        assert file.read(10) == bytes(range(64, 74))
    assert (mount / "large").read_bytes() == bytes(range(256)) * 20_000
    assert sorted(os.listdir(mount / "sub dir?")) == sorted(names)
    for name in names:
        assert (mount / "sub dir?" / name).read_text() == name
    assert not (mount / "missing").exists()
    assert (mount / "sub dir?").is_dir()


def test_new_versions_are_seen(host, store):
    """A file that was replaced, added or removed on the server, at the next `open()`."""
    (store.folder / "data" / "a").write_bytes(b"old")
    mount = host.mount(store, "--freshness", "0")
    assert (mount / "a").read_bytes() == b"old"
    (store.folder / "data" / "a").write_bytes(b"newer")
    (store.folder / "data" / "b").write_bytes(b"added")
    assert (mount / "a").read_bytes() == b"newer"
    assert (mount / "b").read_bytes() == b"added"
    os.utime(store.folder / "data" / "b", (time.time() + 10, time.time() + 10))
    (store.folder / "data" / "a").unlink()
    assert not (mount / "a").exists()


def test_it_is_mounted_for_reading_and_says_so(host, store):
    """The warning at start says why; every change fails with EROFS. [errno-read-only] [http-reading]"""
    (store.folder / "data" / "a").write_bytes(b"1")
    host.run("store", "register", "web", f"--path={store.root}")
    said = host.run("mount", "web", host.folder / "mnt" / "web").stdout
    assert "read-only: the service takes no changes" in said
    mount = host.mounted("web")
    assert mount.status()["read_only"]
    for change in (
        lambda: open(mount / "b", "w"),
        lambda: open(mount / "a", "r+"),
        lambda: os.unlink(mount / "a"),
        lambda: os.mkdir(mount / "d"),
        lambda: os.rename(mount / "a", mount / "b"),
    ):
        with pytest.raises(OSError) as refused:
            change()
        assert refused.value.errno == errno.EROFS
    assert (mount / "a").read_bytes() == b"1"


def test_a_folder_that_is_not_there_is_not_mounted(host, store, folder):
    """One line says so."""
    missing = host.run("mount", f"{store.root}/nowhere", folder / "mnt", check=False)
    assert missing.returncode == 4
    (line,) = missing.stderr.splitlines()
    assert "nowhere" in line
