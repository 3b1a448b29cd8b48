"""ZenML itself, with its database and command line, on a store mounted from S3."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from tests.kits import Bucket

HERE = Path(__file__).parent
EXAMPLE = HERE.parent.parent / "docs/examples/zenml_pipeline.py"
FLAVOR = "mountd.integrations.zenml.MountdArtifactStoreFlavor"


class ZenML:
    """ZenML on a host, with settings of its own."""

    def __init__(self, host):
        self.host = host
        host.environment |= {
            "ZENML_CONFIG_PATH": str(host.folder / "zenml"),
            "ZENML_ANALYTICS_OPT_IN": "false",
            "ZENML_ENABLE_REPO_INIT_WARNINGS": "false",
            "ZENML_LOGGING_COLORS_DISABLED": "true",
            "PYTHONWARNINGS": "ignore",
        }
        host.folder.joinpath("work").mkdir()

    def python(self, *arguments, check=True):
        """Run Python where ZenML is at home."""
        return self._execute(sys.executable, *arguments, check=check)

    def json(self, *arguments):
        """Run Python, and return what it prints last, as JSON."""
        return json.loads(self.python(*arguments).stdout.splitlines()[-1])

    def run(self, *arguments):
        """Run the command `zenml`."""
        return self._execute(Path(sys.executable).parent / "zenml", *arguments)

    def _execute(self, *command, check=True):
        done = subprocess.run(
            [*map(str, command)],
            cwd=self.host.folder / "work",
            env=self.host.environment,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done


@pytest.fixture
def bucket(s3_server):
    """An empty bucket with an independent client."""
    return Bucket(s3_server)


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
    host.environment |= bucket.environment
    pairs = [part for key, value in bucket.options.items() for part in ("--option", f"{key}={value}")]
    host.run("store", "update", "prod", *pairs)

    done = zenml.python(EXAMPLE, check=False)
    assert done.returncode != 0
    assert "mountd mount prod" in done.stdout + done.stderr
    assert bucket.keys() == []
    assert not (host.folder / "home/mountd").exists()

    assert "Mounted" in host.run("mount", "--zenml").stdout
    zenml.python(EXAMPLE)
    loaded = zenml.json(HERE / "load.py", EXAMPLE)
    uris = loaded.pop("uris")
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
    key = uris["measurements"].removeprefix(f"{bucket.root}/") + "/table.parquet"
    assert pandas.read_parquet(io.BytesIO(bucket.get(key)))["y"].tolist() == line
    logs = [key for key in bucket.keys() if "/logs/" in key]
    assert logs
    assert any(bucket.get(key) for key in logs)

    assert zenml.json(HERE / "bounds.py", bucket.root) == {
        "let through": [],
        "ZenML checks": True,
        "local files": "LocalFilesystem",
        "schemes": ["", "s3://"],
    }


def test_without_zenml_the_commands_say_what_to_install(host, tmp_path):
    """One line, and nothing has changed."""
    (tmp_path / "zenml.py").write_text("raise ImportError('not here')\n")
    host.environment["PYTHONPATH"] += f":{tmp_path}"
    for command in (("store", "import-zenml"), ("mount", "--zenml")):
        done = host.run(*command, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "pip install zenml" in done.stderr
