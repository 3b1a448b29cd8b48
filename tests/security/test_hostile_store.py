"""A store may answer anything: a mount shows sensible names with sensible attributes, and stays inside its root."""

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import HealthCheck, example, given, settings

from mountd.config import MountSettings
from mountd.errors import MountdError, NotFound
from mountd.fuse.reply import attributes
from mountd.objects.interface import Chunk, ListPage, ObjectInfo
from mountd.objects.memory import MemoryStore
from mountd.vfs import sidecar
from mountd.vfs.nodes import Directory, File
from mountd.vfs.opening import open_filesystem
from mountd.writeback.journal import Journal

fuzz = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))

# Components that no name is, that look like others, or that are close to a limit.
COMPONENTS = st.sampled_from(
    [
        *("", ".", "..", "a", "b", "a\0b", "a\nb", "\ud800", "é", "\uefc3\uefa9", "a\uef2f", "\uefff", "a\\b"),
        *(sidecar.NAME, ".mountd-partial-1", "x" * 300, "é" * 127, "é" * 128),
    ]
)
KEYS = st.one_of(
    st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join),
    st.lists(COMPONENTS, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + "/"),
    st.text(max_size=20),
    st.text(st.characters(), max_size=5).map(lambda text: f"a/{text}"),
)
NUMBERS = st.one_of(st.sampled_from([0, 1, -1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30]), st.integers())
VERSIONS = st.one_of(st.sampled_from(["v1", "v2", "", "v\0", "\ud800", "é"]), st.text(max_size=5))
INFOS = st.builds(ObjectInfo, key=KEYS, size=NUMBERS, mtime_ns=NUMBERS, version=VERSIONS)
PAGES = st.builds(
    ListPage,
    objects=st.lists(INFOS, max_size=6),
    prefixes=st.lists(KEYS, max_size=4),
    cursor=st.sampled_from([None, None, "1", "2"]),
)


class HostileStore(MemoryStore):
    """Answers what it was told to, whatever is asked, and keeps the keys that were asked about."""

    def __init__(self, pages, found, attributes):
        super().__init__()
        self._pages, self._found, self._attributes = pages, found, attributes
        self.asked = set()
        self._calls = 0

    async def list_page(self, prefix, *, recursive=False, cursor=None, limit=1000, known=b""):
        self.asked.add(prefix)
        await trio.lowlevel.checkpoint()
        self._calls += 1
        return self._pages[self._calls % len(self._pages)]

    async def stat(self, key):
        self.asked.add(key)
        await trio.lowlevel.checkpoint()
        if self._found is None:
            raise NotFound(key)
        return self._found

    async def read_range(self, key, start, length, *, version=None):
        self.asked.add(key)
        await trio.lowlevel.checkpoint()
        if not key.endswith(sidecar.NAME):
            return Chunk(b"x" * 10, self._found or ObjectInfo(key, 10, 0, "v1"))
        if self._attributes is None:
            raise NotFound(key)
        return Chunk(self._attributes, ObjectInfo(key, len(self._attributes), 0, "s1"))


async def names_in(fs, directory):
    """Return what a directory shows, each entry as the kernel is told of it."""
    handle = fs.directories.open(directory)
    found, position = [], 2
    with contextlib.suppress(MountdError):
        while True:
            await fs.directories.load(handle, position)
            entries = list(fs.directories.entries(handle, position))
            if not entries:
                break
            for name, node, after in entries:
                fs.nodes.told(node)
                require_possible(node)
                found.append(name)
                position = after
    return found


def require_possible(node):
    """The kernel's side must be able to take it, and the kernel."""
    entry = attributes(node, 1.0)
    assert 0 <= entry.st_size < 2**63
    kind = stat.S_IFMT(entry.st_mode)
    assert (kind == stat.S_IFDIR) == isinstance(node, Directory)
    assert kind != stat.S_IFLNK or isinstance(node, File)
    assert 0 <= entry.st_uid < 2**32 - 1
    assert 0 <= entry.st_gid < 2**32 - 1
    assert 0 <= entry.st_rdev < 2**32
    assert 0 < entry.st_nlink < 2**32
    assert all(name.startswith(b"user.") and b"\0" not in name for name in node.attributes.xattrs)
    target = node.attributes.target
    assert target is None or (kind == stat.S_IFLNK and b"\0" not in target and 0 < len(target) < 4096)


def is_a_name(name):
    return 0 < len(name) <= 255 and b"/" not in name and b"\0" not in name and name not in (b".", b"..")


def inside(key):
    """Tell whether a key is made of names alone."""
    return not any(part in ("", ".", "..") for part in key.removesuffix("/").split("/")) if key else True


async def look_around(store):
    """Do what programs do that only look, in the root and one level down."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_filesystem(store, data=Path(folder), settings=MountSettings(), root="hostile") as fs:
            for directory in [fs.nodes.root, *(await visit(fs, fs.nodes.root))][:4]:
                await visit(fs, directory)
            fs.status()


async def visit(fs, directory):
    shown = await names_in(fs, directory)
    assert all(map(is_a_name, shown))
    assert len(shown) == len(set(shown))
    inner = []
    for name in [*shown, b"a", b"unknown"]:
        with contextlib.suppress(MountdError):
            node = await fs.namespace.lookup(directory, name)
            if node is None:
                continue
            require_possible(node)
            require_possible(await fs.refreshed(node.ino))
            for attribute in (b"user.mountd.uri", b"user.mountd.version", b"user.mountd.state", b"user.x"):
                with contextlib.suppress(MountdError):
                    assert isinstance(await fs.metadata.get_xattr(node, attribute), bytes)
            if isinstance(node, Directory):
                inner.append(node)
            elif node.regular:
                handle = await fs.files.open(node, os.O_RDONLY)
                with contextlib.suppress(MountdError):
                    await fs.files.read(handle, 0, 100)
                await fs.files.release(handle)
    return inner


@fuzz
@given(pages=st.lists(PAGES, min_size=1, max_size=3), found=st.none() | INFOS)
@example(pages=[ListPage([ObjectInfo("é", 1, 0, "1"), ObjectInfo("\uefc3\uefa9", 1, 0, "2")], [], None)], found=None)
@example(pages=[ListPage([ObjectInfo("\ud800", 1, 0, "1")], ["\ud800/"], None)], found=None)
@example(pages=[ListPage([ObjectInfo("b", 2**64, 2**80, "1")], ["x/../b/", "../"], None)], found=None)
def test_any_listing_shows_only_names(pages, found):
    """No name twice, none that is a path, no error but the known ones, no key but those made of names.

    [stays-inside] [unnameable-keys] [readdir-any-order]
    """
    store = HostileStore(pages, found, None)
    trio.run(look_around, store)
    assert [key for key in store.asked if not inside(key)] == []


JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
XATTR_NAMES = st.sampled_from(["user.x", "security.capability", "user.\0", "user.mountd.uri", "\ud800"])
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from([0o4755, 0o100644, 0o40755, -1, 0o777]) | JSON,
        "uid": NUMBERS | JSON,
        "gid": NUMBERS | JSON,
        "atime": NUMBERS | JSON,
        "mtime": NUMBERS | JSON,
        "ctime": NUMBERS | JSON,
        "kind": st.sampled_from(["symlink", "char", "fifo", "nothing"]) | JSON,
        "target": st.sampled_from(["../../etc/passwd", "", "a\0b", "x" * 5000, "\ud800"]) | JSON,
        "rdev": NUMBERS | JSON,
        "xattrs": st.dictionaries(XATTR_NAMES, st.sampled_from(["", "eA==", "=", "é"]) | JSON, max_size=2) | JSON,
        "links": st.fixed_dictionaries({"id": st.text(max_size=3), "names": st.lists(KEYS, max_size=3)}) | JSON,
        "version": VERSIONS | JSON,
        "later": JSON,
    },
)
SIDECARS = st.one_of(
    st.fixed_dictionaries(
        {
            "format": st.just(sidecar.FORMAT),
            "version": st.just(sidecar.VERSION),
            "names": st.dictionaries(
                st.sampled_from(["a", "b", "d/", "./", "..", "\ud800", "", "a/b"]), RECORDS | JSON, max_size=4
            ),
        }
    ),
    JSON,
).map(lambda value: json.dumps(value).encode())
PLAIN = [ListPage([ObjectInfo(key, 3, 7, "v1") for key in (sidecar.NAME, "a", "b")], ["d/"], None)]
DEEP = b'{"format":"mountd-attributes","version":1,"names":{"a":{"later":' + b"[" * 900 + b"]" * 900 + b"}}}"


@fuzz
@given(data=st.one_of(SIDECARS, st.binary(max_size=50)))
@example(data=b"[" * 100_000)
@example(data=DEEP)
@example(data=b'{"format":"mountd-attributes","version":1,"names":{"a":{"mtime":1' + b"0" * 5000 + b"}}}")
@example(data=b'{"format":"mountd-attributes","version":1,"names":{"\\ud800":{"kind":"fifo"}}}')
@example(data=b'{"format":"mountd-attributes","version":1,"names":{"a":{"mtime":9223372036854775808000000000}}}')
def test_any_sidecar_leaves_the_files_there(data):
    """With attributes that are possible, the defaults where the sidecar's are not. [sidecar-damaged]"""

    async def main():
        store = HostileStore(PLAIN, PLAIN[0].objects[1], data)
        with tempfile.TemporaryDirectory() as folder:
            async with open_filesystem(store, data=Path(folder), settings=MountSettings(), root="hostile") as fs:
                assert sorted(await names_in(fs, fs.nodes.root)) == [b"a", b"b", b"d"]
                await visit(fs, fs.nodes.root)
                node = await fs.namespace.lookup(fs.nodes.root, b"b")
                with contextlib.suppress(MountdError):  # a change on top of it can be written again
                    await fs.metadata.set(node, mode=0o600)
                    await fs.sync()
                if node.attributes.record.get("later") is None and fs.nodes.root.sidecar.damaged:
                    assert fs.status().errors

    trio.run(main)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", 0o100644),
        ("mode", True),
        ("uid", 2**32 - 1),
        ("mtime", 2**63 * 10**9),
        ("kind", "directory"),
        ("target", "a\0b"),
        ("target", ""),
        ("xattrs", {"security.capability": "eA=="}),
        ("xattrs", {"user.x": "not base64"}),
        ("links", {"id": "1"}),
        ("links", {"id": "1", "names": ["a", "../../elsewhere"]}),
        ("rdev", -1),
    ],
)
def test_impossible_values_are_reported(field, value):
    """A sidecar that says what cannot be is damaged: it is told, and its files have default attributes."""
    body = {"format": sidecar.FORMAT, "version": sidecar.VERSION, "names": {"a": {field: value}}}

    async def main():
        store = HostileStore(PLAIN, PLAIN[0].objects[1], json.dumps(body).encode())
        with tempfile.TemporaryDirectory() as folder:
            async with open_filesystem(store, data=Path(folder), settings=MountSettings(), root="hostile") as fs:
                node = await fs.namespace.existing(fs.nodes.root, b"a")
                assert node.attributes.mode == 0o100644
                assert (node.attributes.xattrs, node.attributes.target) == ({}, None)
                assert field in fs.status().errors[-1].message

    trio.run(main)


def test_a_recursive_listing_from_elsewhere_removes_nothing_there(tmp_path):
    """A rename of a directory that is finished takes only keys below it, though the store lists others with them."""

    class Careless(MemoryStore):
        async def list_page(self, prefix, *, recursive=False, cursor=None, limit=1000, known=b""):
            return await super().list_page("", recursive=recursive, cursor=cursor, limit=limit)

    async def main():
        store = Careless()
        for key in ("a/x", "precious"):
            await store.put(key, b"1")
        with contextlib.closing(Journal(tmp_path / "journal.db")) as journal:
            journal.begin_tree("a/", "b/")
        async with open_filesystem(store, data=tmp_path, settings=MountSettings(), root="hostile"):
            pass
        assert (await store.stat("precious")).size == 1
        assert (await store.stat("b/x")).size == 1
        with pytest.raises(NotFound):
            await store.stat("a/x")

    trio.run(main)
