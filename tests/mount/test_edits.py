"""A small change of a large file sends what changed and little more, on each service; the rest stays in the store."""

import contextlib
import os

import pytest

MiB = 1024 * 1024
SIZE = 65 * MiB  # more than Azure's own client puts in one piece
MOST = 16 * MiB  # two parts


@contextlib.contextmanager
def sending(mount):
    """Yield a list that has, after the block, the bytes sent during it."""
    before, sent = mount.status()["traffic"]["sent"], []
    yield sent
    sent.append(mount.status()["traffic"]["sent"] - before)


class Edited:
    """A large file, and what it has to hold; each change returns the bytes that it sent."""

    def __init__(self, path, data):
        self.path, self.expected = path, bytearray(data)

    def edit(self, mount, offset):
        """Change 4 KiB."""
        with sending(mount) as sent, open(mount / self.path, "r+b") as file:
            file.seek(offset)
            file.write(b"y" * 4096)
        self.expected[offset : offset + 4096] = b"y" * 4096
        return sent[0]

    def append(self, mount):
        """Append 4 KiB."""
        with sending(mount) as sent, open(mount / self.path, "ab") as file:
            file.write(b"z" * 4096)
        self.expected += b"z" * 4096
        return sent[0]

    def cut(self, mount):
        """Take away the last 9 MiB and a bit."""
        size = len(self.expected) - 9 * MiB - 123
        with sending(mount) as sent:
            os.truncate(mount / self.path, size)
        del self.expected[size:]
        return sent[0]


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_a_small_change_of_a_large_object_sends_what_changed(request, host, kind):
    """Edits, appends and cuts send 16 MiB at most, of an object of this mount's and of one that another client put.

    S3 copies any range; Azure names blocks again, whoever made them; Google composes whole objects and the parts that
    the mount has kept, so that there the first edit of what another client wrote sends the object, as does one after a
    restart. [close-sends-parts] [gcs-kept-parts] [gcs-whole]
    """
    store = request.getfixturevalue(f"{kind}_store")
    data = os.urandom(SIZE)
    store.put("theirs", data)
    mount = host.mount(store)
    (mount / "ours").write_bytes(data)
    ours, theirs = Edited("ours", data), Edited("theirs", data)
    assert ours.edit(mount, 30 * MiB) <= MOST
    assert ours.append(mount) <= MOST
    assert ours.cut(mount) <= MOST
    assert ours.append(mount) <= MOST
    assert ours.edit(mount, 3 * MiB) <= MOST
    assert theirs.append(mount) <= MOST
    assert (theirs.edit(mount, 30 * MiB) <= MOST) == (kind != "gcs")
    assert theirs.edit(mount, 40 * MiB) <= MOST
    assert store.get("ours") == ours.expected
    assert store.get("theirs") == theirs.expected
    mount.unmount()
    assert store.keys() == ["ours", "theirs"]
    mount = host.mount(store)
    assert (ours.edit(mount, 20 * MiB) <= MOST) == (kind != "gcs")
    assert store.get("ours") == ours.expected
