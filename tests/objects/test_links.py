"""Files with several names in a folder, when one of them is replaced."""

import os

import pytest

from mountd.objects.links import kept
from mountd.objects.partial import beside


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree" / "d").mkdir(parents=True)
    return tmp_path / "tree"


def replace(tree, name, data, meanwhile=lambda: None):
    with kept(str(tree), str(tree / name), beside):
        (tree / "new").write_bytes(data)
        os.rename(tree / "new", tree / name)
        meanwhile()


def test_all_names_lead_to_what_replaces_a_file(tree):
    """Those in other folders, too; what lies outside the tree is nobody's business."""
    (tree / "a").write_bytes(b"old")
    for other in ("b", "d/c", "../outside"):
        os.link(tree / "a", tree / other)
    replace(tree, "a", b"new")
    assert [(tree / name).read_bytes() for name in ("a", "b", "d/c", "../outside")] == [b"new"] * 3 + [b"old"]
    assert sorted(os.listdir(tree)) == ["a", "b", "d"]


def test_a_file_that_gets_the_number_of_the_one_replaced_is_left_alone(tree):
    """The last name of a file goes, such as that of a backing file that a crash left, and others are made at once."""
    (tree / "a").write_bytes(b"old")
    os.link(tree / "a", tree / "../backing")

    def meanwhile():
        (tree / "../backing").unlink()
        for number in range(100):
            (tree / "d" / f"f{number}").write_bytes(b"%d" % number)

    replace(tree, "a", b"new", meanwhile)
    for number in range(100):
        assert (tree / "d" / f"f{number}").read_bytes() == b"%d" % number
