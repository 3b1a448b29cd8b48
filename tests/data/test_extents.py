"""The extent map against the simplest model there is: one state a byte."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mountd.data.extents import ExtentMap

SIZE = 64
edits = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE), st.sampled_from([None, 1, 2])), max_size=30)


def build(changes):
    extents, model = ExtentMap(), [None] * SIZE
    for a, b, state in changes:
        start, end = min(a, b), max(a, b)
        extents.set(start, end, state)
        model[start:end] = [state] * (end - start)
    return extents, model


@given(edits)
def test_every_byte_is_in_the_state_it_was_last_set_to(changes):
    """Runs over the whole file spell out the model byte by byte."""
    extents, model = build(changes)
    spelled = [run.state for run in extents.runs(0, SIZE) for _ in range(run.start, run.end)]
    assert spelled == model


@given(edits)
def test_runs_are_sorted_disjoint_and_maximal(changes):
    """No run touches a neighbour in the same state, so a map never holds more runs than needed."""
    runs = list(build(changes)[0])
    for left, right in pairwise(runs):
        assert left.end <= right.start
        assert left.end < right.start or left.state != right.state
    assert all(run.start < run.end for run in runs)


@given(edits, st.integers(0, SIZE), st.integers(0, SIZE))
def test_covers_means_that_no_byte_is_absent(changes, a, b):
    """`covers` agrees with the model on any range."""
    extents, model = build(changes)
    start, end = min(a, b), max(a, b)
    assert extents.covers(start, end) == (None not in model[start:end])


@given(edits)
def test_totals_count_the_bytes_of_each_state(changes):
    """The running totals never drift from what the runs say."""
    extents, model = build(changes)
    assert [extents.total(1), extents.total(2)] == [model.count(1), model.count(2)]
    assert extents.total() == SIZE - model.count(None)


@given(edits, st.integers(0, SIZE))
def test_truncate_leaves_nothing_behind_the_new_size(changes, size):
    """What is cut off is absent, what is before it is as it was."""
    extents, model = build(changes)
    extents.truncate(size)
    spelled = [run.state for run in extents.runs(0, SIZE) for _ in range(run.start, run.end)]
    assert spelled == model[:size] + [None] * (SIZE - size)
