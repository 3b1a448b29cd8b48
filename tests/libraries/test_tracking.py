"""Tools that keep their own folders: logs that grow, stores of runs, caches of data, contexts."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from tests.harness import CHECKOUT
from tests.libraries.places import eventually

library = pytest.mark.library


@pytest.fixture
def run(tmp_path):
    """Return what runs one of `tests/libraries/programs` as a user of its own, and returns its output."""
    settings = {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(CHECKOUT),
        "MLFLOW_ALLOW_FILE_STORE": "true",  # or mlflow asks for a database
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "true",
        "DVC_GLOBAL_CONFIG_DIR": str(tmp_path / "dvc"),
        "DVC_SYSTEM_CONFIG_DIR": str(tmp_path / "dvc"),
        "DVC_SITE_CACHE_DIR": str(tmp_path / "dvc"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "A Tester",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "tester@localhost",
    }

    def run(program, *arguments, text=""):
        done = subprocess.run(
            [sys.executable, "-m", f"tests.libraries.programs.{program}", *map(str, arguments)],
            env=os.environ | settings,
            cwd=tmp_path,  # mlflow makes folders where it is
            input=text,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def dvc(run):
    """Return what runs commands of DVC, each a list that begins with the folder."""
    return lambda *commands: run("dvc_commands", text="".join(json.dumps(list(map(str, c))) + "\n" for c in commands))


@library("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_events_read_while_they_are_written(place):
    """`SummaryWriter`: what `flush()` wrote is in the store; readers on both mounts follow the file as it grows."""
    import numpy as np
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    readers = [EventAccumulator(str(folder)) for folder in (place.here, place.there)]
    with SummaryWriter(place.here) as writer:
        for start in (0, 10, 20):
            for step in range(start, start + 10):
                writer.add_scalar("loss", 1 / (step + 1), step)
            writer.flush()
            (key,) = place.keys()
            assert place.store.get(key) == (place.here / key).read_bytes()
            for reader in readers:
                eventually(lambda reader=reader, count=start + 10: steps(reader.Reload()) == list(range(count)))
        writer.add_histogram("weights", np.arange(10.0))
        writer.add_hparams({"rate": 0.1}, {"accuracy": 0.9}, run_name="trial")
    for folder in (place.here, place.copy):
        assert complete(EventAccumulator(str(folder)).Reload())
    eventually(lambda: complete(EventAccumulator(str(place.there)).Reload()))


def complete(reader):
    """Whether a reader of events has seen all that the test writes, the histogram that came with the close too."""
    return steps(reader) == list(range(30)) and reader.Tags()["histograms"] == ["weights"]


def steps(reader):
    """Return the steps of the scalar `loss` that a reader of events has seen."""
    return [each.step for each in reader.Scalars("loss")] if "loss" in reader.Tags()["scalars"] else []


@library("mlflow")
def test_runs_of_mlflow(place, run):
    """The file store: parameters, metrics, artifacts and a scikit-learn model; a search; models loaded by path."""
    run_id = run("mlflow_runs", place.here, place.there).strip()
    metric = next(key for key in place.keys() if key.endswith(f"{run_id}/metrics/loss"))
    assert place.store.get(metric).count(b"\n") == 20
    assert place.here.as_uri().encode() in place.store.get(metric.replace("metrics/loss", "meta.yaml"))
    report = metric.replace("metrics/loss", "artifacts/reports/summary.txt")
    assert place.store.get(report) == b"a report\n"


@library("great_expectations")
def test_a_context_of_great_expectations(place, run):
    """A file context: suite, checkpoint, results and data docs; opened elsewhere and run on data that changed."""
    assert run("gx_context", place.here, place.there).split() == ["True", "0", "False", "1"]
    page = next(key for key in place.keys() if key.endswith("data_docs/local_site/index.html"))
    assert b"words" in place.store.get(page)
    results = [key for key in place.keys() if key.startswith("gx/uncommitted/validations/") and key.endswith(".json")]
    assert [json.loads(place.store.get(key))["success"] for key in sorted(results)] == [True, False]
    assert str(place.here).encode() not in place.store.get("gx/great_expectations.yml")


@pytest.fixture
def project(tmp_path):
    """Return what makes a project of data: ten files in a folder, and one of 20 MiB."""

    def make(folder):
        (folder / "data").mkdir(parents=True)
        for number in range(10):
            (folder / "data" / f"{number}.txt").write_text(f"sample {number}\n" * 100)
        (folder / "large.bin").write_bytes(os.urandom(1 << 20) * 20)
        subprocess.run(["git", "init", "--quiet", folder], check=True)
        return folder

    return make


def bytes_below(folder):
    """Return the bytes of a project's data."""
    paths = [folder / "large.bin", *(folder / "data").iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@library("dvc")
def test_a_remote_of_dvc(place, dvc, project, tmp_path):
    """A remote that is a path: `push` from one machine, `pull` on another; each object's name is its checksum."""
    ours, theirs = project(tmp_path / "ours"), tmp_path / "theirs"
    dvc(
        [ours, "init", "--quiet"],
        [ours, "remote", "add", "--default", "store", place.here / "remote"],
        [ours, "add", "--quiet", "data", "large.bin"],
        [ours, "push", "--quiet"],
    )
    stored = {key.removeprefix("remote/files/md5/").replace("/", ""): place.store.get(key) for key in place.keys()}
    assert len(stored) == 12
    assert all(name == hashlib.md5(data).hexdigest() + name[32:] for name, data in stored.items())
    subprocess.run(["git", "init", "--quiet", theirs], check=True)
    for name in ("data.dvc", "large.bin.dvc"):
        (theirs / name).write_bytes((ours / name).read_bytes())
    dvc(
        [theirs, "init", "--quiet"],
        [theirs, "remote", "add", "--default", "store", place.there / "remote"],
        [theirs, "pull", "--quiet"],
    )
    assert bytes_below(theirs) == bytes_below(ours)


@library("dvc")
@pytest.mark.parametrize("link", ["copy", "symlink"])
def test_a_cache_of_dvc(place, dvc, project, tmp_path, link):
    """A cache shared by path, with `cache.type` copy and symlink: `add`, data deleted, `checkout`."""
    ours = project(tmp_path / "ours")
    wanted = bytes_below(ours)
    dvc(
        [ours, "init", "--quiet"],
        [ours, "cache", "dir", place.here / "cache"],
        [ours, "config", "cache.type", link],
        [ours, "add", "--quiet", "data", "large.bin"],
    )
    for path in [ours / "large.bin", *(ours / "data").iterdir()]:
        path.unlink()
    dvc([ours, "checkout", "--quiet"])
    assert bytes_below(ours) == wanted
    assert (ours / "large.bin").is_symlink() == (link == "symlink")
    digest = hashlib.md5(wanted["large.bin"]).hexdigest()
    assert place.store.get(f"cache/files/md5/{digest[:2]}/{digest[2:]}") == wanted["large.bin"]


@library("dvc")
def test_a_project_of_dvc_on_the_mount(place, dvc, project):
    """Repository, cache and data on the mount: two versions, `checkout` of the first; `status` is clean elsewhere."""
    ours = project(place.here / "project")
    git = ["git", "-C", str(ours)]
    dvc([ours, "init", "--quiet"], [ours, "add", "--quiet", "data", "large.bin"])
    first = bytes_below(ours)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "-c", "user.name=T", "-c", "user.email=t@t", "commit", "--quiet", "-m", "first"], check=True)
    with open(ours / "data" / "0.txt", "a") as file:
        file.write("one more\n")
    dvc([ours, "add", "--quiet", "data"])
    subprocess.run([*git, "checkout", "--quiet", "data.dvc"], check=True)
    dvc([ours, "checkout", "--quiet", "--force"], [place.there / "project", "status", "--quiet"])
    assert bytes_below(ours) == first
    for folder in place.elsewhere():
        assert bytes_below(folder / "project") == first
