"""`import mountd`: artifacts to paths and back, and mounts for the length of a block."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mountd
from mountd.daemon.records import MountRecord, active_mounts
from mountd.mounts import path_of, uri_of


def record(store, root, mount_point):
    return MountRecord(
        store=store, root=root, mount_point=Path(mount_point), pid=1, socket=Path("/run/mountd/none.socket")
    )


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    for kind in ("CONFIG_HOME", "STATE_HOME", "DATA_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{kind}", str(tmp_path / kind.lower()))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def artifacts(tmp_path):
    """A folder that is a store, with one artifact in it."""
    folder = tmp_path / "artifacts"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "bert.pt").write_bytes(b"weights")
    return folder


def test_import_mountd_brings_nothing_heavy():
    """Programs that never mount anything import it, too."""
    script = (
        "import sys\nimport mountd\n"
        "heavy = {'trio', 'pyfuse3', 'fsspec', 's3fs', 'click', 'rich', 'asyncio', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_active_store_of_a_new_machine_is_default(tmp_path):
    """A folder in the user's data, without any set-up."""
    store = mountd.active_store()
    assert (store.name, store.flavor) == ("default", "local")
    assert store.root == str(tmp_path / "data_home" / "mountd" / "default")


def test_a_uri_that_two_mounts_hold_goes_to_the_closer_one():
    """A bucket and a prefix of it may be mounted at once, in any order."""
    mounts = [record("all", "s3://b", "/mnt/all"), record("art", "s3://b/art", "/mnt/art")]
    for order in (mounts, mounts[::-1]):
        assert path_of("s3://b/art/x", order) == Path("/mnt/art/x")
        assert path_of("s3://b/artifacts", order) == Path("/mnt/all/artifacts")


def test_a_path_under_two_mounts_belongs_to_the_inner_one():
    """A mount point may lie under another mount."""
    mounts = [record("a", "s3://a", "/mnt/a"), record("b", "s3://b", "/mnt/a/b")]
    for order in (mounts, mounts[::-1]):
        assert uri_of("/mnt/a/b/x", order) == "s3://b/x"
        assert uri_of("/mnt/a/bc", order) == "s3://a/bc"


def test_a_path_may_be_relative_or_lead_through_a_link(tmp_path, monkeypatch):
    """What the user types in a shell is what they mean."""
    (tmp_path / "mnt").mkdir()
    (tmp_path / "link").symlink_to("mnt")
    mounts = [record("a", "s3://a", tmp_path / "mnt")]
    monkeypatch.chdir(tmp_path / "mnt")
    assert uri_of("x/../y", mounts) == "s3://a/y"
    assert uri_of(".", mounts) == "s3://a"
    assert uri_of(tmp_path / "link" / "x", mounts) == "s3://a/x"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://b2/x", r"s3://b at /mnt/b.*mountd mount s3://b2$"),
        ("s3://b/../x", r"s3://b at /mnt/b"),
        ("gs://b/x", r"s3://b at /mnt/b.*mountd mount gs://b$"),
        ("/srv/models/x", r"s3://b at /mnt/b.*mountd mount /srv/models$"),
        ("relative", r"s3://b at /mnt/b"),
    ],
)
def test_a_uri_outside_every_mount_is_refused_with_the_roots_and_the_way_out(uri, words):
    """Which roots there are, and what to run."""
    with pytest.raises(mountd.UserError, match=words):
        path_of(uri, [record("b", "s3://b", "/mnt/b")])


def test_without_a_mount_the_error_names_the_active_root_and_the_command():
    """The store's own name where a registered store holds the URI."""
    root = mountd.active_store().root
    with pytest.raises(mountd.UserError, match=f"{root}.*mountd mount default$"):
        mountd.path(f"{root}/x")
    with pytest.raises(mountd.UserError, match="nothing is mounted"):
        mountd.uri("/srv/x")


def test_a_store_is_mounted_for_the_length_of_a_block(artifacts, tmp_path):
    """Paths and URIs work inside; afterwards the mount is gone and the bytes are in the store."""
    point = tmp_path / "point"
    with mountd.mounted(str(artifacts), point) as root:
        assert root == point
        assert mountd.path(f"{artifacts}/models/bert.pt").read_bytes() == b"weights"
        assert mountd.path(f"file://{artifacts}/models") == root / "models"
        assert mountd.uri(root / "models" / "bert.pt") == f"{artifacts}/models/bert.pt"
        (root / "new.txt").write_text("new")
        with pytest.raises(mountd.UserError, match=str(artifacts)):
            mountd.path("s3://elsewhere/x")
    assert not point.is_mount()
    assert (artifacts / "new.txt").read_text() == "new"


def test_the_mount_is_gone_after_an_exception_too(artifacts, tmp_path):
    """The exception is the caller's own."""
    with pytest.raises(KeyError), mountd.mounted(str(artifacts), tmp_path / "point") as root:
        raise KeyError(root)
    assert not (tmp_path / "point").is_mount()


def test_a_mount_that_is_there_is_used_and_left_alone(artifacts, tmp_path):
    """The inner block ends without unmounting; another mount point is refused."""
    with mountd.mounted(str(artifacts), tmp_path / "point") as root:
        with mountd.mounted(f"file://{artifacts}/") as again:
            assert again == root
        with pytest.raises(mountd.UserError, match="mounted at"), mountd.mounted(str(artifacts), tmp_path / "other"):
            pass
        assert root.is_mount()
    assert not root.is_mount()


def test_options_of_a_mount_are_its_settings(artifacts, tmp_path):
    """As fields of MountSettings; a wrong one is refused before anything is mounted."""
    with mountd.mounted(str(artifacts), tmp_path / "point", read_only=True) as root:
        assert (root / "models" / "bert.pt").read_bytes() == b"weights"
        with pytest.raises(OSError, match="Read-only"):
            (root / "x").write_text("")
    with pytest.raises(mountd.UserError, match="read_only"), mountd.mounted(str(artifacts), readonly=True):
        pass


def test_a_forked_process_leaves_the_mount_alone(artifacts, tmp_path):
    """Though it ends by unwinding its parent's block; it can use the mount meanwhile."""
    script = f"""
import mountd, os, sys
with mountd.mounted({str(artifacts)!r}, {str(tmp_path / "point")!r}) as root:
    child = os.fork()
    if not child:
        (root / "from-the-child").write_text("x")
        sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), root.is_mount(), (root / "from-the-child").read_text())
print(root.is_mount())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "3 True x\nFalse\n", done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_read_and_write(artifacts, tmp_path, method):
    """As DataLoader's workers do, whichever way they are started."""
    context = multiprocessing.get_context(method)
    with mountd.mounted(str(artifacts), tmp_path / "point") as root, context.Pool(2) as pool:
        paths = [str(root / f"{number}") for number in range(4)]
        assert pool.map(work, paths) == [7] * 4
        pool.close()
        pool.join()
        assert root.is_mount()
    assert sorted(path.name for path in artifacts.iterdir()) == ["0", "1", "2", "3", "models"]


def work(path):
    """Write a file in a worker, and read another one there."""
    with open(path, "w") as file:
        file.write("x")
    return len((Path(path).parent / "models/bert.pt").read_bytes())


def test_the_last_of_several_processes_unmounts(artifacts, tmp_path):
    """Whoever began: somebody else's mount does not vanish under them."""
    script = f"""
import sys, mountd
with mountd.mounted({str(artifacts)!r}) as root:
    print(root, flush=True)
    sys.stdin.readline()
    print((root / "models/bert.pt").read_text(), flush=True)
"""
    other = None
    with mountd.mounted(str(artifacts), tmp_path / "point") as root:
        other = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdout.readline().strip() == str(root)
    assert (tmp_path / "point").is_mount()
    assert other.communicate("\n", timeout=60)[0] == "weights\n"
    assert other.returncode == 0
    assert not (tmp_path / "point").is_mount()


def test_a_mount_of_the_command_line_outlives_every_block(artifacts, tmp_path):
    """Also where a process that had begun one was killed before."""
    point = tmp_path / "point"
    script = (
        f"import mountd, os, signal\nwith mountd.mounted({str(artifacts)!r}, {str(point)!r}): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert point.is_mount()
    with mountd.mounted(str(artifacts)):  # the last one, as the first is dead
        pass
    assert not point.is_mount()
    command = [sys.executable, "-m", "mountd"]
    subprocess.run([*command, "mount", artifacts, point], check=True, capture_output=True)
    with mountd.mounted(str(artifacts)):
        pass
    assert point.is_mount()
    subprocess.run([*command, "unmount", point], check=True, capture_output=True)


def test_a_block_right_after_a_daemon_was_killed_does_not_use_that(artifacts, tmp_path):
    """Though that holds its lock until its last thread has ended."""
    point = tmp_path / "point"
    for _ in range(3):
        subprocess.run([sys.executable, "-m", "mountd", "mount", artifacts, point], check=True, capture_output=True)
        (killed,) = active_mounts()
        os.kill(killed.pid, signal.SIGKILL)
        with mountd.mounted(str(artifacts), point) as root:
            assert (root / "models" / "bert.pt").read_bytes() == b"weights"
        assert not point.is_mount()
