"""The examples in docs/examples run as they stand, and other clients of the store find what they have written.

Each is a program of its own, on a bucket of a real S3 server.
"""

import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas
import pytest
import torch

from tests.harness import mounts_below
from tests.kits import Bucket

EXAMPLES = Path(__file__).parent.parent / "docs/examples"
# What runs or looks at an example; the folder's own page is looked at below.
TESTED = {
    "README.md": "tests/test_examples.py",
    "append_log.py": "tests/test_examples.py",
    "checkpoints.py": "tests/test_examples.py",
    "container": "tests/systemd/test_container.py",
    "dataloader.py": "tests/test_examples.py",
    "first_steps.py": "tests/test_examples.py",
    "notebook.ipynb": "tests/test_examples.py",
    "zenml_pipeline.py": "tests/integrations/test_zenml.py",
}


@pytest.fixture
def bucket(s3_server):
    """An empty bucket with an independent client."""
    return Bucket(s3_server)


@pytest.fixture
def mount(host, bucket):
    """The bucket as the active store, mounted: what the examples use without an argument."""
    mounted = host.mount(bucket, name="prod")
    host.run("store", "set", "prod")
    return mounted


def execute(host, *command):
    """Run a program as the user of `host`, in a folder of its own; return the finished process."""
    work = host.folder / "work"
    work.mkdir(exist_ok=True)
    done = subprocess.run(
        [*map(str, command)], cwd=work, env=host.environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{host.logs()}"
    return done


def example(host, name, *arguments):
    """Run an example, which complains of nothing; return the lines that it prints."""
    done = execute(host, sys.executable, EXAMPLES / name, *arguments)
    assert done.stderr == ""
    return done.stdout.splitlines()


def sizes(lines):
    """Return the sizes in an example's lines of the form `SIZE bytes  URI`, by URI."""
    found = [re.fullmatch(r" *(\d+) bytes  (\S+)", line) for line in lines]
    return {each[2]: int(each[1]) for each in found if each}


def test_every_example_is_tested_and_told_of():
    """By a test that names it, and in the page of the folder."""
    assert {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"} == TESTED.keys()
    page = (EXAMPLES / "README.md").read_text()
    for name, test in TESTED.items():
        assert name in (EXAMPLES.parent.parent / test).read_text()
        assert name == "README.md" or f"]({name})" in page
    missing = [each for each in re.findall(r"\]\(([^)#]+)\)", page) if not (EXAMPLES / each).exists()]
    assert missing == []


def test_first_steps_need_nothing(host):
    """A store that is made for the program, and of which nothing is left: no mount, no file."""
    temporary = host.folder / "tmp"
    temporary.mkdir()
    host.environment["TMPDIR"] = str(temporary)
    lines = example(host, "first_steps.py")
    assert lines[:2] == ["read back: hello", "read back: 1000 rows, the last loss is 0.001"]
    assert [Path(uri).name for uri in sizes(lines)] == ["hello.txt", "metrics.parquet"]
    assert list(temporary.iterdir()) == []
    assert mounts_below(host.folder) == []
    assert not host.folder.joinpath("state").exists()


def test_first_steps_on_a_bucket(host, bucket):
    """By the name of its store, which is not mounted before and not afterwards; objects as large as is said."""
    host.mount(bucket, name="prod").unmount()
    said = sizes(example(host, "first_steps.py", "prod"))
    keys = ["examples/first_steps/hello.txt", "examples/first_steps/metrics.parquet"]
    assert bucket.keys() == keys
    assert said == {f"{bucket.root}/{key}": len(bucket.get(key)) for key in keys}
    assert bucket.get(keys[0]) == b"hello\n"
    assert len(pandas.read_parquet(io.BytesIO(bucket.get(keys[1])))) == 1000
    assert host.status() == []


def test_checkpoints_and_a_run_that_goes_on(host, bucket, mount):
    """Whole checkpoints in the bucket, of which the second run takes up the last one. The mount stays."""
    first, second = (example(host, "checkpoints.py") for _ in range(2))
    keys = [f"examples/checkpoints/epoch-{number:03}.pt" for number in range(6)]
    assert bucket.keys() == keys
    assert [line.partition(":")[0] for line in first] == ["saved s3"] * 3
    assert second[0] == f"goes on after {bucket.root}/{keys[2]}"
    assert [line.split()[1] for line in second[1:]] == [f"{bucket.root}/{key}:" for key in keys[3:]]
    found = [torch.load(io.BytesIO(bucket.get(key))) for key in keys]
    assert [each["epoch"] for each in found] == list(range(6))
    for before, after in itertools.pairwise(each["model"] for each in found):
        assert not all(torch.equal(before[name], after[name]) for name in before)
    assert mount.alive


def test_samples_read_by_four_workers(host, bucket, mount):
    """All of them in each epoch, written by the first run; the second one, on a machine that has none, fetches them."""
    # Torch tells machines with fewer cores than workers that they are few.
    host.environment["PYTHONWARNINGS"] = "ignore::UserWarning:torch.utils.data.dataloader"
    first = example(host, "dataloader.py")
    uri = f"{bucket.root}/examples/samples"
    epochs = [f"epoch {number}: 200 samples, of each class [50, 50, 50, 50]" for number in range(2)]
    assert first == [f"fetched 0 bytes of {uri}", *epochs]
    assert len(bucket.keys()) == 200
    mount.unmount()
    host.run("cache", "clear", "prod")
    total = sum(len(bucket.get(key)) for key in bucket.keys())
    assert example(host, "dataloader.py", "prod") == [f"fetched {total} bytes of {uri}", *epochs]


def test_a_log_that_every_run_appends_to(host, bucket, mount):
    """A line for each step of both runs, in order; what is said to be stored was."""
    first, second = (example(host, "append_log.py") for _ in range(2))
    assert (first[-1], second[-1]) == ("100 lines of all runs", "200 lines of all runs")
    stored = bucket.get("examples/log.jsonl")
    assert [json.loads(line)["step"] for line in stored.splitlines()] == [*range(100), *range(100)]
    assert second[-2] == f"step 99: {len(stored)} bytes are in {bucket.root}/examples/log.jsonl"


def test_the_notebook(host, bucket, mount):
    """Each cell, by a kernel of Jupyter; kept without outputs, so that there is something to run."""
    kept = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in kept.cells if cell.cell_type == "code")
    notebook = host.folder / "notebook.ipynb"
    shutil.copy(EXAMPLES / "notebook.ipynb", notebook)
    host.environment |= {"IPYTHONDIR": str(host.folder / "ipython"), "MPLCONFIGDIR": str(host.folder / "matplotlib")}
    execute(host, Path(sys.executable).parent / "jupyter-execute", "--inplace", notebook)
    outputs = [each for cell in nbformat.read(notebook, as_version=4).cells for each in cell.get("outputs", ())]
    assert [each for each in outputs if each.output_type == "error" or each.get("name") == "stderr"] == []
    (plot,) = [each for each in outputs if "image/png" in each.get("data", {})]
    assert plot.data["image/png"]
    (printed,) = [each.text.splitlines() for each in outputs if each.output_type == "stream"]
    keys = ["examples/notebook/loss.png", "examples/notebook/metrics.parquet"]
    assert printed[0] == "fetched 0 bytes"
    assert sizes(printed) == {f"{bucket.root}/{key}": len(bucket.get(key)) for key in keys}
    assert bucket.keys() == keys
    assert bucket.get(keys[0]).startswith(b"\x89PNG")
    assert pandas.read_parquet(io.BytesIO(bucket.get(keys[1])))["step"].tolist() == list(range(100))
    assert mount.alive
