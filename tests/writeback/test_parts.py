"""How large objects are cut into parts."""

from hypothesis import given
from hypothesis import strategies as st

from mountd.data.extents import Span
from mountd.writeback.parts import Make, part_at, parts, plan

MiB = 1024 * 1024


@given(st.integers(1, 5000), st.integers(1, 7))
def test_parts_tile_the_object(size, part_size):
    """Every byte is in exactly one part, and numbers count up from 1."""
    at = 0
    for i, (number, span) in enumerate(parts(size, part_size)):
        assert (number, span.start) == (i + 1, at)
        at = span.end
    assert at == size


@given(st.integers(0, 10_000_000_000_000))
def test_a_byte_leads_to_its_part_whatever_the_objects_size(offset):
    """`part_at` agrees with the tiling without walking it."""
    number, span = part_at(offset, 8 * MiB)
    assert span.start <= offset < span.end
    assert part_at(span.start, 8 * MiB) == (number, span)
    if span.start:
        assert part_at(span.start - 1, 8 * MiB)[0] == number - 1


def test_ten_thousand_parts_hold_the_largest_object():
    """Services take 10,000 parts and objects of 5 TiB."""
    assert part_at(5 * 1024**4 - 1, 8 * MiB)[0] <= 10_000


def test_a_small_edit_sends_one_part_and_copies_the_rest():
    """What has not changed does not travel."""
    planned = plan(100, 10, dirty=[Span(33, 35)], sent=frozenset(), copyable=100)
    assert [part.make for part in planned].count(Make.SEND) == 1
    assert planned[3].make is Make.SEND
    assert all(part.make is Make.COPY for i, part in enumerate(planned) if i != 3)


def test_an_append_keeps_whole_parts_and_sends_the_tail():
    """The last part of the old object is incomplete, so it goes with what was appended."""
    planned = plan(25, 10, dirty=[Span(15, 25)], sent=frozenset(), copyable=15)
    assert [part.make for part in planned] == [Make.COPY, Make.SEND, Make.SEND]


def test_what_was_sent_ahead_is_not_sent_again():
    """Parts that lie in the store as they are now are kept."""
    planned = plan(30, 10, dirty=[Span(0, 30)], sent=frozenset({1, 2}), copyable=0)
    assert [part.make for part in planned] == [Make.KEEP, Make.KEEP, Make.SEND]
