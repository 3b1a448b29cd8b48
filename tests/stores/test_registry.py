"""The registry over a real settings file."""

import os
import stat
import subprocess
import sys
import tomllib

import pytest

from mountd.errors import EXIT_BUSY, EXIT_CONFIG, EXIT_USAGE, UserError
from mountd.stores.registry import Registry


def unmounted(store):
    return False


def test_a_new_machine_has_the_store_default_active_without_any_file(registry, folders):
    """Nothing has to be registered, and asking writes nothing."""
    store = registry.active()
    assert (store.name, store.flavor, store.root) == ("default", "local", str(folders.default_store))
    assert [each.name for each in registry.all()] == ["default"]
    assert not folders.config.exists()


def test_a_registered_store_is_found_again_by_another_process(registry, folders):
    """What `register` returned from is on disk."""
    registry.register("prod", path="s3://bucket/art/", options={"anon": "yes", "key": "env:KEY"}, description="ours")
    store = Registry(folders).get("prod")
    assert (store.flavor, store.root, store.description) == ("s3", "s3://bucket/art", "ours")
    assert store.options == {"anon": True, "key": "env:KEY"}


def test_settings_are_readable_by_the_owner_alone(registry, folders):
    """Mode 0600 in a folder of mode 0700, whatever the umask says."""
    old = os.umask(0)
    try:
        registry.register("prod", path="s3://bucket", options={})
    finally:
        os.umask(old)
    assert stat.S_IMODE(folders.settings_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folders.config.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("path", "flavor"),
    [
        ("/srv/art", "local"),
        ("file:///srv/art", "local"),
        ("s3://b", "s3"),
        ("gs://b", "gcs"),
        ("gcs://b", "gcs"),
        ("abfs://c", "azure"),
        ("az://c", "azure"),
        ("abfss://c@account.dfs.core.windows.net/p", "azure"),
        ("memory://x", "fsspec"),
        ("sftp://host/p", "fsspec"),
    ],
)
def test_the_scheme_decides_the_flavor(registry, path, flavor):
    """The flavor may be left out."""
    assert registry.register("it", path=path, options={}).flavor == flavor


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flavor": "s3", "path": "gs://b"}, "flavor s3 takes paths that begin with s3://"),
        ({"flavor": "local", "path": "s3://b"}, "flavor local takes a folder"),
        ({"flavor": "s4", "path": "s3://b"}, "unknown flavor 's4'"),
        ({"flavor": "azur", "path": "az://b"}, "did you mean azure"),
        ({"path": "nosuch://b"}, "no flavor has the scheme nosuch://"),
        ({"flavor": "fsspec", "path": "nosuch://b"}, "nosuch:// is none of them"),
        ({"path": "s3://"}, "names no bucket"),
        ({"path": "s3://b/../c"}, "'..'"),
        ({"path": "s3://b//c"}, "empty"),
        ({"path": "s3://b?versionId=1"}, "query"),
        ({"path": "file:///a/../b"}, "'..'"),
        ({"path": "file://host/a"}, "names a host"),
        ({"path": "s3://b", "options": {"endpont_url": "http://x"}}, "did you mean endpoint_url"),
        ({"path": "/srv", "options": {"key": "x"}}, "it takes none"),
        ({"path": "s3://b", "options": {"anon": "perhaps"}}, "neither true nor false"),
        ({"path": "s3://b", "options": {"client_kwargs": "{"}}, "type json"),
        ({"path": "s3://b", "options": {"client_kwargs": '{"verify": null}'}}, "null"),
        (
            {"path": "abfs://c@lab.dfs.core.windows.net", "options": {"account_name": "other"}},
            "in the account 'lab', but the option account_name is 'other': leave it out",
        ),
        ({"path": "s3://b", "name": "taken"}, "already"),
        ({"path": "s3://b", "name": "default"}, "already"),
        ({"path": "s3://b", "name": "../x"}, "cannot name a store"),
        ({"path": "s3://b", "name": "x" * 65}, "cannot name a store"),
        ({"path": "s3://b", "name": ""}, "cannot name a store"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(registry, folders, arguments, message):
    """The message says what would be right; the file stays byte for byte as it was."""
    registry.register("taken", path="s3://elsewhere", options={})
    before = folders.settings_file.read_bytes()
    with pytest.raises(UserError) as caught:
        registry.register(**({"name": "it", "options": {}} | arguments))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_USAGE
    assert folders.settings_file.read_bytes() == before


def test_what_does_not_fit_the_path_is_refused_by_an_update_too(registry, folders):
    """Whichever of both is changed; a reference may stand for what fits."""
    registry.register("lab", path="az://c", options={"account_name": "other"})
    before = folders.settings_file.read_bytes()
    path = "abfs://c@lab.dfs.core.windows.net"
    with pytest.raises(UserError, match="in the account 'lab'"):
        registry.update("lab", mounted=unmounted, path=path, options={})
    assert folders.settings_file.read_bytes() == before
    for name in ("lab", "env:ACCOUNT"):
        registry.update("lab", mounted=unmounted, path=path, options={"account_name": name})
    with pytest.raises(UserError, match="in the account 'lab'"):
        registry.update("lab", mounted=unmounted, options={"account_name": "other"})


def test_update_changes_what_is_named_and_keeps_the_rest(registry):
    """Path, options and description change one by one."""
    registry.register("prod", path="s3://a", options={"region": "eu", "anon": "true"}, description="old")
    store = registry.update(
        "prod", mounted=unmounted, path="s3://b", options={"use_ssl": "no"}, unset=["region"], description="new"
    )
    assert store == registry.get("prod")
    assert (store.root, store.options, store.description) == ("s3://b", {"anon": True, "use_ssl": False}, "new")
    assert registry.update("prod", mounted=unmounted, options={}, description="").root == "s3://b"


def test_update_refuses_an_option_that_is_not_set_and_another_flavors_path(registry, folders):
    """Nothing has changed after either."""
    registry.register("prod", path="s3://a", options={})
    before = folders.settings_file.read_bytes()
    with pytest.raises(UserError, match="has no option 'region'"):
        registry.update("prod", mounted=unmounted, options={}, unset=["region"])
    with pytest.raises(UserError, match="flavor s3 takes paths"):
        registry.update("prod", mounted=unmounted, options={}, path="gs://a")
    assert folders.settings_file.read_bytes() == before


def test_the_default_store_can_be_put_elsewhere(registry, tmp_path):
    """`default` has no entry in the file until somebody changes it."""
    registry.update("default", mounted=unmounted, options={}, path=str(tmp_path / "other"))
    assert registry.active().root == str(tmp_path / "other")


def test_a_mounted_store_is_neither_changed_nor_deleted(registry):
    """Its daemon would go on with the old settings."""
    registry.register("prod", path="s3://a", options={})
    for change in (
        lambda: registry.update("prod", mounted=lambda store: store.name == "prod", options={}, path="s3://b"),
        lambda: registry.delete("prod", mounted=lambda store: store.name == "prod"),
    ):
        with pytest.raises(UserError, match="mountd unmount prod") as caught:
            change()
        assert caught.value.exit_code == EXIT_BUSY
    assert registry.get("prod").root == "s3://a"


def test_the_active_store_and_default_are_not_deleted(registry):
    """There is always an active store."""
    registry.register("prod", path="s3://a", options={})
    registry.set_active("prod")
    with pytest.raises(UserError, match="active"):
        registry.delete("prod", mounted=unmounted)
    with pytest.raises(UserError, match="always there"):
        registry.delete("default", mounted=unmounted)
    registry.set_active("default")
    registry.delete("prod", mounted=unmounted)
    assert [store.name for store in registry.all()] == ["default"]


def test_an_unknown_store_is_refused_everywhere_with_the_nearest_name(registry):
    """A typing error leads to the right name."""
    registry.register("production", path="s3://a", options={})
    for ask in (
        registry.get,
        registry.set_active,
        registry.resolve,
        lambda name: registry.delete(name, mounted=unmounted),
        lambda name: registry.update(name, mounted=unmounted, options={}),
    ):
        with pytest.raises(UserError, match="did you mean 'production'"):
            ask("prodution")


def test_resolve_takes_a_name_a_uri_a_path_or_nothing(registry, tmp_path):
    """A URI that is exactly a store's root means that store, in every spelling of its scheme."""
    registry.register("google", path="gs://bucket/art", options={})
    assert registry.resolve("google").name == "google"
    assert registry.resolve("gcs://bucket/art/").name == "google"
    assert registry.resolve().name == "default"
    below = registry.resolve("gs://bucket/art/below")
    assert not below.registered
    assert below.root == "gs://bucket/art/below"
    local = registry.resolve(str(tmp_path))
    assert (local.flavor, local.root) == ("local", str(tmp_path))


def test_a_store_that_only_a_uri_describes_has_a_stable_name_that_is_a_folder_name(registry):
    """Its state folder is found again, and no other URI gets it."""
    names = [registry.resolve(uri).name for uri in ("s3://b/a-c", "s3://b/a/c", "gs://b/a-c", "s3://b/" + "ü/" * 99)]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 64 and "/" not in name and name.isascii() for name in names)
    assert registry.resolve("s3://b/a-c/").name == names[0]


def test_a_name_given_to_another_bucket_gets_another_state_folder(registry):
    """Pending writes of the first bucket must not be sent to the second."""
    first = registry.register("prod", path="s3://a", options={"endpoint_url": "http://one"})
    moved = registry.update("prod", mounted=unmounted, options={}, path="s3://b")
    served = registry.update("prod", mounted=unmounted, options={"endpoint_url": "http://two"})
    noted = registry.update("prod", mounted=unmounted, options={"region": "eu"}, description="x")
    assert len({first.state_name, moved.state_name, served.state_name}) == 3
    assert noted.state_name == served.state_name


def test_unknown_keys_survive_a_change(registry, folders):
    """An older version does not destroy what a newer one has written."""
    folders.config.mkdir()
    folders.settings_file.write_text('future = 1\n[stores.a]\nflavor = "s3"\npath = "s3://a"\nshiny = "yes"\n')
    registry.update("a", mounted=unmounted, options={}, path="s3://b")
    registry.register("c", path="s3://c", options={})
    written = tomllib.loads(folders.settings_file.read_text())
    assert written["future"] == 1
    assert written["stores"]["a"] == {"flavor": "s3", "path": "s3://b", "shiny": "yes"}


def test_writers_in_many_processes_lose_no_change(registry, folders):
    """Sixteen registrations by four processes at once: all are there."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mountd.config import Folders\n"
        "from mountd.stores.registry import Registry\n"
        "base = Path(sys.argv[1])\n"
        "registry = Registry(Folders(base, base, base, base, base))\n"
        "for number in range(4):\n"
        "    registry.register(f'{sys.argv[2]}{number}', path='s3://b', options={})\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, folders.config, letter]) for letter in "abcd"]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(registry.all()) == 1 + 16
    assert sorted(path.name for path in folders.config.iterdir()) == ["config.toml", "config.toml.lock"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stores = [", "not valid TOML"),
        ("stores = 3", "must be a table"),
        ("[stores.a]\nflavor = 's3'", "needs a line path"),
        ("[stores.a]\nflavor = 's3'\npath = 3", "needs a line path"),
        ("[stores.a]\nflavor = 's3'\npath = 's3://a/../b'", "'..'"),
        ("[stores.a]\nflavor = 'local'\npath = 'relative'", "must be absolute"),
        ("[stores.a]\nflavor = 'gone'\npath = 's3://a'", "unknown flavor"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(registry, folders, text, message):
    """A hand-written mistake names itself; it is never overwritten."""
    folders.config.mkdir()
    folders.settings_file.write_text(text)
    with pytest.raises(UserError) as caught:
        registry.get("a")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_CONFIG
    assert folders.settings_file.read_text() == text


def test_a_store_of_a_flavor_that_is_gone_does_not_hide_the_others(registry, folders):
    """Uninstalling one package must not break every command."""
    folders.config.mkdir()
    folders.settings_file.write_text("[stores.a]\nflavor = 'gone'\npath = 'gone://a'\n")
    assert [store.name for store in registry.all()] == ["default", "a"]
    assert registry.resolve("s3://b").root == "s3://b"


def test_settings_with_a_literal_secret_that_others_may_read_are_refused(registry, folders):
    """As ssh does with a private key; without a secret, or readable by the owner alone, they are taken."""
    folders.config.mkdir()
    folders.settings_file.write_text("[stores.a]\nflavor='s3'\npath='s3://a'\n[stores.a.options]\nsecret='hunter2'\n")
    folders.settings_file.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600") as caught:
        registry.get("a")
    assert "hunter2" not in str(caught.value)
    folders.settings_file.chmod(0o600)
    assert registry.get("a").options["secret"] == "hunter2"
    folders.settings_file.write_text(folders.settings_file.read_text().replace("hunter2", "env:SECRET"))
    folders.settings_file.chmod(0o644)
    assert registry.get("a").options["secret"] == "env:SECRET"


def test_mount_settings_are_merged_weakest_first(registry, folders):
    """Defaults, `[mount]`, the store's own, the command line."""
    folders.config.mkdir()
    folders.settings_file.write_text(
        "[mount]\nfreshness = 5\ncache_size = '1GiB'\nread_only = true\n"
        "[stores.a]\nflavor='s3'\npath='s3://a'\n[stores.a.mount]\nfreshness = 'inf'\ncache_size='2GiB'\n"
    )
    settings = registry.mount_settings(registry.get("a"), {"cache_size": "3GiB", "read_only": None})
    assert settings.freshness == float("inf")
    assert settings.cache_size == 3 * 1024**3
    assert settings.read_only
    assert settings.part_size == 8 * 1024**2
    with pytest.raises(UserError, match="did you mean freshness"):
        registry.mount_settings(registry.get("a"), {"freshnes": 1})
