"""Libraries of machine learning, each handed a path on a mounted bucket, as `docs/libraries.md` lists them.

What they wrote is read again by another machine, whose cache is empty, or from a copy that an independent client made.
"""

import io
import json
import zipfile

import lightgbm
import numpy as np
import onnx
import polars
import pyarrow
import pyarrow.dataset
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
import xgboost
import zarr
from onnx import TensorProto, helper
from sklearn import datasets
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

pytestmark = pytest.mark.filterwarnings("default")  # theirs are no failures of ours


@pytest.fixture
def here(host, s3_store):
    """A mount of the bucket."""
    return host.mount(s3_store)


@pytest.fixture
def there(make_host, s3_store):
    """Return what mounts the bucket on another machine, with an empty cache."""
    return lambda: make_host().mount(s3_store)


@pytest.fixture
def weights():
    """Twelve tensors, 12 MiB together."""
    return {f"layer{number}": torch.rand(512, 512) for number in range(12)}


def equal(some, others):
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


def test_torch_saves_loads_and_maps(here, there, s3_store, weights):
    """Whole, and mapped: only what is touched is fetched."""
    torch.save(weights, here / "model.pt")
    assert equal(torch.load(io.BytesIO(s3_store.get("model.pt"))), weights)
    other = there()
    with other.counting() as requests:
        mapped = torch.load(other / "model.pt", mmap=True)
        assert torch.equal(mapped["layer3"], weights["layer3"])
    assert requests["read_range"] < 12
    assert equal(mapped, weights)


def test_torch_distributed_checkpoints(here, there, weights):
    """A folder of shards and metadata, saved over an earlier one, loaded into tensors that are there."""
    for factor in (2, 1):
        dcp.save({name: tensor * factor for name, tensor in weights.items()}, checkpoint_id=here / "checkpoint")
    loaded = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    dcp.load(loaded, checkpoint_id=there() / "checkpoint")
    assert equal(loaded, weights)


class Samples(Dataset):
    """Samples that are files."""

    def __init__(self, folder):
        self.paths = sorted(folder.iterdir())

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return torch.load(self.paths[index])


def test_a_data_loader_with_workers(here, there):
    """Two processes read what one has written."""
    (here / "samples").mkdir()
    for number in range(20):
        torch.save(torch.full((100,), number), here / f"samples/{number:03}.pt")
    loader = DataLoader(Samples(there() / "samples"), batch_size=5, shuffle=True, num_workers=2)
    seen = torch.cat(list(loader))
    assert sorted(seen[:, 0].tolist()) == list(range(20))


def test_safetensors(here, there, s3_store, weights):
    """Saved by an exclusive temporary file and a rename; mapped when it is loaded."""
    safetensors.torch.save_file(weights, here / "model.safetensors")
    assert [key for key in s3_store.keys() if not key.startswith(".mountd-")] == ["model.safetensors"]
    assert equal(safetensors.torch.load(s3_store.get("model.safetensors")), weights)
    assert equal(safetensors.torch.load_file(there() / "model.safetensors"), weights)


def test_polars_scans_what_it_sank(here, there):
    """Lazily, by row groups and columns."""
    frame = polars.DataFrame({"x": range(100_000), "y": [str(number % 7) for number in range(100_000)]})
    frame.lazy().sink_parquet(here / "frame.parquet")
    frame.write_csv(here / "frame.csv")
    other = there()
    found = polars.scan_parquet(other / "frame.parquet").filter(polars.col("x") > 99_990).select("x").collect()
    assert found["x"].to_list() == list(range(99_991, 100_000))
    assert polars.read_csv(other / "frame.csv", schema=frame.schema).equals(frame)


def test_a_partitioned_dataset_of_pyarrow(here, there, s3_store):
    """One folder for each value; only those that match are opened."""
    table = pyarrow.table({"part": [number % 3 for number in range(300)], "x": list(range(300))})
    pyarrow.dataset.write_dataset(
        table, here / "data", format="parquet", partitioning=["part"], partitioning_flavor="hive"
    )
    assert {key.split("/")[1] for key in s3_store.keys()} == {"part=0", "part=1", "part=2"}
    other = there()
    dataset = pyarrow.dataset.dataset(other / "data", format="parquet", partitioning="hive")
    found = dataset.to_table(filter=pyarrow.dataset.field("part") == 1)
    assert sorted(found["x"].to_pylist()) == list(range(1, 300, 3))


def test_zarr_reads_and_changes_chunks(here, there):
    """Each chunk is an object."""
    array = zarr.create_array(store=here / "array.zarr", shape=(100, 100), chunks=(50, 50), dtype="f4")
    array[:] = 1
    array[10:20, 10:20] = 7
    other = zarr.open_array(there() / "array.zarr", mode="r")
    assert float(other[:].sum()) == 100 * 100 + 100 * 6
    assert float(other[15, 15]) == 7


def test_gradient_boosting(here, there, s3_store):
    """lightgbm and xgboost keep models, and lightgbm its binary datasets."""
    data, target = datasets.load_breast_cancer(return_X_y=True)
    light = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(data, target), num_boost_round=3)
    light.save_model(here / "light.txt")
    lightgbm.Dataset(data, target, params={"verbose": -1}).save_binary(here / "data.bin")
    extreme = xgboost.train({"nthread": 1}, xgboost.DMatrix(data, target), num_boost_round=3)
    extreme.save_model(here / "extreme.json")
    other = there()
    assert np.allclose(lightgbm.Booster(model_file=other / "light.txt").predict(data), light.predict(data))
    again = lightgbm.train(
        {"verbose": -1, "num_threads": 1}, lightgbm.Dataset(str(other / "data.bin")), num_boost_round=3
    )
    assert np.allclose(again.predict(data), light.predict(data))
    loaded = xgboost.Booster(model_file=str(other / "extreme.json"))
    assert np.allclose(loaded.predict(xgboost.DMatrix(data)), extreme.predict(xgboost.DMatrix(data)))
    assert json.loads(s3_store.get("extreme.json"))["version"]


def test_onnx_with_its_weights_in_a_file_beside(here, there):
    """The model refers to them by name."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [64, 64], np.arange(4096, dtype=np.float32).tobytes(), raw=True)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph([node], "graph", ends[:1], ends[1:], [weight]))
    onnx.save_model(model, here / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    loaded = onnx.load_model(there() / "model.onnx")
    onnx.checker.check_model(loaded)
    assert loaded.graph.initializer[0].raw_data == np.arange(4096, dtype=np.float32).tobytes()


def test_tensorboard_reads_events_while_they_are_written(here):
    """Appended and flushed by one process; another one looks again and again."""
    writer = SummaryWriter(here / "runs")
    writer.add_scalar("loss", 1.0, 0)
    writer.flush()
    seen = EventAccumulator(str(here / "runs"))
    seen.Reload()
    assert [event.value for event in seen.Scalars("loss")] == [1.0]
    for step in range(1, 5):
        writer.add_scalar("loss", 1.0 / step, step)
    writer.close()
    seen.Reload()
    assert [event.step for event in seen.Scalars("loss")] == [0, 1, 2, 3, 4]


def test_a_model_in_a_zip_is_read_in_place(here, there, weights):
    """Members of archives are files of their own to `zipfile`: seeks, and no copy."""
    with zipfile.ZipFile(here / "all.zip", "w") as archive, archive.open("model.pt", "w") as member:
        torch.save(weights, member)
    with zipfile.ZipFile(there() / "all.zip") as archive, archive.open("model.pt") as member:
        assert equal(torch.load(io.BytesIO(member.read())), weights)
