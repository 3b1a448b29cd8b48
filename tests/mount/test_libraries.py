"""Datasets of scikit-learn, written by the libraries that people use, each handed a path on the mount.

What they wrote is read back through the mount and, from the store's own bytes, by an independent client.
"""

import io
import pickle
import sqlite3
import zipfile

import h5py
import joblib
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn import datasets
from sklearn.linear_model import LogisticRegression

NAMES = ["iris", "wine", "breast_cancer", "diabetes", "digits"]


@pytest.fixture(params=NAMES)
def frame(request):
    """A dataset as a DataFrame."""
    return getattr(datasets, f"load_{request.param}")(as_frame=True).frame


@pytest.fixture(scope="module")
def digits():
    """A dataset as an array: 1797 images of 64 pixels."""
    return datasets.load_digits().data


@pytest.fixture
def elsewhere(store, tmp_path):
    """Return what brings an object to a local file, past the mount."""

    def fetch(key):
        path = tmp_path / key.replace("/", "-")
        path.write_bytes(store.get(key))
        return path

    return fetch


def test_a_frame_as_parquet_and_csv(mount, frame, elsewhere):
    """pandas writes both formats and reads equal frames."""
    frame.to_parquet(mount / "frame.parquet")
    frame.to_csv(mount / "frame.csv", index=False)
    for read in (lambda name: mount / name, elsewhere):
        assert_frame_equal(pd.read_parquet(read("frame.parquet")), frame)
        assert_frame_equal(pd.read_csv(read("frame.csv")), frame, check_dtype=False)


def test_columns_of_a_parquet_file_of_another_client(mount, store, frame):
    """What somebody else stored is read column by column, with seeks to the end first."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    store.put("data/frame.parquet", buffer.getvalue())
    column = frame.columns[0]
    assert_frame_equal(pd.read_parquet(mount / "data" / "frame.parquet", columns=[column]), frame[[column]])


def test_an_array_saved_and_mapped(mount, digits, elsewhere):
    """numpy saves, and maps files for reading and for writing in place."""
    np.save(mount / "digits.npy", digits)
    np.savez_compressed(mount / "digits.npz", digits=digits)
    for read in (lambda name: mount / name, elsewhere):
        assert np.array_equal(np.load(read("digits.npy")), digits)
        assert np.array_equal(np.load(read("digits.npz"))["digits"], digits)
    mapped = np.load(mount / "digits.npy", mmap_mode="r+")
    mapped[100] = 7
    mapped.flush()
    del mapped
    changed = digits.copy()
    changed[100] = 7
    assert np.array_equal(np.load(mount / "digits.npy", mmap_mode="r"), changed)


def test_a_new_memmap_is_in_the_store_once_it_is_flushed(mount, digits, elsewhere):
    """`memmap` makes the file, `flush` stores it."""
    mapped = np.memmap(mount / "raw.bin", dtype=digits.dtype, mode="w+", shape=digits.shape)
    mapped[:] = digits
    mapped.flush()
    with open(mount / "raw.bin", "rb+") as file:
        import os

        os.fsync(file.fileno())
    assert np.array_equal(np.fromfile(elsewhere("raw.bin"), dtype=digits.dtype).reshape(digits.shape), digits)


def test_a_model_as_pickle_and_joblib(mount, elsewhere):
    """A fitted model predicts the same after either, compressed or mapped."""
    features, labels = datasets.load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(features, labels)
    with open(mount / "model.pickle", "wb") as file:
        pickle.dump(model, file)
    joblib.dump(model, mount / "model.joblib")
    joblib.dump(model, mount / "model.joblib.gz", compress=3)
    for read in (lambda name: mount / name, elsewhere):
        with open(read("model.pickle"), "rb") as file:
            assert np.array_equal(pickle.load(file).predict(features), model.predict(features))
        for name in ("model.joblib", "model.joblib.gz"):
            assert np.array_equal(joblib.load(read(name)).predict(features), model.predict(features))
    joblib.dump(features, mount / "features.joblib")
    assert np.array_equal(joblib.load(mount / "features.joblib", mmap_mode="r"), features)


def test_an_archive_grows_in_place(mount, frame, elsewhere):
    """zipfile writes, seeks back to complete headers, and appends to an archive that is there."""
    text = frame.to_csv(index=False)
    with zipfile.ZipFile(mount / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first.csv", text)
    with zipfile.ZipFile(mount / "data.zip", "a") as archive, archive.open("second.csv", "w") as file:
        file.write(text.encode())
    for read in (lambda name: mount / name, elsewhere):
        with zipfile.ZipFile(read("data.zip")) as archive:
            assert archive.testzip() is None
            assert archive.read("first.csv") == archive.read("second.csv") == text.encode()


@pytest.mark.parametrize("journal", ["delete", "truncate", "memory"])
def test_a_database_is_written_and_queried(mount, frame, elsewhere, journal):
    """sqlite3 commits in its journal modes that do without shared memory; the object is a whole database."""
    connection = sqlite3.connect(mount / "data.db")
    connection.execute(f"pragma journal_mode={journal}")
    frame.to_sql("frame", connection, index=False)
    connection.execute("create index first on frame (target)")
    connection.commit()
    connection.execute("delete from frame where target = 0")
    connection.rollback()
    connection.close()
    for read in (lambda name: mount / name, elsewhere):
        connection = sqlite3.connect(read("data.db"))
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert_frame_equal(pd.read_sql("select * from frame", connection), frame, check_dtype=False)
        connection.close()


def test_an_hdf5_file_is_written_extended_and_sliced(mount, digits, elsewhere):
    """h5py writes chunked data, extends it in a second session, and reads slices."""
    with h5py.File(mount / "data.h5", "w") as file:
        file.create_dataset("digits", data=digits[:1000], maxshape=(None, 64), chunks=(100, 64), compression="gzip")
    with h5py.File(mount / "data.h5", "a") as file:
        file["digits"].resize(len(digits), axis=0)
        file["digits"][1000:] = digits[1000:]
        file.attrs["source"] = "scikit-learn"
    for read in (lambda name: mount / name, elsewhere):
        with h5py.File(read("data.h5"), "r") as file:
            assert np.array_equal(file["digits"][500:1500], digits[500:1500])
            assert file.attrs["source"] == "scikit-learn"
