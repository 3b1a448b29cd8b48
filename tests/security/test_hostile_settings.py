"""Whatever is in the settings file or the environment, a command says in one line what is wrong with it, or works."""

import os
import subprocess
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings

from mountd.cli import run
from mountd.config import Folders, MountSettings
from mountd.errors import EXIT_CONFIG, EXIT_UNREACHABLE, EXIT_USAGE, UserError
from mountd.stores.registry import Registry

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

LIMITS = [0, -1, 1, 2**32, 2**63, 2**64, 10**400, float("inf"), float("nan"), -0.0, True]
SCALARS = st.one_of(
    st.sampled_from(
        [*LIMITS, "", "inf", "9" * 400, "9" * 400 + "G", "\0", "../../x", "~nobody/x", "s3://", "file:", "env:"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.times(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=4,
)
MOUNT = st.dictionaries(
    st.sampled_from([*MountSettings.__dataclass_fields__, "unknown"]), VALUES, max_size=3
)  # fmt: skip
STORE = st.fixed_dictionaries(
    {},
    optional={
        "flavor": st.sampled_from(["local", "s3", "gcs", "azure", "fsspec", "none"]) | VALUES,
        "path": st.sampled_from(["/tmp/x", "s3://b/p", "relative", "az://c", "memory://x", "file:///etc/../x"])
        | VALUES,
        "options": st.dictionaries(st.sampled_from(["key", "secret", "endpoint_url", "x"]), VALUES, max_size=2)
        | VALUES,
        "mount": MOUNT | VALUES,
        "description": VALUES,
    },
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "active": st.sampled_from(["a", "default", "b"]) | VALUES,
        "mount": MOUNT | VALUES,
        "stores": st.dictionaries(st.sampled_from(["a", "default", "../x", "", "é"]), STORE | VALUES, max_size=2)
        | VALUES,
    },
)
COMMANDS = [
    ["store", "list"],
    ["store", "list", "--json"],
    ["store", "describe", "a"],
    ["store", "describe", "default", "--json"],
    ["store", "set", "a"],
    ["store", "update", "a", "--description", "x"],
    ["status"],
    ["path", "s3://b/p/x"],
    ["unmount"],
]


@pytest.fixture(scope="module")
def home():
    """A home of its own for a whole run of examples; yields where the settings file is."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG", "STATE", "DATA"):
            patch.setenv(f"XDG_{name}_HOME", f"{folder}/{name.lower()}")
        patch.setenv("XDG_RUNTIME_DIR", f"{folder}/run")
        patch.setenv("HOME", folder)
        place = Path(folder) / "config" / "mountd" / "config.toml"
        place.parent.mkdir(parents=True)
        yield place


def require_one_line(home, written, capsys):
    """Run the commands; none ends with a traceback, and what fails says why in one line."""
    for command in COMMANDS:
        home.write_bytes(written)
        home.chmod(0o600)
        code = run(command)
        said = capsys.readouterr()
        assert code in (0, EXIT_USAGE, EXIT_CONFIG), (command, said.err)
        assert (code == 0) == (said.err == ""), (command, said.err)
        if code:
            assert said.err.startswith("mountd: error: ")
            assert said.err.count("\n") == 1
    require_settings(home)


def require_settings(home):
    """Settings for a mount are all in range, or there are none."""
    try:
        registry = Registry(Folders.of_this_user())
        found = registry.mount_settings(registry.resolve(), {})
    except UserError:
        return
    assert found.freshness >= 0
    assert 0 <= found.cache_size < 2**63
    assert all(number is None or 0 <= number < 2**32 - 1 for number in (found.uid, found.gid))


@fuzz
@given(body=SETTINGS)
@example(body={"mount": {"freshness": 10**400}})
@example(body={"mount": {"cache_size": "9" * 400}})
@example(body={"mount": {"uid": 2**40}})
@example(body={"active": "a", "stores": {"a": {"flavor": "local", "path": "/a\0b"}}})
@example(body={"active": "a", "stores": {"a": {"flavor": "s3", "path": "s3://["}}})
def test_any_values_are_told_of_in_one_line(home, capsys, body):
    """Through the commands as they are run, in this process."""
    require_one_line(home, tomli_w.dumps(body).encode(), capsys)


@fuzz
@given(written=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(written=b"a = " + b"[" * 5000)
@example(written=b"a = " + b"9" * 5000)
@example(written=b"\xff\xfe")
def test_any_bytes_are_told_of_in_one_line(home, capsys, written):
    """TOML or not."""
    require_one_line(home, written, capsys)


@pytest.mark.parametrize(
    "written",
    [
        *(b"\0", b"\xff", b"a = " + b"[" * 5000, b"[mount]\nuid = 99999999999", b"active = []", b"stores = 1"),
        b'[stores.a]\nflavor = "s3"\npath = "s3://["\n',
    ],
)
def test_a_real_process_says_it_in_one_line(host, written):
    """Also the one that would mount."""
    place = host.folder / "config" / "mountd" / "config.toml"
    place.parent.mkdir(parents=True)
    place.write_bytes(written)
    for command in (["mount"], ["mount", "a"], ["store", "list"]):
        done = host.run(*command, check=False)
        if done.returncode == 0:
            assert done.stderr == ""
            continue
        assert done.returncode in (EXIT_USAGE, EXIT_CONFIG, EXIT_UNREACHABLE)
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("mountd: error: ")
    place.unlink()


def test_arguments_that_are_no_text_are_told_of(host):
    """Bytes that are not UTF-8 come as they are."""
    for argument in (b"\xff", b"s3://\xff/x", b"../\xff"):
        command = [*map(os.fsencode, host.command("store", "describe")), argument]
        done = subprocess.run(command, env=host.environment, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stderr.count(b"\n")) == (EXIT_USAGE, 1), done.stderr
