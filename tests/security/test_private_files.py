"""What mountd keeps on this machine is its owner's alone, and nothing that somebody planted there leads elsewhere."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from tests.harness import mounts_below

STRANGER = 12345


@pytest.fixture
def lax_umask():
    """No bit is taken from the modes of new files, here and in what is started."""
    before = os.umask(0)
    yield
    os.umask(before)


def kept_by(host):
    """Yield every file and folder of a host's settings, state and sockets."""
    for top in ("config", "state", "run"):
        if (host.folder / top).exists():
            yield host.folder / top
            yield from (host.folder / top).rglob("*")


def test_everything_is_private_whatever_the_umask(lax_umask, mount):
    """Folders 0700, files and sockets 0600: settings, journal, backing files, log, lock, record, control socket.

    [private-files]
    """
    (mount / "a").write_bytes(b"x" * 1000)
    (mount / "a").chmod(0o640)
    mount.host.run("sync")
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in kept_by(mount.host)}
    wrong = {str(path): oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)}
    assert wrong == {}
    assert {"journal.db", "mountd.log", "lock"} <= {path.name for path in modes}
    assert any(path.suffix == ".socket" for path in modes)


@pytest.mark.parametrize("top", ["state", "run"])
@pytest.mark.parametrize("way", ["open", "stranger", "link"])
def test_a_folder_that_is_not_ours_alone_is_refused(host, local_store, top, way):
    """One line that names it, exit code 3, and nothing is mounted, nothing put into it."""
    place = host.folder / top / "mountd"
    place.mkdir(parents=True)
    if way == "open":
        place.chmod(0o777)
    elif way == "stranger":
        os.chown(place, STRANGER, STRANGER)
    else:
        place.rename(place.with_name("elsewhere"))
        place.symlink_to("elsewhere")
    done = host.run("mount", local_store.root, host.folder / "mnt", check=False)
    assert done.returncode == 3, done.stderr
    assert (len(done.stderr.splitlines()), str(place) in done.stderr) == (1, True)
    assert list(place.iterdir()) == []
    assert (mounts_below(host.folder), host.daemons()) == ([], [])
    if top == "run":
        assert host.run("status", check=False).returncode == 3
    if way == "link":
        place.unlink()
    shutil.rmtree(place.parent)  # what the fixture's own `unmount --all` would stumble over


@pytest.mark.parametrize(
    "name",
    [
        *("journal.db", "journal.db-wal", "journal.db-shm", "lock", "mountd.log", "mountd.log.1"),
        *("blobs", "blobs/xx", "uploads", "record", "socket"),
    ],
)
def test_planted_links_are_not_followed(host, local_store, name):
    """Refused with one line, or replaced: what the link leads to stays as it is. [planted-links]"""
    victim = host.folder / "victim"
    is_folder = name in ("blobs", "blobs/xx", "uploads")
    if is_folder:
        victim.mkdir(mode=0o755)
        (victim / ("0" * 32)).write_text("precious")
        os.utime(victim / ("0" * 32), (0, 0))
    else:
        victim.write_text("precious")
        victim.chmod(0o644)
    before = looks(victim)
    mount = host.mount(local_store)
    data = next(path for path in (host.folder / "state" / "mountd").iterdir() if (path / "lock").exists())
    sockets = next((host.folder / "run" / "mountd").glob("*.socket"))
    mount.unmount()
    place = {"record": sockets.with_suffix(".json"), "socket": sockets}.get(name, data / name)
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(victim)

    done = host.run("mount", "store", mount.path, check=False)
    if done.returncode == 0:
        (mount / "file").write_bytes(b"x" * 100_000)
        assert (mount / "file").read_bytes() == b"x" * 100_000
        host.run("unmount", "store")
    else:
        assert done.returncode == 3, done.stderr
        assert (len(done.stderr.splitlines()), str(place) in done.stderr) == (1, True)
    assert looks(victim) == before
    place.unlink(missing_ok=True)


def looks(path):
    """Return all that somebody could have changed about a file or folder."""
    state = path.lstat()
    inside = [(entry.name, looks(entry)) for entry in sorted(path.iterdir())] if path.is_dir() else path.read_text()
    return state.st_mode, state.st_uid, state.st_ino, state.st_mtime_ns, inside


def as_stranger(act, path):
    """Return what `act(path)` returns in a process of another user, or the name of the OSError that it raises."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(STRANGER)
        os.setuid(STRANGER)
        try:
            said = act(path)
        except OSError as exc:
            said = type(exc).__name__.encode()
        os.write(writing, said)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as report:
        said = report.read()
    os.waitpid(child, 0)
    return said


def ask(path):
    """Return the answer of a daemon at its socket, nothing where it closes the connection."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(f"/proc/self/cwd/{path.name}")
        connection.sendall(b'{"do": "status"}\n')
        return connection.recv(100)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gets_at_nothing(folder, mount, monkeypatch):
    """Neither files nor the control socket; that one answers only its owner even where the folder is opened."""
    (mount / "a").write_bytes(b"secret")
    for path in (folder, mount.host.folder, *(mount.host.folder / top for top in ("state", "run"))):
        path.chmod(0o755)
    for path in kept_by(mount.host):
        if path.is_file():
            assert as_stranger(Path.read_bytes, path) == b"PermissionError", path
    (place,) = (mount.host.folder / "run" / "mountd").glob("*.socket")
    monkeypatch.chdir(place.parent)  # addresses of sockets are short
    assert as_stranger(ask, place) == b"PermissionError"
    place.parent.chmod(0o755)
    place.chmod(0o666)
    assert as_stranger(ask, place) in (b"", b"ConnectionResetError", b"BrokenPipeError")
    assert b'"value"' in ask(place)


@pytest.mark.parametrize("option", ["--allow-other", "--read-only", "--attributes=on"])
def test_mounts_take_no_rights_from_files(host, local_store, option):
    """`nosuid` and `nodev` always, also where other users are let in. [nosuid]"""
    mount = host.mount(local_store, option)
    (line,) = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == str(mount.path)
    ]
    assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))
