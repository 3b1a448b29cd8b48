"""Writing large files, and changing parts of them. Each until the bucket has it."""

import os
import time
import zipfile

from benchmarks import raw
from benchmarks.workload import KiB, MiB, Workload


def save(size_of):
    """Write a file in pieces of 8 MiB, as Python programs do."""

    def act(job):
        job.prepare()
        data, size = raw.piece(), size_of(job.sizes)
        yield
        with open(job.mine / "saved", "wb") as file:
            for begin in range(0, size, len(data)):
                file.write(data[: size - begin])
        job.wait_for(saved=size)
        yield
        os.unlink(job.mine / "saved")

    return act


save_large, save_huge = save(lambda sizes: sizes.large), save(lambda sizes: sizes.huge)
save_backward, save_weights = save(lambda sizes: sizes.backward), save(lambda sizes: sizes.weights)


def _array(sizes):
    import numpy

    return numpy.frombuffer((raw.piece() * (sizes.backward // raw.PART + 1))[: sizes.backward], dtype=numpy.uint8)


def save_npz(job):
    """Save arrays with numpy, which seeks back to the headers."""
    import numpy

    job.prepare()
    array = _array(job.sizes)
    yield
    numpy.savez(job.mine / "saved.npz", array=array)
    job.wait_for(**{"saved.npz": os.path.getsize(job.mine / "saved.npz")})
    yield
    os.unlink(job.mine / "saved.npz")


def save_zip(job):
    """Write a ZIP file with one member, whose header is filled in afterwards."""
    job.prepare()
    data = bytes(_array(job.sizes))
    yield
    with zipfile.ZipFile(job.mine / "saved.zip", "w") as archive:
        archive.writestr("array", data)
    job.wait_for(**{"saved.zip": os.path.getsize(job.mine / "saved.zip")})
    yield
    os.unlink(job.mine / "saved.zip")


def put_to_edit(place, at, sizes):
    """Put the object that `edit` edits."""
    place.copy("large/first", f"{at}/edited/large")


def edit(job):
    """Change 4 KiB in the middle of a large file, until the bucket has it."""
    job.prepare()
    data, middle = os.urandom(4 * KiB), job.sizes.large // 2
    yield
    with open(job.mine / "edited/large", "r+b", buffering=0) as file:
        file.seek(middle)
        file.write(data)
    _wait_for_bytes(job, "edited/large", middle, data)


def _wait_for_bytes(job, name, begin, data):
    wanted = {"Bucket": job.bucket, "Key": f"{job.at}/{name}", "Range": f"bytes={begin}-{begin + len(data) - 1}"}
    job.calls_returned()
    while job.seen:
        job.own["GET"] += 1
        if job.client.get_object(**wanted)["Body"].read() == data:
            return
        time.sleep(0.01)


def append(job):
    """Append lines to a log that is opened and closed for each."""
    job.prepare()
    line = b"2026-01-01 00:00:00 step finished, nothing to complain about\n"
    yield
    for _ in range(job.sizes.appends):
        with open(job.mine / "log", "ab") as file:
            file.write(line)
    job.wait_for(log=job.sizes.appends * len(line))


def save_torch(job):
    """Save a state dict with torch."""
    import torch

    from benchmarks.data import tensors

    job.prepare()
    state = tensors(job.sizes.weights)
    yield
    torch.save(state, job.mine / "saved.pt")
    job.wait_for(**{"saved.pt": os.path.getsize(job.mine / "saved.pt")})
    yield
    os.unlink(job.mine / "saved.pt")


def save_safetensors(job):
    """Save a state dict with safetensors."""
    import safetensors.torch

    from benchmarks.data import tensors

    job.prepare()
    state = tensors(job.sizes.weights)
    size = len(safetensors.torch.save(state))
    yield
    safetensors.torch.save_file(state, job.mine / "saved.safetensors")
    job.wait_for(**{"saved.safetensors": size})
    yield
    os.unlink(job.mine / "saved.safetensors")


def _rate(name, title, act, amount, **more):
    return Workload(name, title, act, unit="MiB/s", amount=lambda sizes: amount(sizes) / MiB, group="writing", **more)


SEEKS_BACK = 1 / 1.2

WORKLOADS = (
    _rate(
        "write",
        "sequential write of {large_mib} MiB",
        save_large,
        lambda sizes: sizes.large,
        limit=raw.uploads(lambda sizes: sizes.large),
        least=0.85,
    ),
    _rate(
        "save-1g",
        "sequential write of {huge_mib} MiB, in pieces of 8 MiB",
        save_huge,
        lambda sizes: sizes.huge,
        limit=raw.uploads(lambda sizes: sizes.huge),
        least=1 / 1.1,
        only=("mountd", "rclone"),
    ),
    Workload(
        "edit",
        "4 KiB changed in the middle of {large_mib} MiB",
        edit,
        group="writing",
        data=("large/first",),
        setup=put_to_edit,
    ),
    Workload(
        "append",
        "{appends} lines appended to a log, each with open and close",
        append,
        unit="ms each",
        amount=lambda sizes: sizes.appends,
        group="writing",
    ),
    _rate("write-64m", "sequential write of {backward_mib} MiB", save_backward, lambda sizes: sizes.backward),
    _rate(
        "npz",
        "numpy.savez of {backward_mib} MiB, which seeks back",
        save_npz,
        lambda sizes: sizes.backward,
        against="write-64m",
        least=SEEKS_BACK,
    ),
    _rate(
        "zip",
        "zipfile of {backward_mib} MiB, which seeks back",
        save_zip,
        lambda sizes: sizes.backward,
        against="write-64m",
        least=SEEKS_BACK,
    ),
    _rate("write-100m", "sequential write of {weights_mib} MiB", save_weights, lambda sizes: sizes.weights),
    _rate(
        "safetensors-save",
        "safetensors save_file of {weights_mib} MiB",
        save_safetensors,
        lambda sizes: sizes.weights,
        libraries=("torch", "safetensors.torch"),
        against="write-100m",
        least=SEEKS_BACK,
    ),
    _rate(
        "torch-save",
        "torch.save of {weights_mib} MiB",
        save_torch,
        lambda sizes: sizes.weights,
        libraries=("torch",),
        against="write-100m",
        least=SEEKS_BACK,
    ),
)
