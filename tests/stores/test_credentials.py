"""Secrets: referred to, resolved late, never shown."""

import pytest

from mountd.errors import EXIT_CONFIG, UserError
from mountd.stores import credentials
from mountd.stores.catalogue import FlavorCatalogue
from mountd.stores.options import open_options, parse_options
from mountd.stores.store import StoreConfig

S3 = FlavorCatalogue().get("s3")


def test_references_are_resolved_when_the_store_is_opened_and_not_before(monkeypatch, tmp_path):
    """The variable may be set, and the file written, long after registering."""
    options = parse_options(
        S3,
        "s3://b",
        {
            "secret": "env:MY_SECRET",
            "token": f"file:{tmp_path}/token",
            "anon": "env:MY_ANON",
            "client_kwargs": '{"aws_session_token": "env:MY_SECRET", "verify": false}',
        },
    )
    store = StoreConfig("it", "s3", "s3://b", options)
    monkeypatch.setenv("MY_SECRET", "hunter2")
    monkeypatch.setenv("MY_ANON", "true")
    (tmp_path / "token").write_text("tok en\n")
    assert open_options(S3, store) == {
        "secret": "hunter2",
        "token": "tok en",
        "anon": True,
        "client_kwargs": {"aws_session_token": "hunter2", "verify": False},
    }


@pytest.mark.parametrize(
    ("reference", "named"), [("env:NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"), ("file:/no/such/file", "/no/such/file")]
)
def test_what_a_reference_lacks_is_named(reference, named):
    """One line with the option and the variable or file."""
    store = StoreConfig("it", "s3", "s3://b", {"secret": reference})
    with pytest.raises(UserError) as caught:
        open_options(S3, store)
    assert "option secret" in str(caught.value)
    assert named in str(caught.value)
    assert caught.value.exit_code == EXIT_CONFIG


def test_a_resolved_value_of_the_wrong_type_is_not_repeated(monkeypatch):
    """The parser's message quotes the value; ours, and the chain behind it, must not."""
    monkeypatch.setenv("MIXED_UP", "hunter2")
    store = StoreConfig("it", "s3", "s3://b", {"anon": "env:MIXED_UP"})
    with pytest.raises(UserError) as caught:
        open_options(S3, store)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_nothing_that_holds_a_resolved_secret_shows_it(monkeypatch):
    """`repr`, `str` and formatting give names only, and a store's repr no options."""
    monkeypatch.setenv("MY_SECRET", "hunter2")
    store = StoreConfig("it", "s3", "s3://b", {"secret": "env:MY_SECRET"})
    resolved = open_options(S3, store)
    assert resolved["secret"] == "hunter2"
    assert "hunter2" not in f"{resolved!r} {resolved} {StoreConfig('it', 's3', 's3://b', resolved)!r}"


@pytest.mark.parametrize(
    ("flavor", "root", "options"),
    [
        ("s3", "s3://b", {"secret": "hunter2"}),
        ("s3", "s3://b", {"token": "hunter2"}),
        ("s3", "s3://b", {"client_kwargs": '{"aws_secret_access_key": "hunter2"}'}),
        ("s3", "s3://b", {"endpoint_url": "http://me:hunter2@host"}),
        ("gcs", "gs://b", {"token": "hunter2"}),
        ("azure", "az://c", {"account_key": "hunter2"}),
        ("azure", "az://c", {"connection_string": "AccountKey=hunter2"}),
        ("fsspec", "sftp://h", {"password": "hunter2"}),
        ("fsspec", "sftp://h", {"passphrase": "hunter2"}),
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(flavor, root, options):
    """The message says how to give it instead."""
    with pytest.raises(UserError, match="env:") as caught:
        parse_options(FlavorCatalogue().get(flavor), root, options)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("literal", ["anon", "google_default", "cloud", "/keys/service.json", "~/service.json"])
def test_a_gcs_token_that_is_a_mode_or_a_file_is_no_secret(literal):
    """gcsfs has one option for the way to find credentials and for the credentials."""
    assert parse_options(FlavorCatalogue().get("gcs"), "gs://b", {"token": literal}) == {"token": literal}


def test_a_key_file_of_gcs_is_found_in_the_home_folder_and_has_to_be_there(monkeypatch, tmp_path):
    """gcsfs knows no `~`, and takes the path of a file that is missing for a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    flavor, asked = FlavorCatalogue().get("gcs"), {"token": "~/service.json"}
    with pytest.raises(UserError, match=r"there is no file ~/service\.json") as caught:
        flavor.arguments("gs://b", asked)
    assert caught.value.exit_code == EXIT_CONFIG
    (tmp_path / "service.json").write_text("{}")
    assert flavor.arguments("gs://b", asked) == {"token": f"{tmp_path}/service.json"}


def test_hand_written_secrets_are_masked_where_stores_are_shown():
    """References stay readable; literals do not, at any depth, nor passwords inside URLs."""
    shown = credentials.masked(
        {
            "key": "id",
            "secret": "hunter2",
            "token": "env:TOKEN",
            "endpoint_url": "http://me:hunter2@host/x",
            "client_kwargs": {"password": "hunter2", "verify": False, "list": [{"api_key": "hunter2"}]},
        },
        {option.name: option for option in S3.known},
    )
    assert "hunter2" not in repr(shown)
    assert (shown["key"], shown["token"], shown["client_kwargs"]["verify"]) == ("id", "env:TOKEN", False)
    assert shown["endpoint_url"] == f"http://me:{credentials.MASK}@host/x"
