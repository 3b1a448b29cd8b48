"""What lies in the store before anything is measured: made once as local files, then copied to each store."""

import os
import subprocess

from benchmarks.workload import KiB, MiB


def _bytes(path, size):
    """Write a file that cannot be compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    piece = os.urandom(min(size, 4 * MiB))
    with path.open("wb") as file:
        for begin in range(0, size, len(piece)):
            file.write(piece[: size - begin])


def _file(size_of):
    return lambda path, sizes: _bytes(path, size_of(sizes))


def _files(count_of, size_of):
    """A directory of files `00000`, `00001`, ..."""

    def make(path, sizes):
        path.mkdir(parents=True)
        data = os.urandom(size_of(sizes))
        for number in range(count_of(sizes)):
            (path / f"{number:05}").write_bytes(data)

    return make


def tensors(size):
    """Return a state dict of about `size` bytes: tensors of 4 MiB, as in a transformer's layers."""
    import torch

    each = min(size, 4 * MiB)
    return {f"layer.{i}.weight": torch.rand(each // 4) for i in range(size // each)}


def _torch(path, sizes):
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors(sizes.weights), path)


def _safetensors(path, sizes):
    import safetensors.torch

    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors(sizes.weights), path)


def _table(path, sizes):
    """A parquet file of 20 columns in 8 row groups."""
    import numpy
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sizes.table // 20 // 8
    made = numpy.random.default_rng(0)
    columns = {f"c{i:02}": made.random(rows) for i in range(20)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=-(-rows // 8), compression="none")


def _package(path, sizes):
    """A package of pure Python that imports all its modules, in sub-packages of ten."""
    lines = [f"value_{i} = {i}\n\n\ndef function_{i}(x):\n    return x + {i}\n" for i in range(100)]
    names = []
    for number in range(sizes.modules):
        folder = path / "weighed" / f"part{number // 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / f"module{number}.py").write_text("\n\n".join(lines))
        names.append(f"weighed.part{number // 10}.module{number}")
    (path / "weighed" / "__init__.py").write_text("".join(f"import {name}\n" for name in names))


def _tree(path, sizes):
    for number in range(sizes.tree):
        _bytes(path / f"d{number % sizes.directories:02}" / f"f{number:03}", 4 * KiB)


def _repository(path, sizes):
    for number in range(sizes.cloned):
        _bytes(path / f"d{number % 12:02}" / f"f{number:03}", 4 * KiB)
    author = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    for arguments in (("init", "-q"), ("add", "."), (*author, "commit", "-q", "-m", "files")):
        subprocess.run(["git", *arguments], cwd=path, check=True, capture_output=True)


# How each part is made. `local/` is not in the store: it is what is copied there.
PARTS = {
    "large/first": _file(lambda sizes: sizes.large),
    "large/sequential": _file(lambda sizes: sizes.large),
    "large/random4k": _file(lambda sizes: sizes.large),
    "large/random128k": _file(lambda sizes: sizes.large),
    **{f"parallel/{number}": _file(lambda sizes: sizes.parallel) for number in range(4)},
    "small": _files(lambda sizes: sizes.small, lambda sizes: 4 * KiB),
    "scanned": _files(lambda sizes: sizes.small, lambda sizes: 100),
    "named": _files(lambda sizes: sizes.small, lambda sizes: 100),
    "many": _files(lambda sizes: sizes.many, lambda sizes: 100),
    "samples": _files(lambda sizes: sizes.samples, lambda sizes: sizes.sample),
    "package": _package,
    "table.parquet": _table,
    "torch/load.pt": _torch,
    "torch/read.pt": _torch,
    "torch/mapped1.pt": _torch,
    "torch/mapped4.pt": _torch,
    "safetensors/read": _safetensors,
    "safetensors/mapped1": _safetensors,
    "safetensors/mapped4": _safetensors,
    "local/tree": _tree,
    "local/repository": _repository,
}


def build(folder, names, sizes):
    """Make the parts with these names in a folder, as far as they are not there."""
    for name in sorted(names):
        path = folder / sizes.where(name)
        if not path.exists():
            PARTS[name](path, sizes)
