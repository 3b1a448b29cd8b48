"""Sizes and durations as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd import units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        (4096, 4096),
        ("20GiB", 20 * 1024**3),
        ("500M", 500 * 1024**2),
        ("500MB", 500 * 1000**2),
        ("1.5 TiB", 1024**4 * 3 // 2),
        ("64k", 65536),
        ("7B", 7),
    ],
)
def test_a_size_is_read_with_its_unit(text, size):
    """A prefix alone counts in 1024, with B in 1000, with iB in 1024."""
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1", -1, "1GG", "1e9", "GiB", True, None, 1.5])
def test_what_is_no_size_is_refused_with_an_example(text):
    """The message shows how to write it."""
    with pytest.raises(ValueError, match="20GiB"):
        units.parse_size(text)


@given(st.integers(0, 2**60))
def test_a_size_that_was_printed_is_read_back_about_equal(size):
    """To one decimal of its unit."""
    assert math.isclose(units.parse_size(units.format_size(size)), size, rel_tol=0.06, abs_tol=0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1.5", 1.5), (0, 0), ("30s", 30), ("200ms", 0.2), ("5m", 300), ("1d", 86400), ("inf", math.inf)],
)
def test_a_duration_is_read_with_its_unit(text, seconds):
    """Seconds where there is none."""
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", -1, math.nan, "1w", True, None])
def test_what_is_no_duration_is_refused(text):
    """Negative times and NaN, which compares with nothing, among them."""
    with pytest.raises(ValueError, match="duration"):
        units.parse_duration(text)


def test_a_limit_of_no_time_is_refused():
    """Every request would fail."""
    with pytest.raises(ValueError, match="no time"):
        units.parse_time_limit("0")


@pytest.mark.parametrize(("text", "bits"), [("022", 0o022), ("0o077", 0o077), (0o022, 0o022), ("0", 0)])
def test_a_umask_is_octal(text, bits):
    """As in the shell."""
    assert units.parse_umask(text) == bits


@pytest.mark.parametrize("text", ["8", "rw", "7777", 0o1000, -1, True])
def test_what_is_no_umask_is_refused(text):
    """Only the nine permission bits."""
    with pytest.raises(ValueError, match="umask"):
        units.parse_umask(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(units.parse_count, "0"), (units.parse_count, "two"), (units.parse_id, "-1"), (units.parse_bool, 2)],
)
def test_other_nonsense_is_refused(parse, text):
    """Every parser raises ValueError and nothing else."""
    with pytest.raises(ValueError, match=r".+"):
        parse(text)
