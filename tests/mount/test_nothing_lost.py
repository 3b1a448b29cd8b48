"""What a service keeps beside an object's bytes survives whatever programs do to its file."""

import pytest

MiB = 1024 * 1024


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_nothing_of_an_object_is_lost(request, host, kind):
    """Overwritten, edited in place, appended to, renamed as a file and with its directory.

    Content type, cache control and the like, user metadata, tags, storage class and encryption. Each file is edited by
    a fresh mount, which knows nothing but a listing, and then again by the same one. [described-kept] [content-type]
    """
    store = request.getfixturevalue(f"{kind}_store")
    small, large = b"x" * 1000, b"x" * (20 * MiB)
    names = {"overwritten": small, "edited": large, "appended": large, "renamed": small, "old/inside": small}
    expected = {name: store.put_described(name, data) for name, data in names.items()}
    mount = host.mount(store)
    for i in (1, 2):
        (mount / "overwritten").write_bytes(b"new" * i)
        with open(mount / "edited", "r+b") as file:
            file.seek(6 * MiB)
            file.write(b"y" * 4096)
        with open(mount / "appended", "ab") as file:
            file.write(b"y" * 4096)
        (mount / "renamed").rename(mount / "aside")
        (mount / "aside").rename(mount / "renamed")
        (mount / "old").rename(mount / "new")
        assert store.get("new/inside") == small
        (mount / "new").rename(mount / "old")
        moved = getattr(store, "forgets", ())
        for name, wanted in expected.items():
            lost = () if name == "overwritten" else moved
            found = store.described(name)
            assert {n: found.get(n) for n in wanted if n not in lost} == {
                n: v for n, v in wanted.items() if n not in lost
            }, name
    assert store.get("overwritten") == b"newnew"
    assert store.get("edited") == large[: 6 * MiB] + b"y" * 4096 + large[6 * MiB + 4096 :]
    assert store.get("appended") == large + b"y" * 8192
    assert store.get("renamed") == store.get("old/inside") == small
    (mount / "report.html").write_bytes(b"<html>")
    assert "text/html" in list(store.described("report.html").values())
