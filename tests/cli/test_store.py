"""`mountd store` as a process."""

import json
import os
import re
import stat

import pytest

from mountd import errors


@pytest.fixture
def settings(tmp_path):
    return tmp_path / "config" / "mountd" / "config.toml"


def test_a_store_is_registered_listed_described_activated_changed_and_deleted(mountd, tmp_path):
    """The life of a store, command by command."""
    done = mountd("store", "register", "prod", "-f", "s3", "--path=s3://bucket/art", "--option", "region=eu")
    assert done.returncode == 0, done.stderr
    assert "mountd mount prod" in done.stdout
    listed = json.loads(mountd("store", "list", "--json").stdout)
    assert [(each["name"], each["active"]) for each in listed] == [("default", True), ("prod", False)]
    assert mountd("store", "set", "prod").returncode == 0
    shown = json.loads(mountd("store", "describe", "--json").stdout)
    assert shown == {
        "name": "prod",
        "flavor": "s3",
        "path": "s3://bucket/art",
        "active": True,
        "description": "",
        "mount_point": str(tmp_path / "home" / "mountd" / "prod"),
        "options": {"region": "eu"},
        "mount": {},
        "mounted": False,
        "weaknesses": None,
    }
    assert mountd("store", "delete", "prod").returncode == errors.EXIT_BUSY
    update = ("store", "update", "prod", "--path", "s3://other", "--unset", "region", "--option", "anon=true")
    assert mountd(*update, "--description", "moved").returncode == 0
    shown = json.loads(mountd("store", "describe", "prod", "--json").stdout)
    assert (shown["path"], shown["options"], shown["description"]) == ("s3://other", {"anon": True}, "moved")
    assert mountd("store", "set", "default").returncode == 0
    assert mountd("store", "delete", "prod").returncode == 0
    assert [each["name"] for each in json.loads(mountd("store", "list", "--json").stdout)] == ["default"]


def test_path_is_taken_as_one_argument_or_two_and_its_tilde_is_expanded(mountd, tmp_path):
    """The shell expands `--path ~/x`, but not `--path=~/x`."""
    for name, arguments in (("one", ["--path=~/art"]), ("two", ["--path", "~/art"]), ("short", ["-p", "~/art"])):
        assert mountd("store", "register", name, *arguments).returncode == 0
        shown = json.loads(mountd("store", "describe", name, "--json").stdout)
        assert (shown["flavor"], shown["path"]) == ("local", str(tmp_path / "home" / "art"))


def test_a_list_in_a_pipe_is_one_tab_separated_line_per_store(mountd, tmp_path):
    """For `cut` and `awk`; also for names with spaces."""
    mountd("store", "register", "a", "--path", "s3://bucket/a b", "--description", "two words")
    lines = mountd("store", "list").stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        ["ACTIVE", "NAME", "FLAVOR", "PATH", "DESCRIPTION"],
        ["*", "default", "local", f"{tmp_path}/data/mountd/default", ""],
        ["", "a", "s3", "s3://bucket/a b", "two words"],
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["register", "taken", "--path", "s3://b"],
        ["register", "x", "-f", "s3", "--path", "gs://b"],
        ["register", "x", "-f", "s4", "--path", "s3://b"],
        ["register", "x", "--path", "s3://b", "--option", "endpont_url=x"],
        ["register", "x", "--path", "s3://b", "--option", "secret=hunter2"],
        ["update", "taken"],
        ["update", "taken", "--path", "gs://b"],
        ["update", "taken", "--unset", "region"],
        ["update", "nowhere", "--path", "s3://b"],
        ["delete", "nowhere"],
        ["delete", "default"],
        ["set", "nowhere"],
    ],
)
def test_a_mistake_is_one_line_and_leaves_the_settings_alone(mountd, settings, arguments):
    """Exit code 2, and the file is the same byte for byte."""
    mountd("store", "register", "taken", "--path", "s3://b")
    before = settings.read_bytes()
    done = mountd("store", *arguments)
    assert done.returncode == errors.EXIT_USAGE
    assert re.fullmatch(r"mountd: error: .+\n", done.stderr)
    assert "hunter2" not in done.stderr
    assert settings.read_bytes() == before


def test_secrets_are_never_printed(mountd, settings):
    """Resolved ones are not even read here; literal ones in a hand-written file are masked."""
    reference = ("--option", "secret=env:MY_SECRET")
    mountd("store", "register", "ref", "--path", "s3://b", *reference, MY_SECRET="hunter2")
    with settings.open("a") as file:
        file.write("[stores.lit]\nflavor='s3'\npath='s3://c'\n[stores.lit.options]\nsecret='hunter2'\n")
    outputs = [
        mountd("store", *command, MY_SECRET="hunter2")
        for command in (
            ["list"],
            ["list", "--json"],
            ["describe", "ref"],
            ["describe", "lit"],
            ["describe", "lit", "--json"],
            ["update", "lit", "--description", "x"],
        )
    ]
    assert all(done.returncode == 0 for done in outputs)
    assert not any("hunter2" in done.stdout + done.stderr for done in outputs)
    assert "env:MY_SECRET" in outputs[2].stdout
    assert "hunter2" in settings.read_text()


def test_the_settings_file_is_the_owners_alone(mountd, settings):
    """Whatever the umask of the shell is."""
    old = os.umask(0)
    try:
        mountd("store", "register", "a", "--path", "s3://b")
    finally:
        os.umask(old)
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o700


def test_what_a_store_promises_less_is_described(mountd):
    """Without asking it: what is known of the flavor, or that it is found out at mount."""
    stores = {
        "folder": ("--path=/srv/artifacts",),
        "aws": ("--path=s3://bucket",),
        "google": ("--path=gs://bucket",),
        "fake": ("--path=gs://bucket", "--option=endpoint_url=http://127.0.0.1:9"),
        "blobs": ("--path=abfs://container", "--option=account_name=me"),
        "other": ("--path=memory://x",),
    }
    told = {}
    for name, arguments in stores.items():
        assert mountd("store", "register", name, *arguments).returncode == 0
        told[name] = json.loads(mountd("store", "describe", name, "--json").stdout)["weaknesses"]
    assert (told["aws"], told["fake"]) == (None, None)
    assert told["blobs"] == []
    assert [line.partition(" to a large file")[0] for line in told["google"]] == ["a small change"]
    assert [line for line in told["other"] if "O_EXCL" in line]
    assert told["folder"]
    assert not [line for line in told["folder"] if "O_EXCL" in line]
    lines = mountd("store", "describe", "other").stdout.splitlines()
    assert [line.split("\t")[1] for line in lines if line.startswith("weaker\t")] == told["other"]
    assert "weaker\tfound out at mount" in mountd("store", "describe", "aws").stdout
    assert "weaker\tnothing, as far as" in mountd("store", "describe", "blobs").stdout
