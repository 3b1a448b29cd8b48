"""Tables: columns and row groups of large files, directories of many files, text that is appended to."""

import io

import pytest

from tests.libraries.places import eventually

pytestmark = pytest.mark.parametrize("machines", ["local", "s3"], indirect=True)
library = pytest.mark.library


@pytest.fixture(scope="module")
def frame():
    """A dataset as a DataFrame: 1797 rows of 64 pixels, and which digit they show."""
    from sklearn import datasets

    return datasets.load_digits(as_frame=True).frame


@library("pandas")
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_frames(place, name):
    """Parquet, Feather, CSV and pickle, written and read whole."""
    import pandas as pd
    from pandas.testing import assert_frame_equal
    from sklearn import datasets

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    frame.to_parquet(place.here / "frame.parquet")
    frame.to_feather(place.here / "frame.feather")
    frame.to_csv(place.here / "frame.csv", index=False)
    frame.to_pickle(place.here / "frame.pkl.gz")
    for folder in place.readers():
        assert_frame_equal(pd.read_parquet(folder / "frame.parquet"), frame)
        assert_frame_equal(pd.read_feather(folder / "frame.feather"), frame)
        assert_frame_equal(pd.read_csv(folder / "frame.csv"), frame, check_dtype=False)
        assert_frame_equal(pd.read_pickle(folder / "frame.pkl.gz"), frame)


@library("pandas")
def test_columns_of_what_another_client_stored(place, frame):
    """`read_parquet` with `columns`, of an object that came past the mount."""
    import pandas as pd
    from pandas.testing import assert_frame_equal

    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    place.store.put("frame.parquet", buffer.getvalue())
    eventually((place.there / "frame.parquet").exists)
    column = frame.columns[5]
    assert_frame_equal(pd.read_parquet(place.there / "frame.parquet", columns=[column]), frame[[column]])


@library("pandas")
def test_lines_added_to_a_csv_file(place, frame):
    """`to_csv` with `mode="a"`: each call adds to the object."""
    import pandas as pd
    from pandas.testing import assert_frame_equal

    for start in range(0, len(frame), 500):
        frame[start : start + 500].to_csv(place.here / "log.csv", mode="a", header=start == 0, index=False)
    for folder in place.readers():
        assert_frame_equal(pd.read_csv(folder / "log.csv"), frame, check_dtype=False)


def in_order(frame):
    """Return a frame's rows in an order of their own, for what came back in another one."""
    return frame.sort_values(list(frame.columns), ignore_index=True)


@library("pyarrow")
def test_a_partitioned_dataset(place, frame):
    """`write_dataset` by a column, filters that leave out files, `delete_matching` for a partition written again."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pandas.testing import assert_frame_equal

    table = pa.Table.from_pandas(frame)
    by_digit = ds.partitioning(pa.schema([("target", pa.int64())]), flavor="hive")
    write = {"format": "parquet", "partitioning": by_digit, "max_rows_per_file": 100, "max_rows_per_group": 100}
    ds.write_dataset(table, place.here / "digits", **write)
    threes = table.filter(ds.field("target") == 3)
    again = {"existing_data_behavior": "delete_matching", "basename_template": "again-{i}.parquet"}
    ds.write_dataset(threes, place.here / "digits", **write, **again)
    assert {key.split("/")[1] for key in place.keys()} == {f"target={digit}" for digit in range(10)}
    assert all("again-" in key for key in place.keys() if "target=3/" in key)
    for folder in place.readers():
        dataset = ds.dataset(folder / "digits", partitioning="hive")
        everything = dataset.to_table().to_pandas()[frame.columns]
        assert_frame_equal(in_order(everything), in_order(frame), check_dtype=False)
        found = dataset.to_table(filter=(ds.field("target") == 3) & (ds.field("pixel_0_2") > 5), columns=["pixel_0_3"])
        wanted = frame[(frame.target == 3) & (frame.pixel_0_2 > 5)]
        assert sorted(found["pixel_0_3"].to_pylist()) == sorted(wanted.pixel_0_3)


@library("pyarrow")
def test_files_mapped(place, frame):
    """`memory_map` of an IPC file and of a Parquet file; row groups read one by one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame)
    with pa.OSFile(str(place.here / "frame.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=200)
    pq.write_table(table, place.here / "frame.parquet", row_group_size=200)
    for folder in place.readers():
        with pa.memory_map(str(folder / "frame.arrow")) as source:
            assert pa.ipc.open_file(source).read_all().equals(table)
        with pq.ParquetFile(folder / "frame.parquet", memory_map=True) as file:
            assert file.read_row_group(3, columns=["target"]).equals(table.select(["target"])[600:800])
            assert file.read().equals(table)


@library("polars")
def test_lazy_frames(place, frame):
    """`write_parquet`, `sink_parquet` and `sink_csv`; `scan_parquet` and `scan_csv` with filters and columns."""
    import polars as pl
    from polars.testing import assert_frame_equal

    whole = pl.from_pandas(frame)
    whole.write_parquet(place.here / "whole.parquet", row_group_size=200)
    pl.scan_parquet(place.here / "whole.parquet").filter(pl.col("target") > 4).sink_parquet(place.here / "high.parquet")
    pl.scan_parquet(place.here / "whole.parquet").sink_csv(place.here / "whole.csv")
    high = whole.filter(pl.col("target") > 4)
    for folder in place.readers():
        assert_frame_equal(pl.read_parquet(folder / "high.parquet"), high)
        lazy = pl.scan_parquet(folder / "whole.parquet").filter(pl.col("target") > 4).select("pixel_0_3")
        assert_frame_equal(lazy.collect(), high.select("pixel_0_3"))
        lines = pl.scan_csv(folder / "whole.csv").filter(pl.col("target") > 4).select(pl.len())
        assert lines.collect().item() == len(high)


@library("polars")
def test_many_files_as_one_frame(place, frame):
    """A partitioned `write_parquet`; `scan_parquet` of the directory and of a pattern; `scan_ipc`."""
    import polars as pl
    from polars.testing import assert_frame_equal

    whole = pl.from_pandas(frame)
    for digit, part in whole.group_by("target"):
        folder = place.here / "digits" / f"target={digit[0]}"
        folder.mkdir(parents=True)
        part.drop("target").write_parquet(folder / "part.parquet")
    whole.write_ipc(place.here / "whole.arrow")
    sevens = whole.filter(pl.col("target") == 7).select("pixel_0_3")
    for folder in place.readers():
        for path in (folder / "digits", folder / "digits" / "*" / "*.parquet"):
            found = pl.scan_parquet(path, hive_partitioning=True).filter(pl.col("target") == 7).select("pixel_0_3")
            assert_frame_equal(found.collect(), sevens)
            everything = pl.scan_parquet(path, hive_partitioning=True).select(whole.columns).collect()
            assert_frame_equal(everything, whole, check_row_order=False, check_dtypes=False)
        assert_frame_equal(pl.scan_ipc(folder / "whole.arrow").collect(), whole)


@library("duckdb")
def test_queries_over_files(place, frame):
    """`COPY TO` one Parquet file and a partitioned directory; `read_parquet` and `read_csv` of patterns."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register("digits", frame)
        connection.execute(f"copy digits to '{place.here}/digits.parquet' (row_group_size 500)")
        connection.execute(f"copy digits to '{place.here}/by' (format parquet, partition_by (target))")
        connection.execute(f"copy digits to '{place.here}/digits.csv'")
        mean = frame[frame.target == 3].pixel_0_3.mean()
        for folder in place.readers():
            files = (
                f"read_parquet('{folder}/digits.parquet')",
                f"read_parquet('{folder}/by/*/*.parquet', hive_partitioning = true)",
                f"read_csv('{folder}/dig*.csv')",
            )
            for each in files:
                found = connection.sql(f"select count(*), avg(pixel_0_3) from {each} where target = 3").fetchall()
                assert found == [(183, pytest.approx(mean))]
