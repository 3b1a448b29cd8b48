"""The flavors: forms of roots, options, file systems, and custom ones from installed packages."""

import inspect
import subprocess
import sys
import textwrap

import pytest
import s3fs

from mountd.errors import UserError
from mountd.stores.catalogue import BrokenFlavor, FlavorCatalogue
from mountd.stores.flavor import Flavor


@pytest.fixture
def catalogue():
    return FlavorCatalogue()


@pytest.mark.parametrize(
    ("flavor", "path", "root"),
    [
        ("s3", "s3://bucket", "s3://bucket"),
        ("s3", "S3://bucket/a b/100%25/ü/", "s3://bucket/a b/100%25/ü"),
        ("gcs", "gcs://bucket/x", "gcs://bucket/x"),
        ("azure", "abfss://c@account.dfs.core.windows.net/x/", "abfss://c@account.dfs.core.windows.net/x"),
        ("fsspec", "memory://", "memory://"),
        ("fsspec", "memory:///a", "memory:///a"),
        ("local", "file:///srv/a%20b/", "/srv/a%20b"),
        ("local", "//srv//x/", "/srv/x"),
        ("local", "/", "/"),
    ],
)
def test_a_root_is_kept_in_one_form(catalogue, flavor, path, root):
    """Lower-case scheme, no trailing slash, everything else literally; applying it twice changes nothing."""
    kind = catalogue.get(flavor)
    assert kind.normalise(path) == root
    assert kind.normalise(root) == root


def test_a_local_path_is_expanded_and_made_absolute(catalogue, monkeypatch, tmp_path):
    """`~` also where the shell leaves it, as in --path=~/x."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    local = catalogue.get("local")
    assert local.normalise("~/x") == f"{tmp_path}/home/x"
    assert local.normalise("x/../y") == f"{tmp_path}/y"


def test_a_password_inside_a_path_is_refused_and_not_repeated(catalogue):
    """It would be in every listing and log."""
    for flavor, path in (("s3", "s3://key:hunter2@bucket/x"), ("fsspec", "sftp://me:hunter2@host/x")):
        with pytest.raises(UserError, match="password") as caught:
            catalogue.get(flavor).normalise(path)
        assert "hunter2" not in str(caught.value)


def test_every_argument_of_the_library_that_belongs_to_a_store_is_an_option(catalogue):
    """What the constructor declares can be given, except the loop and the session, which are the process's."""
    declared = {
        each.name
        for each in inspect.signature(s3fs.S3FileSystem.__init__).parameters.values()
        if each.kind is each.POSITIONAL_OR_KEYWORD
    }
    offered = {option.name for option in catalogue.get("s3").options()}
    assert declared - offered == {"self", "session", "asynchronous", "loop"}


def test_s3_options_reach_s3fs_in_its_own_words(catalogue):
    """The file system is really made, without a request."""
    s3 = catalogue.get("s3")
    fs = s3.filesystem(
        "s3://bucket/x",
        {"key": "k", "secret": "s", "region": "eu-west-1", "endpoint_url": "http://127.0.0.1:1"},
    )
    assert (fs.key, fs.secret, fs.endpoint_url) == ("k", "s", "http://127.0.0.1:1")
    assert fs.client_kwargs["region_name"] == "eu-west-1"
    assert not fs.dircache.use_listings_cache
    other = s3.filesystem("s3://bucket/x", {"key": "k", "secret": "s", "region": "eu-west-1"})
    assert other is not fs


def test_a_storage_account_is_named_once(catalogue, monkeypatch):
    """In the root, the options or adlfs' variables: none, and two that differ, are refused with what to do."""
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    azure = catalogue.get("azure")
    for root, options in (
        ("abfs://c@acc.dfs.core.windows.net/x", {}),
        ("abfs://c@acc.dfs.core.windows.net/x", {"account_name": "acc"}),
        ("abfs://acc.dfs.core.windows.net/c/x", {"account_name": "acc"}),
        ("az://c/x", {"account_name": "acc"}),
    ):
        opened = azure.filesystem(root, options | {"account_key": "aGk="})
        assert (opened.account_name, opened.service_client.account_name) == ("acc", "acc")
    with pytest.raises(UserError, match=r"in the account 'acc', but the option account_name is 'other': leave it out"):
        azure.filesystem("abfs://c@acc.dfs.core.windows.net/x", {"account_name": "other"})
    with pytest.raises(UserError, match="give the store the option account_name or connection_string"):
        azure.filesystem("az://c/x", {"account_key": "aGk="})
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acc")
    assert azure.filesystem("az://c/x", {"account_key": "aGk="}).account_name == "acc"


def test_the_fsspec_flavor_opens_any_protocol(catalogue):
    """memory:// needs neither account nor network."""
    fs = catalogue.get("fsspec").filesystem("memory://flavor-test", {})
    fs.pipe_file("/flavor-test/a", b"x")
    assert fs.cat_file("memory://flavor-test/a") == b"x"
    fs.rm("/flavor-test", recursive=True)


def test_listing_flavors_imports_no_cloud_library():
    """Descriptions are data; the libraries take longer to import than everything else."""
    script = (
        "import sys\nfrom mountd.stores.catalogue import FlavorCatalogue\n"
        "for flavor in FlavorCatalogue().all():\n    flavor.name, flavor.schemes, flavor.description, flavor.package\n"
        "print(sorted({'fsspec', 's3fs', 'gcsfs', 'adlfs', 'botocore', 'aiohttp'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Missing(Flavor):
    """A flavor whose library is not installed."""

    name = "missing"
    schemes = ("missing",)
    package = type(FlavorCatalogue().get("s3").package)("no-such-dist", "no_such_module")


def test_a_missing_library_is_named_with_the_way_to_install_it():
    """Not an ImportError with a traceback."""
    with pytest.raises(UserError, match="pip install no-such-dist"):
        Missing().filesystem("missing://x", {})


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Install a distribution with entry points, as pip would lay it out."""
    info = tmp_path / "acme_flavors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-flavors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent(
            """
            [mountd.flavors]
            acme = acme_flavors:Acme
            raising = acme_flavors_raising:Flavor
            absent = acme_flavors:Nowhere
            misnamed = acme_flavors:Acme
            nothing = acme_flavors:NOTHING
            s3 = acme_flavors:Acme
            """
        )
    )
    (tmp_path / "acme_flavors.py").write_text(
        textwrap.dedent(
            """
            from mountd.stores.flavor import Flavor, Option

            class Acme(Flavor):
                name = "acme"
                schemes = ("acme",)
                description = "our own store"
                known = (Option("level", "how much", type="int"), Option("pin", "the PIN", secret=True))

            NOTHING = 3
            """
        )
    )
    (tmp_path / "acme_flavors_raising.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("acme_flavors", None)


@pytest.mark.usefixtures("plugins")
def test_a_custom_flavor_is_used_like_a_built_in_one(registry):
    """By name, by scheme, with its options and its secrets."""
    store = registry.register("it", path="acme://x/y/", options={"level": "3", "pin": "env:PIN"})
    assert (store.flavor, store.root, store.options) == ("acme", "acme://x/y", {"level": 3, "pin": "env:PIN"})
    assert registry.get("it") == store
    with pytest.raises(UserError, match="pin is a secret"):
        registry.register("that", flavor="acme", path="acme://x", options={"pin": "1234"})


@pytest.mark.usefixtures("plugins")
def test_broken_entry_points_are_reported_and_harm_nobody(catalogue):
    """Each has one line that says why; the built-in flavors and the sound custom one work."""
    broken = {each.name: each.reason for each in catalogue.all() if isinstance(each, BrokenFlavor)}
    assert broken.keys() == {"raising", "absent", "misnamed", "nothing", "s3"}
    assert broken["raising"] == "RuntimeError: two"
    assert catalogue.for_path("acme://x").name == "acme"
    assert catalogue.for_path("s3://x").kind == "s3"
    with pytest.raises(UserError, match="broken: RuntimeError"):
        catalogue.get("raising")
