"""Models and checkpoints: large files that are written once, some with seeks back, and mapped by their readers."""

import pytest

# What these libraries warn of is theirs: text files for xgboost, one process for torch.distributed.
pytestmark = pytest.mark.filterwarnings("ignore")
library = pytest.mark.library


@pytest.fixture(scope="module")
def tensors():
    """Tensors of 24 MiB, more than is sent in one request."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return {f"layer{n}.weight": torch.randn(1024, 1024, generator=generator) for n in range(6)}


@pytest.fixture(scope="module")
def measured():
    """Features and labels of a dataset of two classes."""
    from sklearn import datasets

    return datasets.load_breast_cancer(return_X_y=True)


def equal(found, wanted):
    """Whether two dicts of tensors are the same."""
    import torch

    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@library("torch")
def test_tensors_saved(place, tensors):
    """`save` and `load`, whole and with `mmap=True`, of a file larger than one request of an upload."""
    import torch

    torch.save(tensors, place.here / "model.pt")
    for folder in place.readers():
        assert equal(torch.load(folder / "model.pt"), tensors)
        assert equal(torch.load(folder / "model.pt", mmap=True), tensors)


@library("torch")
def test_a_checkpoint_saved_again_and_again(place, tensors):
    """A training's state, to a temporary name and renamed over the last one; its optimizer goes on from there."""
    import torch

    model = torch.nn.Linear(64, 10)
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(3):
        model(torch.ones(4, 64)).sum().backward()
        optimizer.step()
        state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, place.here / "last.pt.new")
        (place.here / "last.pt.new").replace(place.here / "last.pt")
    assert place.keys() == ["last.pt"]
    for folder in place.readers():
        found = torch.load(folder / "last.pt")
        assert found["epoch"] == 2
        assert equal(found["model"], model.state_dict())
        assert all(equal(found["optimizer"]["state"][n], state["optimizer"]["state"][n]) for n in range(2))
        torch.optim.Adam(torch.nn.Linear(64, 10).parameters()).load_state_dict(found["optimizer"])


@library("torch")
def test_samples_read_by_workers(place):
    """A `DataLoader` with two worker processes, shuffled, over files of samples."""
    import torch
    from torch.utils.data import DataLoader

    for number in range(20):
        torch.save(torch.full((100,), number), place.here / f"{number:02}.pt")
    for folder in place.elsewhere():
        loader = DataLoader(Samples(sorted(folder.iterdir())), batch_size=5, shuffle=True, num_workers=2)
        seen = torch.cat(list(loader))
        assert sorted(seen[:, 0].tolist()) == list(range(20))


class Samples:
    """A dataset of torch: samples that are files."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        import torch

        return torch.load(self.paths[index])


@library("torch")
def test_a_model_in_an_archive(place, tensors):
    """A model saved into a member of a zip file, and read in place."""
    import zipfile

    import torch

    with zipfile.ZipFile(place.here / "all.zip", "w") as archive, archive.open("model.pt", "w") as member:
        torch.save(tensors, member)
    for folder in place.elsewhere():
        with zipfile.ZipFile(folder / "all.zip") as archive, archive.open("model.pt") as member:
            assert equal(torch.load(member), tensors)


@library("torch.distributed.checkpoint")
@pytest.mark.parametrize("way", ["save", "async_save"])
def test_a_distributed_checkpoint(place, tensors, way):
    """`save` and `async_save` in one process without a process group, again over the first one; `load` in place."""
    import torch
    from torch.distributed import checkpoint

    for factor in (1, 2):
        state = {"model": {name: tensor * factor for name, tensor in tensors.items()}, "step": factor}
        done = getattr(checkpoint, way)(state, checkpoint_id=place.here / "step")
        if way == "async_save":
            done.result(timeout=120)
    assert {"step/.metadata", "step/__0_0.distcp"} <= set(place.keys())
    for folder in place.readers():
        found = {"model": {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}, "step": 0}
        checkpoint.load(found, checkpoint_id=folder / "step")
        assert equal(found["model"], state["model"])
        assert found["step"] == 2


@library("safetensors")
def test_tensors_and_slices_of_them(place, tensors):
    """`save_file` with metadata, over a file that is there, too; `load_file`; `safe_open` with `get_slice`."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    save_file({"old": torch.ones(4)}, place.here / "model.safetensors")
    save_file(tensors, place.here / "model.safetensors", metadata={"format": "pt"})
    assert place.keys() == ["model.safetensors"]
    for folder in place.readers():
        assert equal(load_file(folder / "model.safetensors"), tensors)
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            rows = file.get_slice("layer2.weight")[100:200, ::3]
            assert torch.equal(rows, tensors["layer2.weight"][100:200, ::3])


@library("onnx")
def test_a_model_with_external_data(place):
    """`save_model` with one file of external data and with one for each tensor; `load`; `checker` of a path."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.arange(300_000, dtype=np.float32).reshape(300, 1000)
    inside = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 300])
    outside = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])
    for name, together in (("together", True), ("apart", False)):
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "one layer",
            [inside],
            [outside],
            [numpy_helper.from_array(weights, "w")],
        )
        model = helper.make_model(graph)
        (place.here / name).mkdir()
        onnx.save_model(
            model,
            place.here / name / "model.onnx",
            save_as_external_data=True,
            all_tensors_to_one_file=together,
            location="model.data" if together else None,
        )
    assert place.keys() == ["apart/model.onnx", "apart/w", "together/model.data", "together/model.onnx"]
    for folder in place.readers():
        for name in ("together", "apart"):
            onnx.checker.check_model(folder / name / "model.onnx")
            found = onnx.load(folder / name / "model.onnx")
            assert np.array_equal(numpy_helper.to_array(found.graph.initializer[0]), weights)


@library("joblib")
def test_a_model_pickled(place, measured):
    """`dump` and `load` of a scikit-learn model, plain, compressed and mapped; and with pickle."""
    import pickle

    import joblib
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    features, labels = measured
    model = RandomForestClassifier(10, random_state=0).fit(features, labels)
    joblib.dump(model, place.here / "model.joblib")
    joblib.dump(model, place.here / "model.joblib.gz", compress=3)
    (place.here / "model.pickle").write_bytes(pickle.dumps(model))
    wanted = model.predict(features)
    for folder in place.readers():
        for found in (
            joblib.load(folder / "model.joblib"),
            joblib.load(folder / "model.joblib", mmap_mode="r"),
            joblib.load(folder / "model.joblib.gz"),
            pickle.loads((folder / "model.pickle").read_bytes()),
        ):
            assert np.array_equal(found.predict(features), wanted)


@library("joblib")
def test_results_remembered(place):
    """`Memory`: what was computed here is not computed again, neither here nor on another mount."""
    import joblib

    def remembering(folder, calls):
        memory = joblib.Memory(folder, verbose=0)

        def square(number):
            calls.append(number)
            return number * number

        square.__module__ = "squares"
        return memory.cache(square)

    calls = []
    first = remembering(place.here, calls)
    assert [first(n) for n in (2, 3, 2)] == [4, 9, 4]
    assert calls == [2, 3]
    for folder in place.elsewhere():
        assert [remembering(folder, calls)(n) for n in (2, 3)] == [4, 9]
    assert calls == [2, 3]


@library("lightgbm")
def test_boosted_trees_of_lightgbm(place, measured):
    """A binary dataset file and one of text, both trained from by path; `save_model`, and training on from a model."""
    import lightgbm
    import numpy as np

    features, labels = measured
    options = {"objective": "binary", "verbose": -1, "num_threads": 1, "deterministic": True, "seed": 0}
    lightgbm.Dataset(features, labels, params=options).save_binary(place.here / "train.bin")
    np.savetxt(place.here / "train.csv", np.c_[labels, features], delimiter=",")
    model = lightgbm.train(options, lightgbm.Dataset(features, labels), 5)
    model.save_model(place.here / "model.txt")
    wanted = model.predict(features)
    for folder in place.readers():
        for name in ("train.bin", "train.csv"):
            again = lightgbm.train(options, lightgbm.Dataset(folder / name, params=options), 5)
            assert np.allclose(again.predict(features), wanted)
        assert np.array_equal(lightgbm.Booster(model_file=folder / "model.txt").predict(features), wanted)
    more = lightgbm.train(options, lightgbm.Dataset(features, labels), 5, init_model=place.there / "model.txt")
    assert more.num_trees() == 10


@library("xgboost")
def test_boosted_trees_of_xgboost(place, measured):
    """`save_model` as JSON and UBJ, `TrainingCheckPoint` in a folder, and a LibSVM file read by path."""
    import numpy as np
    import xgboost
    from sklearn.datasets import dump_svmlight_file

    features, labels = measured
    options = {"objective": "binary:logistic", "nthread": 1, "seed": 0}
    dump_svmlight_file(features, labels, str(place.here / "train.libsvm"))
    (place.here / "rounds").mkdir()
    kept = xgboost.callback.TrainingCheckPoint(directory=place.here / "rounds", interval=1)
    model = xgboost.train(options, xgboost.DMatrix(features, labels), 5, callbacks=[kept])
    wanted = model.predict(xgboost.DMatrix(features))
    for form in ("json", "ubj"):
        model.save_model(place.here / f"model.{form}")
    assert [key for key in place.keys() if key.startswith("rounds/")] == [f"rounds/model_{n}.ubj" for n in range(1, 5)]
    for folder in place.readers():
        rows = xgboost.DMatrix(f"{folder}/train.libsvm?format=libsvm&indexing_mode=1")
        assert rows.num_row() == len(labels)
        for form in ("json", "ubj"):
            found = xgboost.Booster(model_file=folder / f"model.{form}")
            assert np.array_equal(found.predict(xgboost.DMatrix(features)), wanted)
