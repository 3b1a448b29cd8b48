"""Arrays: files that are mapped, extended in place, or one object for each chunk."""

import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.parametrize("machines", ["local", "s3"], indirect=True)
library = pytest.mark.library


@pytest.fixture(scope="module")
def digits():
    """A dataset as an array: 1797 images of 64 pixels."""
    from sklearn import datasets

    return datasets.load_digits().data


@library("numpy")
def test_arrays_saved(place, digits):
    """`save` and `savez_compressed`; `load` whole and with `mmap_mode="r"`."""
    np.save(place.here / "digits.npy", digits)
    np.savez_compressed(place.here / "digits.npz", digits=digits)
    for folder in place.readers():
        assert np.array_equal(np.load(folder / "digits.npy"), digits)
        assert np.array_equal(np.load(folder / "digits.npy", mmap_mode="r")[::7], digits[::7])
        with np.load(folder / "digits.npz") as archive:
            assert np.array_equal(archive["digits"], digits)


@library("numpy")
def test_an_array_changed_where_it_lies(place, digits):
    """`load` with `mmap_mode="r+"`: what was assigned is stored when `flush()` returns."""
    np.save(place.here / "digits.npy", digits)
    mapped = np.load(place.here / "digits.npy", mmap_mode="r+")
    mapped[100] = 7
    mapped.flush()
    changed = digits.copy()
    changed[100] = 7
    for folder in place.readers():
        assert np.array_equal(np.load(folder / "digits.npy", mmap_mode="r"), changed)
    del mapped


@library("numpy")
def test_a_new_memmap(place, digits):
    """`memmap` with `w+`: `flush()` stores it, while it stays mapped; another one with `c` changes nothing."""
    mapped = np.memmap(place.here / "raw.bin", dtype=digits.dtype, mode="w+", shape=digits.shape)
    mapped[:] = digits
    mapped.flush()
    for folder in place.readers():
        own = np.memmap(folder / "raw.bin", dtype=digits.dtype, mode="c", shape=digits.shape)
        assert np.array_equal(own, digits)
        own[:] = 0
    assert np.array_equal(np.fromfile(place.here / "raw.bin").reshape(digits.shape), digits)
    del mapped


@library("h5py")
def test_a_dataset_extended_and_sliced(place, digits):
    """A chunked, compressed dataset, extended in a second session (`a`), read in slices; attributes."""
    import h5py

    with h5py.File(place.here / "data.h5", "w") as file:
        file.create_dataset("digits", data=digits[:1000], maxshape=(None, 64), chunks=(100, 64), compression="gzip")
    with h5py.File(place.here / "data.h5", "a") as file:
        file["digits"].resize(len(digits), axis=0)
        file["digits"][1000:] = digits[1000:]
        file.attrs["source"] = "scikit-learn"
    for folder in place.readers():
        with h5py.File(folder / "data.h5", "r") as file:
            assert np.array_equal(file["digits"][500:1500], digits[500:1500])
            assert file.attrs["source"] == "scikit-learn"


@library("h5py")
def test_a_file_read_while_it_grows(place, digits):
    """SWMR: a reader on the same mount follows a writer that calls `flush()`."""
    import h5py

    with h5py.File(place.here / "live.h5", "w", libver="latest") as writing:
        rows = writing.create_dataset("digits", shape=(0, 64), maxshape=(None, 64), chunks=(100, 64), dtype="f8")
        writing.swmr_mode = True
        with h5py.File(place.here / "live.h5", "r", libver="latest", swmr=True) as reading:
            for count in (300, 700, len(digits)):
                rows.resize(count, axis=0)
                rows[:] = digits[:count]
                rows.flush()
                reading["digits"].id.refresh()
                assert np.array_equal(reading["digits"][:], digits[:count])
    for folder in place.readers():
        with h5py.File(folder / "live.h5", "r") as file:
            assert np.array_equal(file["digits"][:], digits)


@library("h5py")
def test_a_file_that_is_being_written_is_locked(place):
    """HDF5's own lock: another process that opens a file that is being written is refused, on the same mount."""
    import h5py

    other = "import sys, h5py; h5py.File(sys.argv[1], 'r')"
    with h5py.File(place.here / "data.h5", "w"):
        refused = subprocess.run(
            [sys.executable, "-c", other, place.here / "data.h5"], capture_output=True, text=True, check=False
        )
    assert "unable to lock file" in refused.stderr
    subprocess.run([sys.executable, "-c", other, place.here / "data.h5"], check=True)


@library("zarr")
def test_a_group_of_arrays(place, digits):
    """Format 3: groups, chunks as objects (`digits/c/0/0`), shards, `append`, a region assigned, attributes."""
    import zarr

    group = zarr.open_group(place.here / "data.zarr", mode="w")
    chunked = group.create_array("digits", shape=(1000, 64), chunks=(500, 64), dtype="f8")
    chunked[:] = digits[:1000]
    chunked.append(digits[1000:])
    sharded = group.create_array("sharded", shape=digits.shape, chunks=(100, 64), shards=(1000, 64), dtype="f8")
    sharded[:] = 0
    sharded[200:1100] = digits[200:1100]
    group.attrs["source"] = "scikit-learn"
    assert {f"data.zarr/digits/c/{row}/0" for row in range(4)} <= set(place.keys())
    for folder in place.readers():
        seen = zarr.open_group(folder / "data.zarr", mode="r")
        assert np.array_equal(seen["digits"][:], digits)
        assert np.array_equal(
            seen["sharded"][150:1150], np.r_[np.zeros((50, 64)), digits[200:1100], np.zeros((50, 64))]
        )
        assert dict(seen.attrs) == {"source": "scikit-learn"}


@library("zarr")
def test_metadata_in_one_object(place, digits):
    """`consolidate_metadata`, then a group opened from it; an array deleted and its chunks with it."""
    import zarr

    group = zarr.open_group(place.here / "data.zarr", mode="w")
    for name in ("first", "second"):
        group.create_array(name, shape=digits.shape, chunks=(500, 64), dtype="f8")[:] = digits
    del group["second"]
    with pytest.warns(UserWarning, match="not part in the Zarr format 3"):
        zarr.consolidate_metadata(place.here / "data.zarr")
    assert not [key for key in place.keys() if "second" in key]
    for folder in place.readers():
        seen = zarr.open_consolidated(folder / "data.zarr")
        assert np.array_equal(seen["first"][:], digits)
        assert list(seen) == ["first"]
