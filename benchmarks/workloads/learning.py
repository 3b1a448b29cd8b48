"""What machine learning reads: checkpoints, tables, samples, mapped weights."""

import random

from benchmarks import raw
from benchmarks.client import Crew
from benchmarks.workload import MiB, Workload
from benchmarks.workloads.reading import read_whole


def load_torch(job):
    """Load a checkpoint."""
    import torch

    yield
    torch.load(job.root / "torch/load.pt")


def read_columns(job):
    """Read two columns of a table."""
    import pandas

    yield
    frame = pandas.read_parquet(job.root / "table.parquet", columns=["c03", "c11"])
    yield
    assert len(frame) == job.sizes.table // 20 // 8


def epoch(job):
    """Read all samples in random order, a quarter by each of four processes."""
    order = list(range(job.sizes.samples))
    random.Random(0).shuffle(order)
    folder = job.part("samples")

    def work(number):
        for sample in order[number::4]:
            with open(folder / f"{sample:05}", "rb", buffering=0) as file:
                assert len(file.read()) == job.sizes.sample

    crew = Crew(4, work)
    yield
    crew.work()


def plain(name):
    """Read a file of weights with `read()`."""

    def act(job):
        yield
        read_whole(job.root / name)

    return act


def _touch_torch(path):
    import torch

    return sum(float(each.sum()) for each in torch.load(path, mmap=True).values())


def _touch_safetensors(path):
    import safetensors.torch

    return sum(float(each.sum()) for each in safetensors.torch.load_file(path).values())


def mapped(name, touch, processes):
    """Map a file of weights and use every byte, in each of some processes."""

    def act(job):
        import safetensors.torch
        import torch

        assert safetensors.torch
        torch.set_num_threads(1)
        crew = Crew(processes, lambda number: touch(job.root / name))
        yield
        crew.work()

    return act


def _weights(kind, touch):
    title = "torch.load(mmap=True)" if kind == "torch" else "safetensors load_file"
    ending = ".pt" if kind == "torch" else ""
    plainly = f"{kind}/read{ending}"
    shared = {"unit": "MiB/s", "amount": lambda sizes: sizes.weights / MiB}
    yield Workload(
        f"{kind}-read",
        f"read() of {{weights_mib}} MiB of weights ({kind}), cold",
        plain(plainly),
        data=(plainly,),
        limit=(raw.ranges(plainly),),
        **shared,
    )
    for processes in (1, 4):
        name = f"{kind}/mapped{processes}{ending}"
        yield Workload(
            f"{kind}-mapped-{processes}",
            f"{title} and use of {{weights_mib}} MiB by {processes} process{'es' * (processes > 1)}, cold",
            mapped(name, touch, processes),
            data=(name,),
            against=f"{kind}-read",
            least=0.9,
            libraries=("torch", "safetensors.torch"),
            **shared,
        )


READING = (
    Workload(
        "torch-load",
        "torch.load of {weights_mib} MiB, cold",
        load_torch,
        unit="MiB/s",
        amount=lambda sizes: sizes.weights / MiB,
        data=("torch/load.pt",),
        libraries=("torch",),
    ),
    Workload(
        "parquet",
        "pandas: 2 of 20 columns of {table_mib} MiB, cold",
        read_columns,
        data=("table.parquet",),
        libraries=("pandas", "pyarrow.parquet"),
    ),
    Workload(
        "loader-cold",
        "{samples} shuffled samples of 100 KiB by 4 processes, cold",
        epoch,
        amount=lambda sizes: sizes.samples,
        unit="ms each",
        data=("samples",),
        limit=(raw.concurrent_gets("samples", lambda sizes: sizes.samples),),
    ),
    Workload(
        "loader-again",
        "{samples} shuffled samples of 100 KiB by 4 processes, second epoch",
        epoch,
        amount=lambda sizes: sizes.samples,
        unit="ms each",
        data=("samples",),
        after="loader-cold",
        limit="page cache",
    ),
    *_weights("torch", _touch_torch),
    *_weights("safetensors", _touch_safetensors),
)
WRITING = ()
