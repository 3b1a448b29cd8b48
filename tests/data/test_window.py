"""How far ahead of its readers a file is fetched."""

import random

from mountd.data.window import INITIAL_WINDOW, STEP, KiB, MiB, Streams


def read_on(streams, start, count, size=128 * KiB):
    return [streams.advance(start + i * size, size) for i in range(count)]


def test_a_reader_from_the_start_gets_the_initial_window_at_once():
    """The first read of a file is most often the first of many."""
    assert Streams(64 * MiB).advance(0, 4096).end == 4096 + INITIAL_WINDOW


def test_a_single_read_elsewhere_fetches_nothing_ahead():
    """A seek is random until it is followed by a neighbour."""
    span = Streams(64 * MiB).advance(10 * MiB, 4096)
    assert (span.start, span.end) == (10 * MiB, 10 * MiB + 4096)


def test_the_window_grows_to_its_limit_while_a_reader_reads_on():
    """A long sequential read has the whole limit in flight, and never more."""
    spans = read_on(Streams(32 * MiB), 0, 1000)
    ahead = [span.end - (i + 1) * 128 * KiB for i, span in enumerate(spans)]
    assert max(ahead) == 32 * MiB


def test_progress_by_small_steps_makes_few_requests():
    """Reading 64 MiB by 128 KiB asks for more no more often than twice per 8 MiB once the window is large."""
    spans = read_on(Streams(64 * MiB), 0, 512)
    asked = [span for i, span in enumerate(spans) if span.end > (i + 1) * 128 * KiB]
    assert len(asked) < 24


def test_large_windows_end_where_requests_are_cut():
    """Also those of a reader that began in the middle of a step: each step is one request then, and not two."""
    streams = Streams(64 * MiB)
    spans = [streams.advance(start, MiB) for start in range(3 * MiB, 300 * MiB, MiB)]
    ahead = [span.end for span in spans if span.end - span.start > MiB]
    assert len(ahead) > 30
    assert all(end % STEP == 0 for end in ahead if end > 20 * MiB)


def test_several_readers_of_one_file_are_told_apart():
    """Four readers in four regions each keep their window, however their reads interleave."""
    streams = Streams(64 * MiB)
    for i in range(200):
        for region in range(4):
            span = streams.advance(region * 1024 * MiB + i * 128 * KiB, 128 * KiB)
            if i == 199:
                assert span.start >= region * 1024 * MiB
    assert all(stream.window >= 16 * MiB for stream in streams._streams)


def test_random_reads_far_apart_never_open_a_window():
    """A parquet or HDF5 reader pays for what it reads alone."""
    streams = Streams(64 * MiB)
    offsets = [(i * 7919 % 1000 + 3) * 3 * MiB for i in range(200)]
    assert all(streams.advance(offset, 4096).end == offset + 4096 for offset in offsets)


def test_random_reads_that_hit_what_was_fetched_ahead_make_no_window_grow():
    """200 reads of 128 KiB at random in 256 MiB, as a parquet reader's: some are neighbours by chance."""
    chosen, streams = random.Random(1), Streams(64 * MiB)
    ahead = 0
    for _ in range(200):
        offset = chosen.randrange(2048) * 128 * KiB
        ahead += streams.advance(offset, 128 * KiB).end - offset - 128 * KiB
    assert ahead < 20 * MiB
    assert all(stream.window <= INITIAL_WINDOW for stream in streams._streams)


def test_a_reader_that_leaves_things_out_is_still_one_reader():
    """Faults in mapped weights: two requests around the beginning of each tensor of 4 MiB, in either order."""
    streams = Streams(64 * MiB)
    streams.advance(0, MiB)
    ahead = [streams.advance(n * MiB, MiB).end - n * MiB for at in range(4, 80, 4) for n in (at - 1, at)]
    assert max(ahead) > 32 * MiB
