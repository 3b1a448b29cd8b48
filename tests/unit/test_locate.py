"""URIs to paths and back, without any file system."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import UserError
from mountd.locate import Root, to_path, to_uri

MOUNT = Path("/mnt/it")
ROOTS = ["s3://bucket", "s3://bucket/a b/100%", "gs://b/x", "abfs://c@account/x", "/srv/art", "/", "memory://"]
NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12).filter(lambda x: x not in (".", ".."))


@given(root=st.sampled_from(ROOTS), names=st.lists(NAMES, max_size=5))
def test_every_key_goes_to_a_path_and_back(root, names):
    """Whatever characters a key has, percent signs, spaces and quotes included."""
    path = MOUNT.joinpath(*names)
    assert to_path(root, MOUNT, to_uri(root, MOUNT, path)) == path


@given(root=st.sampled_from(ROOTS), tail=st.text(st.sampled_from("ab./%\\ ~:?#"), max_size=12))
def test_no_uri_leads_out_of_the_mount_point(root, tail):
    """Whatever follows the root, the path is under the mount point or the URI is refused."""
    try:
        path = to_path(root, MOUNT, root + tail)
    except UserError:
        return
    assert path.parts[: len(MOUNT.parts)] == MOUNT.parts
    assert ".." not in path.parts


@given(uri=st.text(max_size=30))
def test_whatever_is_no_uri_is_refused_and_not_a_crash(uri):
    """Only UserError leaves the module."""
    for root in ROOTS:
        message = root
        try:
            assert to_path(root, MOUNT, uri).is_relative_to(MOUNT)
        except UserError as error:
            message = str(error)
        assert root in message


@pytest.mark.parametrize(
    ("root", "uri"),
    [
        ("s3://bucket", "s3://bucket2/x"),
        ("s3://bucket", "s3://bucket/../other"),
        ("s3://bucket", "s3://bucket/a/../../other"),
        ("s3://bucket", "s3://bucket/./x"),
        ("s3://bucket", "s3://bucket//x"),
        ("s3://bucket", "s3://bucket/x//"),
        ("s3://bucket", "s3://BUCKET/x"),
        ("s3://bucket", "gs://bucket/x"),
        ("s3://bucket", "/bucket/x"),
        ("s3://bucket", "bucket/x"),
        ("s3://bucket", "s3:/bucket/x"),
        ("s3://bucket", "s3://bucket/x\0y"),
        ("s3://bucket/art", "s3://bucket/artifacts"),
        ("s3://bucket/art", "s3://bucket"),
        ("s3://bucket/a%20b", "s3://bucket/a b/x"),
        ("/srv/art", "/srv/artifacts/x"),
        ("/srv/art", "/srv/art/../x"),
        ("/srv/art", "file://host/srv/art/x"),
        ("memory://", "memory:///x"),
    ],
)
def test_a_uri_outside_the_root_is_refused_with_the_root_in_the_message(root, uri):
    """Compared by components: siblings with the same prefix, other buckets, other schemes, tricks with dots."""
    with pytest.raises(UserError) as caught:
        to_path(root, MOUNT, uri)
    assert root in str(caught.value)


@pytest.mark.parametrize(
    ("root", "uri", "path"),
    [
        ("s3://bucket", "s3://bucket", "/mnt/it"),
        ("s3://bucket", "s3://bucket/", "/mnt/it"),
        ("s3://bucket", "S3://bucket/x/", "/mnt/it/x"),
        ("s3://bucket/a", "s3://bucket/a/b%2Fc/d e/ü", "/mnt/it/b%2Fc/d e/ü"),
        ("s3://bucket", "s3a://bucket/x", "/mnt/it/x"),
        ("gs://b", "gcs://b/x", "/mnt/it/x"),
        ("gcs://b", "gs://b/x", "/mnt/it/x"),
        ("abfs://c", "az://c/x", "/mnt/it/x"),
        ("az://c", "abfss://c/x", "/mnt/it/x"),
        ("/srv/art", "file:///srv/art/x", "/mnt/it/x"),
        ("/srv/art", "/srv/art/x", "/mnt/it/x"),
        ("/", "/x", "/mnt/it/x"),
        ("memory://", "memory://x", "/mnt/it/x"),
    ],
)
def test_a_uri_inside_the_root_is_found_in_every_spelling_of_its_scheme(root, uri, path):
    """Aliases of one service are one place; everything after the scheme is literal."""
    assert to_path(root, MOUNT, uri) == Path(path)


@pytest.mark.parametrize("path", ["/mnt/it2/x", "/mnt", "/mnt/it/../x", "mnt/it/x"])
def test_a_path_outside_the_mount_point_has_no_uri(path):
    """The message names the mount point and the root."""
    with pytest.raises(UserError, match=r"/mnt/it.*s3://bucket"):
        to_uri("s3://bucket", MOUNT, Path(path))


def test_spellings_of_one_place_are_equal():
    """Which is how a registered store is found by its root."""
    assert Root.parse("gs://b/x/") == Root.parse("GCS://b/x")
    assert Root.parse("file:///x") == Root.parse("/x")
    assert Root.parse("s3://b/x") != Root.parse("gs://b/x")
