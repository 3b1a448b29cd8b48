"""A small change of a large file sends what changed and little more, on each service; the rest stays in the store."""

import os

import pytest

MiB = 1024 * 1024
SIZE = 40 * MiB
MOST = 16 * MiB  # two parts


class Sent:
    """The bytes that a mount sends."""

    def __init__(self, mount):
        self.mount, self._total = mount, 0

    def since(self):
        """Return how many there were since the last call."""
        before, self._total = self._total, self.mount.status()["traffic"]["sent"]
        return self._total - before


class Edited:
    """A large file, and what it has to hold; each change returns the bytes that it made the mount send."""

    def __init__(self, sent, name, data):
        self.sent, self.path, self.expected = sent, sent.mount / name, bytearray(data)

    def edit(self, offset):
        """Change 4 KiB."""
        with open(self.path, "r+b") as file:
            file.seek(offset)
            file.write(b"y" * 4096)
        self.expected[offset : offset + 4096] = b"y" * 4096
        return self.sent.since()

    def append(self):
        """Append 4 KiB."""
        with open(self.path, "ab") as file:
            file.write(b"z" * 4096)
        self.expected += b"z" * 4096
        return self.sent.since()

    def cut(self):
        """Take away the last 9 MiB and a bit."""
        size = len(self.expected) - 9 * MiB - 123
        os.truncate(self.path, size)
        del self.expected[size:]
        return self.sent.since()


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_a_small_change_of_a_large_object_sends_what_changed(request, host, kind):
    """Edits, appends and cuts send 16 MiB at most, of an object of this mount's and of one that another client put.

    S3 copies any range; Azure names the blocks again that there are, whoever made them; Google composes whole objects
    and the parts that the mount has kept, so that there the first edit of what another client wrote sends the object,
    as does one after a restart. [close-sends-parts] [s3-ranges] [azure-blocks]
    [gcs-kept-parts] [gcs-whole]
    """
    store = request.getfixturevalue(f"{kind}_store")
    data = os.urandom(SIZE)
    store.put("theirs", data)
    mount = host.mount(store)
    (mount / "ours").write_bytes(data)
    sent = Sent(mount)
    assert sent.since() == SIZE
    ours, theirs = Edited(sent, "ours", data), Edited(sent, "theirs", data)
    assert ours.edit(30 * MiB) <= MOST
    assert ours.append() <= MOST
    assert ours.cut() <= MOST
    assert ours.append() <= MOST
    assert ours.edit(3 * MiB) <= MOST
    assert theirs.append() <= MOST
    assert (theirs.edit(30 * MiB) <= MOST) == (kind != "gcs")
    assert theirs.edit(10 * MiB) <= MOST
    assert store.get("ours") == ours.expected
    assert store.get("theirs") == theirs.expected
    mount.unmount()
    assert store.keys() == ["ours", "theirs"]
    ours.sent = Sent(host.mount(store))
    assert (ours.edit(20 * MiB) <= MOST) == (kind != "gcs")
    assert store.get("ours") == ours.expected
