"""Parts in memory against the file that they are of."""

from hypothesis import given
from hypothesis import strategies as st

from mountd.data.extents import Span
from mountd.writeback import fresh
from mountd.writeback.fresh import Fresh
from mountd.writeback.parts import part_at

PART = 64
SIZE = 6 * PART

writes = st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3 * PART))


@given(st.lists(st.one_of(writes, st.integers(1, 6)), max_size=40))
def test_what_is_taken_is_what_the_file_holds(steps):
    """However it was written; a part is not taken for whole before all of it was."""
    kept, file, written = Fresh(PART), bytearray(10 * PART), set()
    for count, step in enumerate(steps):
        if isinstance(step, int):
            span = Span((step - 1) * PART, step * PART)
            data = kept.take(step, span)
            if data is not None:
                assert data == bytes(file[span.start : span.end])
                assert written.issuperset(range(*span))
            continue
        start, length = step
        data = bytes([count + 1]) * length
        kept.changed(start, start + length)
        file[start : start + length] = data
        written.update(range(start, start + length))
        kept.add(start, data)


def test_a_file_written_in_order_is_taken_without_the_disk():
    """That is what it is for, whatever the pieces are."""
    kept = Fresh(PART)
    for start in range(0, SIZE, 24):
        kept.changed(start, start + 24)
        kept.add(start, bytes([start % 251]) * 24)
    for number in range(1, 7):
        _, span = part_at((number - 1) * PART, PART)
        assert kept.take(number, span) == bytes((at - at % 24) % 251 for at in range(*span))
    assert kept.bytes == 0


def test_memory_is_bounded(monkeypatch):
    """The newest parts are read back from the disk: the others are sent before them."""
    monkeypatch.setattr(fresh, "LIMIT", 3 * PART)
    kept = Fresh(PART)
    kept.add(0, bytes(6 * PART))
    assert kept.bytes == 3 * PART
    assert [kept.take(n, Span((n - 1) * PART, n * PART)) is not None for n in range(1, 7)] == [True] * 3 + [False] * 3
