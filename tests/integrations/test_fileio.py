"""`mountd.fileio` and `mountd.io_utils` do what ZenML's functions do, on local paths, under a mount, and by URI."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mountd import fileio, io_utils
from mountd.errors import NotMounted, OutOfBounds, UserError
from mountd.places import place_of
from tests.harness import Corner, open_hosts
from tests.kits import Below, Bucket

SCRIPT = Path(__file__).parent / "calls.py"


def outcomes(modules, at, environment):
    done = subprocess.run(
        [sys.executable, SCRIPT, modules, at], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def mount_bucket(host, server, patch):
    """Mount a bucket, and let this process see the mount."""
    bucket = Bucket(server)
    mount = host.mount(bucket, name="prod")
    mount.host.store = bucket
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        patch.setenv(name, host.environment[name])
    return mount


@pytest.fixture(scope="module")
def whole(s3_server):
    """A mounted bucket, for all tests that leave it as a whole alone."""
    folder = Path(tempfile.mkdtemp(prefix="mountd-test-"))
    with open_hosts(folder) as make_host, pytest.MonkeyPatch.context() as patch:
        yield mount_bucket(make_host(), s3_server, patch)
    shutil.rmtree(folder)


@pytest.fixture
def mount(whole, request):
    """An empty directory of that mount."""
    return Corner(whole, request.node.name)


@pytest.fixture
def root(mount):
    """The URI of that directory."""
    return f"{mount.status()['root']}/{mount.path.name}"


@pytest.fixture
def own(host, s3_server, monkeypatch):
    """A bucket mounted for one test, and its URI."""
    mount = mount_bucket(host, s3_server, monkeypatch)
    return mount, mount.status()["root"]


def test_each_call_does_what_zenmls_does(mount, root, tmp_path):
    """The same results, and errors of the same types, wherever the files are."""
    environment = mount.host.environment | {
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "ERROR",
    }
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    (mount / "by-path").mkdir()
    (mount / "by-uri").mkdir()
    expected = outcomes("zenml", str(tmp_path / "theirs"), environment)
    assert outcomes("mountd", str(tmp_path / "ours"), environment) == expected
    assert outcomes("mountd", str(mount / "by-path"), environment) == expected
    assert outcomes("mountd", f"{root}/by-uri", environment) == expected


def test_writing_to_a_uri_makes_its_directories(mount, root):
    """As object stores have them; a local path needs them to be there."""
    fileio.open(f"{root}/new/folder/file", "w").close()
    fileio.copy(f"{root}/new/folder/file", f"{root}/other/file")
    fileio.rename(f"{root}/other/file", f"{root}/third/file")
    assert sorted(path.relative_to(mount.path).as_posix() for path in mount.path.rglob("file")) == [
        "new/folder/file",
        "third/file",
    ]
    with pytest.raises(FileNotFoundError):
        fileio.open(str(mount / "missing/file"), "w")


CALLS = (
    fileio.exists,
    fileio.listdir,
    fileio.rmtree,
    fileio.size,
    fileio.makedirs,
    lambda path: fileio.open(path, "w"),
    lambda path: list(fileio.walk(path)),
)


def test_what_is_out_of_bounds_is_refused(mount, root):
    """By component; for callers that know only ZenML's, it is a file that does not exist."""
    for path in (f"{root}/../other/x", f"{root}/a//b", f"{mount.path}/../../x", f"{mount.path}/a/../../../x"):
        for call in CALLS:
            with pytest.raises(OutOfBounds) as refused:
                call(path)
            assert isinstance(refused.value, UserError)
            assert isinstance(refused.value, FileNotFoundError)
    assert list(mount.path.iterdir()) == []


def test_what_no_mounted_store_holds_is_no_missing_file(mount, root):
    """Whoever meets a missing file goes on without it; a bucket that begins like a mounted one is another one."""
    for path in (f"{mount.status()['root']}x/a", "s3://elsewhere/a"):
        for call in CALLS:
            with pytest.raises(NotMounted, match="mountd mount s3://") as refused:
                call(path)
            assert isinstance(refused.value, UserError)
            assert isinstance(refused.value, OSError)
            assert not isinstance(refused.value, FileNotFoundError)
    assert list(mount.path.iterdir()) == []


def test_a_mount_that_does_not_answer_is_no_missing_file(own):
    """Neither by path nor by URI does a dead daemon make artifacts look as if they had never been."""
    mount, root = own
    fileio.open(f"{root}/a", "w").close()
    mount.kill()
    for call in (fileio.exists, fileio.isdir, fileio.size, fileio.listdir, fileio.rmtree):
        with pytest.raises(OSError, match=r"endpoint is not connected|connection abort"):
            call(str(mount / "a"))
        with pytest.raises(NotMounted, match="mountd mount prod"):
            call(f"{root}/a")


def test_a_mount_that_ends_or_moves_is_noticed_at_once(own):
    """However often a URI was found before; and one that is closer to it is used from its first moment."""
    mount, root = own
    for _ in range(3):
        fileio.open(f"{root}/runs/a", "w").close()
    mount.unmount()
    with pytest.raises(NotMounted):
        fileio.exists(f"{root}/runs/a")
    mount.host.run("mount", "prod", mount.host.folder / "elsewhere")
    assert place_of(f"{root}/runs/a").path == f"{mount.host.folder}/elsewhere/runs/a"
    mount.host.mount(Below(mount.host.store, "runs"), name="runs")
    assert place_of(f"{root}/runs/a").path == f"{mount.host.folder}/mnt/runs/a"
    assert fileio.exists(f"{root}/runs/a")


def test_without_the_mount_nothing_is_written_below_it(own):
    """Not even when somebody has taken it away under the daemon."""
    mount, root = own
    subprocess.run(["umount", "-l", mount.path], check=True)
    with pytest.raises(NotMounted, match="mountd mount prod"):
        fileio.open(f"{root}/a", "w")
    assert list(mount.path.iterdir()) == []


def test_from_one_store_to_another_is_a_copy_and_no_rename(mount, root, tmp_path):
    """A rename that cannot be one step says so."""
    fileio.open(f"{root}/a", "w").close()
    fileio.copy(f"{root}/a", str(tmp_path / "a"))
    with pytest.raises(NotImplementedError, match="copy, then remove"):
        fileio.rename(str(tmp_path / "a"), f"{root}/b")
    with pytest.raises(NotImplementedError, match="copy, then remove"):
        fileio.rename(str(tmp_path / "a"), f"{root}/nowhere/b")
    assert not (mount / "nowhere").exists()
    assert (tmp_path / "a").exists()
    io_utils.copy_dir(str(tmp_path), f"{root}/all")
    assert fileio.exists(f"{root}/all/a")


def test_a_copy_onto_itself_is_refused_by_whatever_name(mount, root):
    """Emptying the target first would lose it."""
    io_utils.write_file_contents_as_string(f"{root}/a", "precious")
    (mount / "link").symlink_to("a")
    for source, target in ((f"{root}/a", mount / "a"), (mount / "a", f"{root}/a"), (f"{root}/a", mount / "link")):
        with pytest.raises(shutil.SameFileError):
            fileio.copy(source, target, overwrite=True)
    assert (mount / "a").read_text() == "precious"


def test_the_root_of_a_store_is_emptied_and_stays(own):
    """A mount point cannot be removed."""
    mount, root = own
    io_utils.write_file_contents_as_string(f"{root}/d/a", "x")
    io_utils.write_file_contents_as_string(f"{root}/b", "x")
    (mount / "link").symlink_to("d")
    fileio.rmtree(root)
    assert (list(mount.path.iterdir()), fileio.isdir(root)) == ([], True)


def test_the_size_of_a_directory_is_that_of_what_is_walked(tmp_path):
    """Links to directories are not followed, so that a loop ends."""
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "a").write_text("x")
    (tmp_path / "nowhere").symlink_to("missing")
    assert fileio.size(str(tmp_path)) == 1


def test_a_copy_of_a_directory_into_itself_ends(tmp_path):
    """And has no copy of itself."""
    (tmp_path / "a").write_text("x")
    io_utils.copy_dir(str(tmp_path), str(tmp_path / "b/c"))
    assert sorted(path.name for path in (tmp_path / "b/c").iterdir()) == ["a"]


@pytest.mark.parametrize(
    ("path", "directory", "within"),
    [
        ("s3://b/a/x", "s3://b/a", True),
        ("x", "s3://b/a", True),
        ("s3://b/a", "s3://b/a/", True),
        ("s3://b/ax", "s3://b/a", False),
        ("../x", "s3://b/a", False),
        ("x/../y", "s3://b/a", True),
        ("../../../x", "s3://b/a", False),
        ("a", "/", True),
        ("s3a://b/a/x", "s3://b/a", True),
        ("gs://b/a/x", "s3://b/a", False),
        ("/b/a/x", "s3://b/a", False),
    ],
)
def test_uris_are_within_each_other_by_component(path, directory, within):
    """As far as their names tell: nobody is asked."""
    assert io_utils.is_path_within_directory(path, directory) is within


def test_roots_and_parents_of_uris(mount, root):
    """A bucket is a root; names are those of what is above."""
    assert io_utils.is_root("s3://bucket")
    assert not io_utils.is_root("s3://bucket/a")
    fileio.makedirs(f"{root}/one/two/three")
    assert (io_utils.get_parent(f"{root}/one/two/three"), io_utils.get_grandparent(f"{root}/one/two/three")) == (
        "two",
        "one",
    )
    with pytest.raises(ValueError, match="does not exist"):
        io_utils.get_parent(f"{root}/missing")


def test_importing_them_brings_nothing_heavy():
    """They are for programs that do something else."""
    script = (
        "import sys, mountd.fileio, mountd.io_utils; print({'trio', 'pyfuse3', 'click', 'fsspec'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"
