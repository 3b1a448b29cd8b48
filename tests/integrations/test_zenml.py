"""ZenML itself, with its database and command line, on a store mounted from S3."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy
import pandas
import pytest

from tests.integrations.zenml_client import ZenML
from tests.kits import Bucket

HERE = Path(__file__).parent
EXAMPLE = HERE.parent.parent / "docs/examples/zenml_pipeline.py"
FLAVOR = "mountd.integrations.zenml.MountdArtifactStoreFlavor"


@pytest.fixture
def bucket(s3_server):
    """An empty bucket with an independent client."""
    return Bucket(s3_server)


@pytest.mark.timeout(400)  # ZenML is started eight times
def test_a_pipeline_keeps_its_artifacts_in_a_mounted_bucket(host, bucket):
    """From a registered flavor to artifacts that another process loads, and that are plain objects to everybody else.

    Without the mount, it says which command mounts the store, and writes nothing. Secrets of ZenML's stores stay there.
    """
    zenml = ZenML(host)
    zenml.run("artifact-store", "flavor", "register", FLAVOR)
    (host.folder / "lab").mkdir()
    zenml.python(HERE / "set_up.py", f"{bucket.root}/artifacts", host.folder / "lab")

    said = host.run("store", "import-zenml").stdout
    assert f"Registered store 'lab-store': local, {host.folder}/lab" in said
    assert f"Registered store 'prod': s3, {bucket.root}/artifacts" in said
    # Both have a store called `default`, and it is not the same one.
    assert f"Registered store 'zenml-default': local, {host.folder}/zenml" in said
    assert_withheld(host, said)
    host.environment |= bucket.environment
    pairs = [part for key, value in bucket.options.items() for part in ("--option", f"{key}={value}")]
    host.run("store", "update", "prod", *pairs)

    done = zenml.python(EXAMPLE, check=False)
    assert done.returncode != 0
    assert "mountd mount prod" in done.stdout + done.stderr
    assert bucket.keys() == []
    assert not (host.folder / "home/mountd/prod").exists()

    refused = host.run("mount", "--zenml", "prod", host.folder / "elsewhere", check=False)
    assert (refused.returncode, "leave out 'prod'" in refused.stderr) == (2, True)
    assert "Mounted" in host.run("mount", "--zenml").stdout
    zenml.python(EXAMPLE)
    loaded = zenml.json(HERE / "load.py", EXAMPLE, bucket.root)
    bounds, uris = loaded.pop("bounds"), loaded.pop("uris")
    line = [2.0 * x + 1 for x in range(10)]
    assert loaded == {
        "frame": line,
        "array": [10, 2],
        "counts": {"rows": 10},
        "model": 201.0,
        "report": "2.000\n",
        "measurements": list(range(10)),
    }
    assert all(uri.startswith(f"{bucket.root}/artifacts/") for uri in uris.values())
    assert_plain_objects(bucket, uris, line)
    assert bounds == {
        "let through": [],
        "ZenML checks": True,
        "local files": "LocalFilesystem",
        "schemes": ["", "s3://"],
        "walked when pruned": 1,
        "paths": ["s3://b/a", None, None, None, None],
    }


def assert_plain_objects(bucket, uris, line):
    """What ZenML has stored is read by a client that knows neither it nor mountd, log lines included."""

    def get(artifact, name):
        return bucket.get(f"{uris[artifact].removeprefix(f'{bucket.root}/')}/{name}")

    for artifact, name in (("frame", "df.parquet.gzip"), ("measurements", "table.parquet")):
        assert pandas.read_parquet(io.BytesIO(get(artifact, name)))["y"].tolist() == line
    assert numpy.load(io.BytesIO(get("array", "data.npy")))[:, 1].tolist() == line
    assert json.loads(get("counts", "data.json")) == {"rows": 10}
    assert pickle.loads(get("model", "artifact.pkl")).predict(pandas.DataFrame({"x": [100]})) == pytest.approx([201])
    with tarfile.open(fileobj=io.BytesIO(get("report", "data.tar.gz"))) as archive:
        (member,) = [each for each in archive if each.isfile()]
        assert (Path(member.name).name, archive.extractfile(member).read()) == ("slope.txt", b"2.000\n")
    lines = [line for key in bucket.keys() if "/logs/" in key for line in bucket.get(key).splitlines()]
    assert "The slope is 2.000" in [json.loads(line)["message"].strip() for line in lines]


def assert_withheld(host, said):
    """Secrets among the options of ZenML's store are told of, and are nowhere in our settings."""
    named = [line.strip().split()[1] for line in said.splitlines() if "stays with ZenML" in line]
    nested = ["client_kwargs.aws_secret_access_key", "config_kwargs.proxies.http", "config_kwargs.user_agent"]
    assert named == ["key", "secret", *nested, "key", "secret"]
    settings = (host.folder / "config/mountd/config.toml").read_text()
    assert "http://lab:9000" in settings
    assert "addressing_style" in settings
    for text in (said, settings):
        assert "hunter2" not in text
        assert "{{" not in text


def test_without_zenml_the_commands_say_what_to_install(host, tmp_path):
    """One line, and nothing has changed."""
    (tmp_path / "zenml.py").write_text("raise ImportError('not here')\n")
    host.environment["PYTHONPATH"] += f":{tmp_path}"
    for command in (("store", "import-zenml"), ("mount", "--zenml")):
        done = host.run(*command, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "pip install zenml" in done.stderr


def test_what_zenml_fails_with_is_one_line(host):
    """Its database, its server and its settings are not ours, and neither are its tracebacks."""
    host.environment |= {"ZENML_CONFIG_PATH": "/dev/null/zenml", "ZENML_ANALYTICS_OPT_IN": "false"}
    done = host.run("mount", "--zenml", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ZenML does not say what its stores are: NotADirectoryError" in done.stderr
