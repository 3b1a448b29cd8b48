"""Large directories on real mounts."""

import os
import subprocess
import threading
from itertools import islice

NAMES = 100_000


def test_100_000_names_are_listed_in_order_with_little_memory(host, local_store):
    """In pages, with attributes, by programs that read them all or look at each. [readdir-order] [readdir-memory]"""
    names = [f"part-{i:08}-object.bin" for i in range(NAMES)]
    (local_store.folder / "d").mkdir()
    for name in names:
        os.close(os.open(local_store.folder / "d" / name, os.O_CREAT | os.O_WRONLY))
    (local_store.folder / "warm").mkdir()
    for name in names[:2000]:
        (local_store.folder / "warm" / name).touch()
    mount = host.mount(local_store, "--freshness", "600")
    with os.scandir(mount / "warm") as entries:  # what a listing needs once, whatever its size
        assert sum(entry.stat().st_size == 0 for entry in entries) == 2000
    before = mount.memory("RssAnon")
    with mount.counting() as requests, os.scandir(mount / "d") as entries:
        assert [entry.name for entry in entries if entry.stat().st_size == 0] == names
    assert requests == {"list_page": NAMES // 1000}
    assert (mount.memory("RssAnon") - before) / NAMES < 300
    assert os.listdir(mount / "d") == names
    assert subprocess.run(["ls", "-f", mount / "d"], capture_output=True, check=True).stdout.count(b"\n") == NAMES + 2
    for name in names[:: NAMES // 100]:
        assert (mount / "d" / name).read_bytes() == b""
    assert (mount.memory("RssAnon") - before) / NAMES < 300


def test_the_first_names_of_a_large_directory_do_not_wait_for_the_others(host, s3_store):
    """`ls -U | head` costs the pages that are read and one ahead; a change meanwhile is no hindrance.

    [readdir-streams] [readdir-own-changes]
    """
    fill(s3_store, 3000)
    mount = host.mount(s3_store, "--freshness", "60")
    (mount / "d").stat()
    with mount.counting() as requests, os.scandir(mount / "d") as entries:
        assert [entry.name for entry in islice(entries, 3)] == ["f0000", "f0001", "f0002"]
        (mount / "d" / "f0000").unlink()
        (mount / "d" / "new").write_bytes(b"1")
    assert requests["list_page"] <= 3  # one of them to see that the directory stays without f0000
    assert os.listdir(mount / "d") == [f"f{i:04}" for i in range(1, 3000)] + ["new"]


def fill(store, count):
    """Put empty objects, several at a time."""

    def put(first):
        for i in range(first, count, 8):
            store.put(f"d/f{i:04}", b"")

    threads = [threading.Thread(target=put, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
