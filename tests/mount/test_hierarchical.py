"""An account of Azure with a hierarchical namespace: real directories, renames in one step."""

import os


def test_directories_are_real_and_renames_are_one_step(host, azure_folders_store):
    """A tree is made, renamed, and removed; other clients see real directories. [azure-folders]"""
    mount = host.mount(azure_folders_store)
    assert mount.status()["capabilities"]["folders"]
    os.makedirs(mount / "a" / "b" / "empty")
    for i in range(5):
        (mount / "a" / "b" / f"f{i}").write_bytes(b"%d" % i)
    with mount.counting() as requests:
        (mount / "a").rename(mount / "c")
    assert requests["rename"] == 1
    assert "copy" not in requests
    assert sorted(os.listdir(mount / "c" / "b")) == ["empty", *(f"f{i}" for i in range(5))]
    assert (mount / "c" / "b" / "f3").read_bytes() == azure_folders_store.get("c/b/f3") == b"3"
    assert not (mount / "a").exists()
    (mount / "c" / "b" / "f3").rename(mount / "c" / "b" / "f4")
    assert azure_folders_store.get("c/b/f4") == b"3"
    names = {blob.name: blob.metadata for blob in azure_folders_store.client.list_blobs(include=["metadata"])}
    assert names["c/b/empty"]["hdi_isfolder"] == "true"
    assert not any(name.endswith("/") for name in names)
    for i in (0, 1, 2, 4):
        (mount / "c" / "b" / f"f{i}").unlink()
    (mount / "c" / "b" / "empty").rmdir()
    (mount / "c" / "b").rmdir()
    assert os.listdir(mount / "c") == []


def test_files_go_both_ways(host, azure_folders_store):
    """Objects of others are files, with attributes; what is written here is an object of theirs. [azure-folders]"""
    azure_folders_store.put("x/y/z", b"from elsewhere")
    mount = host.mount(azure_folders_store, "--freshness", "0")
    assert (mount / "x" / "y" / "z").read_bytes() == b"from elsewhere"
    (mount / "x" / "y" / "z").chmod(0o640)
    with open(mount / "x" / "y" / "z", "ab") as file:
        file.write(b", and here")
    assert azure_folders_store.get("x/y/z") == b"from elsewhere, and here"
    os.link(mount / "x" / "y" / "z", mount / "x" / "linked")
    (mount / "x").rename(mount / "w")
    assert (mount / "w" / "linked").read_bytes() == b"from elsewhere, and here"
    assert (mount / "w" / "y" / "z").stat().st_mode & 0o777 == 0o640
    assert azure_folders_store.get("w/y/z") == b"from elsewhere, and here"
