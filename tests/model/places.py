"""Where the model is compared with the truth: a folder of the local disk, and mounts of stores."""

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path

from tests.harness import Host
from tests.kits import Bucket, LocalFolder
from tests.model.model import UMASK

ALL_FEATURES = frozenset({"symlinks", "links", "xattrs", "exchange", "modes", "times", "directory links"})

# What mounts offer of it: take away here what one lacks.
FEATURES = ALL_FEATURES

# How many examples are prepared at a time.
BATCH = 100


class Disk:
    """A folder of the local disk: what the model is checked against.

    Attributes:
        features: what can be compared here.
        store: where the files are objects; None where they are not.
        shared: whether another client of the store acts between the operations.
        prepared: {path: bytes}, the objects that are in each fresh directory.
    """

    features = ALL_FEATURES
    store = None
    shared = False
    prepared = {}

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
    shared = True
    options = ("--freshness", "0")

    def __init__(self, host, store):
        self._host, self.store = host, store
        self._mount = host.mount(store, *self.options)
        super().__init__(self._mount.path)

    def remount(self):
        """Unmount and mount again, which forgets whatever is not in the store."""
        self._mount.unmount()
        self._mount = self._host.mount(self.store, *self.options)

    def objects(self, prefix):
        """Return {key below `prefix`: bytes} as another client sees it; directories that lie there end in a slash."""
        keys = self._paths(prefix) if self.store.kind == "local" else self._keys(prefix)
        return {key: b"" if key.endswith("/") else self.store.get(prefix + key) for key in keys}

    def _paths(self, prefix):
        folder = self.store.folder / prefix
        return [
            f"{path.relative_to(folder)}{'/' * (path.is_dir() and not path.is_symlink())}" for path in folder.rglob("*")
        ]

    def _keys(self, prefix):
        pages = self.store.client.get_paginator("list_objects_v2").paginate(Bucket=self.store.bucket, Prefix=prefix)
        found = [each["Key"].removeprefix(prefix) for page in pages for each in page.get("Contents", ())]
        return [key for key in found if key]


class Alone(Mounted):
    """A mounted store that asks about nothing twice, because nobody else acts on it.

    Its first files were put there before by somebody who makes no markers for directories.
    """

    shared = False
    options = ("--freshness", "inf")
    prepared = {"a/b": b"hello", "b": b"good bye"}

    def fresh(self):
        """Return the name of a directory with the prepared files, which the mount has not asked about."""
        number = next(self._numbers)
        if number % BATCH == 0:
            self._prepare(range(number, number + BATCH))
        return f"{number:04}"

    def _prepare(self, numbers):
        self._mount.unmount()
        for number, (path, data) in itertools.product(numbers, self.prepared.items()):
            self.store.put(f"{number:04}/{path}", data)
        self._mount = self._host.mount(self.store, *self.options)


class WriteBack(Alone):
    """The same in write-back mode; the other client looks when what was acknowledged has arrived."""

    options = ("--freshness", "inf", "--write-back")

    def objects(self, prefix):
        self._host.run("sync")
        return super().objects(prefix)


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
def _mounted(make_store, kind):
    with _folder() as folder:
        host = Host(folder / "host")
        host.folder.mkdir()
        try:
            yield kind(host, make_store(folder))
        finally:
            host.close()


def local(kind=Mounted):
    """Return the context of a mounted folder."""
    return _mounted(lambda folder: LocalFolder(folder / "store"), kind)


def s3(server, kind=Mounted):
    """Return the context of a mounted bucket."""
    return _mounted(lambda _: Bucket(server), kind)
