"""Where the model is compared with the truth: a folder of the local disk, and mounts of stores."""

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path

from tests.harness import Bucket, Host, LocalFolder
from tests.model.model import UMASK

ALL_FEATURES = frozenset({"symlinks", "links", "xattrs", "exchange", "modes", "times", "directory links"})

# What mounts offer of it; a feature that lands is added here.
FEATURES = frozenset()


class Disk:
    """A folder of the local disk: what the model is checked against."""

    features = ALL_FEATURES
    store = None

    def __init__(self, folder):
        self.root = folder
        self._numbers = itertools.count()

    def fresh(self):
        """Return the name of a new empty directory in the place."""
        name = f"{next(self._numbers):04}"
        (self.root / name).mkdir()
        return name


class Mounted(Disk):
    """A mounted store that asks with each open, and another client of it."""

    features = FEATURES

    def __init__(self, host, store):
        self._host, self.store = host, store
        self._mount = host.mount(store, "--freshness", "0")
        super().__init__(self._mount.path)

    def remount(self):
        """Unmount and mount again, which forgets whatever is not in the store."""
        self._mount.unmount()
        self._mount = self._host.mount(self.store, "--freshness", "0")

    def objects(self, prefix):
        """Return {key below `prefix`: bytes} as another client sees it."""
        return {key.removeprefix(prefix): self.store.get(key) for key in self._keys(prefix)}

    def _keys(self, prefix):
        if self.store.kind == "local":
            return [f"{prefix}{path.relative_to(self.store.folder / prefix)}" for path in self._files(prefix)]
        pages = self.store.client.get_paginator("list_objects_v2").paginate(Bucket=self.store.bucket, Prefix=prefix)
        found = (each["Key"] for page in pages for each in page.get("Contents", ()))
        return [key for key in found if not key.endswith("/")]

    def _files(self, prefix):
        return [path for path in (self.store.folder / prefix).rglob("*") if path.is_file() and not path.is_symlink()]


@contextlib.contextmanager
def _folder():
    folder = Path(tempfile.mkdtemp(prefix="mountd-test-"))
    umask = os.umask(UMASK)
    try:
        yield folder
    finally:
        os.umask(umask)
        shutil.rmtree(folder)


@contextlib.contextmanager
def disk():
    """Yield a place on the local disk."""
    with _folder() as folder:
        yield Disk(folder)


@contextlib.contextmanager
def _mounted(make_store):
    with _folder() as folder:
        host = Host(folder / "host")
        host.folder.mkdir()
        try:
            yield Mounted(host, make_store(folder))
        finally:
            host.close()


def local():
    """Return the context of a mounted folder."""
    return _mounted(lambda folder: LocalFolder(folder / "store"))


def s3(server):
    """Return the context of a mounted bucket."""
    return _mounted(lambda _: Bucket(server))
