"""How large objects are cut into parts."""

from hypothesis import given
from hypothesis import strategies as st

from mountd.data.extents import Span
from mountd.writeback.parts import Make, Part, part_at, parts, pieces, plan, plan_append

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
    planned = plan(100, 10, dirty=[Span(33, 35)], sent=frozenset(), copyable=100, copy_limit=1000)
    assert planned == [
        Part(1, Span(0, 30), Make.COPY),
        Part(4, Span(30, 40), Make.SEND),
        Part(5, Span(40, 100), Make.COPY),
    ]


def test_what_is_copied_at_once_is_bounded_and_can_be_taken_apart():
    """One copy takes no more than the store allows; its pieces are the parts that it stands for."""
    planned = plan(100, 10, dirty=[], sent=frozenset(), copyable=100, copy_limit=45)
    assert [part.span for part in planned] == [Span(0, 40), Span(40, 80), Span(80, 100)]
    found = [piece for part in planned for piece in pieces(part, 10)]
    assert [(piece.number, piece.span) for piece in found] == list(parts(100, 10))


@given(
    st.integers(0, 400), st.lists(st.tuples(st.integers(0, 400), st.integers(1, 50)), max_size=5), st.integers(0, 400)
)
def test_a_plan_covers_every_byte_once_and_copies_nothing_that_has_changed(size, changes, copyable):
    """Whatever changed: the parts tile the object in the order of their numbers, and changed bytes are sent."""
    changed = sorted({i for start, length in changes for i in range(start, min(start + length, size))})
    dirty = [Span(i, i + 1) for i in changed]
    planned = plan(size, 10, dirty=dirty, sent=frozenset(), copyable=copyable, copy_limit=35)
    assert [i for part in planned for i in range(*part.span)] == list(range(size))
    assert [part.number for part in planned] == sorted({part.number for part in planned})
    copied = {i for part in planned if part.make is Make.COPY for i in range(*part.span)}
    assert copied.isdisjoint(changed)
    assert all(i < copyable for i in copied)


def test_what_is_appended_goes_behind_the_whole_object():
    """The object is taken over as it is, the tail begins where it ended."""
    planned = plan_append(47, 10, start=25, sent=frozenset({4}))
    assert planned == [
        Part(1, Span(0, 25), Make.COPY),
        Part(3, Span(25, 30), Make.SEND),
        Part(4, Span(30, 40), Make.KEEP),
        Part(5, Span(40, 47), Make.SEND),
    ]


def test_an_append_keeps_whole_parts_and_sends_the_tail():
    """The last part of the old object is incomplete, so it goes with what was appended."""
    planned = plan(25, 10, dirty=[Span(15, 25)], sent=frozenset(), copyable=15, copy_limit=100)
    assert [part.make for part in planned] == [Make.COPY, Make.SEND, Make.SEND]


def test_what_was_sent_ahead_is_not_sent_again():
    """Parts that lie in the store as they are now are kept."""
    planned = plan(30, 10, dirty=[Span(0, 30)], sent=frozenset({1, 2}), copyable=0, copy_limit=100)
    assert [part.make for part in planned] == [Make.KEEP, Make.KEEP, Make.SEND]
