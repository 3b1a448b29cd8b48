"""`mountd flavor` as a process."""

import json

SCHEMES = {
    "local": ["file"],
    "s3": ["s3", "s3a"],
    "gcs": ["gs", "gcs"],
    "azure": ["abfs", "az", "abfss"],
}


def test_flavors_are_listed_with_schemes_and_packages(mountd):
    """The five that come with mountd, as JSON and as lines."""
    listed = {each["name"]: each for each in json.loads(mountd("flavor", "list", "--json").stdout)}
    assert list(listed) == ["local", "s3", "gcs", "azure", "fsspec"]
    assert {name: listed[name]["schemes"] for name in SCHEMES} == SCHEMES
    assert {"memory", "sftp", "webdav", "hf"} <= set(listed["fsspec"]["schemes"])
    assert listed["s3"]["package"] == {"name": "s3fs", "installed": True}
    assert listed["local"]["package"] is None
    lines = [line.split("\t") for line in mountd("flavor", "list").stdout.splitlines()]
    assert lines[0] == ["NAME", "SCHEMES", "NEEDS", "DESCRIPTION"]
    assert lines[2][:3] == ["s3", "s3://, s3a://", "s3fs"]


def test_a_flavor_is_described_with_its_options(mountd):
    """Name, type, whether it is a secret, and one line for people."""
    shown = json.loads(mountd("flavor", "describe", "s3", "--json").stdout)
    options = {each["name"]: each for each in shown["options"]}
    assert options["secret"]["secret"]
    assert options["anon"] == {
        "name": "anon",
        "type": "bool",
        "secret": False,
        "description": "send unsigned requests, for public buckets",
    }
    assert {"endpoint_url", "region", "profile", "client_kwargs", "requester_pays"} <= options.keys()
    assert "endpoint_url\tstr\t" in mountd("flavor", "describe", "s3").stdout


def test_the_options_of_an_fsspec_protocol_are_those_of_its_class(mountd):
    """With a URI that names the protocol."""
    shown = json.loads(mountd("flavor", "describe", "fsspec", "--path", "http://host", "--json").stdout)
    assert "client_kwargs" in {each["name"] for each in shown["options"]}
    assert mountd("flavor", "describe", "fsspec", "--path", "nosuch://x").returncode == 2


def test_a_broken_custom_flavor_is_reported_in_the_list_and_harms_nothing_else(mountd, tmp_path):
    """An installed package whose entry point cannot be loaded."""
    info = tmp_path / "site" / "broken-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mountd.flavors]\nlost = no_such_package:Flavor\n")
    path = str(tmp_path / "site")
    done = mountd("flavor", "list", PYTHONPATH=path)
    assert done.returncode == 0
    assert "BROKEN: ModuleNotFoundError" in done.stdout.splitlines()[-1]
    assert done.stderr == ""
    found = json.loads(mountd("flavor", "list", "--json", PYTHONPATH=path).stdout)[-1]
    assert found["name"] == "lost"
    assert "no_such_package" in found["error"]
    assert mountd("store", "register", "a", "--path", "s3://b", PYTHONPATH=path).returncode == 0
    assert mountd("flavor", "describe", "lost", PYTHONPATH=path).returncode == 2
