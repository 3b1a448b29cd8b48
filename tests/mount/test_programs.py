"""Programs that people run, each checked by its own verification, on a disk and on mounts alike."""

import ctypes
import fcntl
import mmap
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import duckdb
import lmdb
import pytest


@pytest.fixture(params=["disk", "local", "s3"])
def place(request):
    """An empty directory: on a disk, on a mounted folder, on a mounted bucket."""
    if request.param == "disk":
        with tempfile.TemporaryDirectory(prefix="mountd-test-disk-") as folder:
            yield Path(folder)
    else:
        store = request.getfixturevalue(f"{request.param}_store")
        yield request.getfixturevalue("host").mount(store).path


def run(*command, cwd=None, **options):
    """Run a program; its output is part of the failure."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=150, check=False, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def python(script, *arguments):
    """Start another process that runs a script."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process):
    """Wait for such a process and return its output."""
    output, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors
    return output


def make_tree(root):
    """Make files, directories, links and modes of all sorts."""
    (root / "src" / "deep").mkdir(parents=True)
    (root / "src" / "empty").mkdir()
    (root / "src" / "a.txt").write_text("a" * 10_000)
    (root / "src" / "deep" / "b.bin").write_bytes(os.urandom(300_000))
    (root / "src" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "src" / "run.sh").chmod(0o755)
    (root / "src" / "private").write_text("1")
    (root / "src" / "private").chmod(0o600)
    (root / "src" / "link").symlink_to("a.txt")
    (root / "src" / "dangling").symlink_to("nowhere")
    os.link(root / "src" / "a.txt", root / "src" / "deep" / "hard")
    os.utime(root / "src" / "a.txt", ns=(10**18, 10**18 + 123_000_000))
    os.utime(root / "src" / "deep", ns=(10**18, 10**18))
    return root / "src"


def described(root, resolution=1):
    """Return what a tree consists of: kind, mode, time (in `resolution` nanoseconds), bytes or target of each name."""
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        kind = stat.S_IFMT(state.st_mode)
        data = os.readlink(path) if stat.S_ISLNK(kind) else path.read_bytes() if stat.S_ISREG(kind) else None
        times = None if stat.S_ISLNK(kind) else state.st_mtime_ns // resolution
        found[str(path.relative_to(root))] = (kind, stat.S_IMODE(state.st_mode), times, data)
    return found


def test_git(place):
    """init, commit, clone, branch, gc and fsck; the working tree is clean afterwards."""
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "gc.autoDetach=false")
    (place / "one").mkdir()
    run(*git, "init", "-q", "-b", "main", cwd=place / "one")
    for i in range(30):
        (place / "one" / f"file{i}").write_text(f"{i}\n" * 100)
    run(*git, "add", ".", cwd=place / "one")
    run(*git, "commit", "-qm", "first", cwd=place / "one")
    run(*git, "checkout", "-qb", "other", cwd=place / "one")
    (place / "one" / "file0").unlink()
    run(*git, "commit", "-qam", "second", cwd=place / "one")
    run(*git, "clone", "-q", place / "one", place / "two")
    run(*git, "gc", "-q", cwd=place / "one")
    run(*git, "checkout", "-q", "main", cwd=place / "one")
    for repository in ("one", "two"):
        run(*git, "fsck", "--strict", cwd=place / repository)
        assert run(*git, "status", "--porcelain", cwd=place / repository) == ""
    assert (place / "one" / "file0").exists()
    assert not (place / "two" / "file0").exists()


_WRITER = """
import sqlite3, sys
path, mode, who = sys.argv[1:]
connection = sqlite3.connect(path, timeout=100, isolation_level=None)
connection.execute(f"pragma journal_mode={mode}")
for i in range(25):
    connection.execute("begin immediate")
    connection.execute("insert into t values (?, ?)", (who, i))
    connection.execute("commit")
"""


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_with_two_writers(place, mode):
    """Two processes write to one database; no row is lost, and it is whole."""
    import sqlite3

    path = place / "data.db"
    connection = sqlite3.connect(path)
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute("create table t (who text, i integer)")
    connection.commit()
    writers = [python(_WRITER, path, mode, who) for who in ("a", "b")]
    for writer in writers:
        finished(writer)
    assert connection.execute("select count(*), count(distinct who || i) from t").fetchone() == (50, 50)
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert run("sqlite3", path, "select count(*) from t").strip() == "50"


def test_tar_keeps_everything(place):
    """What tar packs and unpacks compares equal, by tar itself."""
    tree = make_tree(place)
    run("tar", "--format=posix", "-C", tree, "-cf", place / "tree.tar", ".")
    (place / "out").mkdir()
    run("tar", "-C", place / "out", "-xpf", place / "tree.tar")
    run("tar", "-C", place / "out", "--compare", "-f", place / "tree.tar")
    assert described(place / "out") == described(tree)
    assert (place / "out" / "a.txt").stat().st_ino == (place / "out" / "deep" / "hard").stat().st_ino


def test_rsync_has_nothing_to_do_the_second_time(place, tmp_path):
    """`rsync -a` twice: the second run transfers nothing, in either direction."""
    make_tree(tmp_path)
    run("rsync", "-aH", f"{tmp_path}/src/", f"{place}/copy/")
    assert run("rsync", "-aHi", f"{tmp_path}/src/", f"{place}/copy/") == ""
    run("rsync", "-aH", f"{place}/copy/", f"{tmp_path}/back/")
    assert run("rsync", "-aHi", f"{place}/copy/", f"{tmp_path}/back/") == ""
    assert described(tmp_path / "back", resolution=10**9) == described(tmp_path / "src", resolution=10**9)


def test_cp_and_mv_of_trees(place):
    """`cp -a` gives an equal tree, `mv` the same tree elsewhere; modes, times and links included."""
    tree = make_tree(place)
    before = described(tree)
    run("cp", "-a", tree, place / "copy")
    assert described(place / "copy") == before
    run("mv", place / "copy", place / "moved")
    assert described(place / "moved") == before
    assert run(place / "moved" / "run.sh").strip() == "ran"
    run("rm", "-rf", place / "moved", tree)
    assert list(place.iterdir()) == []


def test_zip(place):
    """zip writes an archive that unzip finds intact, and updates it in place."""
    tree = make_tree(place)
    run("zip", "-qry", place / "tree.zip", ".", cwd=tree)
    (tree / "a.txt").write_text("changed")
    run("zip", "-q", place / "tree.zip", "a.txt", cwd=tree)
    run("unzip", "-tq", place / "tree.zip")
    with zipfile.ZipFile(place / "tree.zip") as archive:
        assert archive.read("a.txt") == b"changed"


def test_lmdb(place):
    """A memory-mapped database: written, reopened, read."""
    (place / "db").mkdir()
    for i in range(3):
        options = {"map_size": 8 << 20, "writemap": i == 1}
        with lmdb.open(str(place / "db"), **options) as database, database.begin(write=True) as transaction:
            for n in range(500):
                transaction.put(f"{i}-{n}".encode(), bytes(100))
    with lmdb.open(str(place / "db"), map_size=8 << 20, readonly=True) as database, database.begin() as transaction:
        assert transaction.stat()["entries"] == 1500
        assert transaction.get(b"1-499") == bytes(100)


def test_duckdb(place):
    """A database file, reopened, and parquet written and read by it."""
    with duckdb.connect(str(place / "data.duckdb")) as database:
        database.execute("create table t as select range as i, range * 2 as j from range(100000)")
        database.execute(f"copy t to '{place}/t.parquet' (format parquet)")
    with duckdb.connect(str(place / "data.duckdb")) as database:
        assert database.execute("select sum(j) from t").fetchone() == (9999900000,)
        assert database.execute(f"select sum(i) from '{place}/t.parquet'").fetchone() == (4999950000,)


def test_a_virtual_environment_runs(place):
    """An environment made on the mount has a Python that runs and imports from it."""
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv")
    site = next((place / "venv" / "lib").glob("python3*")) / "site-packages"
    (site / "hello.py").write_text("def greet(): return 'hello'\n")
    for _ in range(2):  # the second time from its bytecode
        assert run(place / "venv" / "bin" / "python", "-c", "import hello; print(hello.greet())").strip() == "hello"


def test_pip_installs(place, tmp_path):
    """pip installs a wheel into a folder on the mount, which then is imported from there."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/__init__.py", "value = 42\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-index", "--target", place / "lib", wheel)
    environment = os.environ | {"PYTHONPATH": str(place / "lib")}
    assert run(sys.executable, "-c", "import tiny; print(tiny.value)", env=environment).strip() == "42"


_LOCKER = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_between_processes(place, kind):
    """An exclusive lock keeps others out, and goes with its process."""
    (place / "lock").write_text("1")
    holder = python(_LOCKER, place / "lock", kind)
    assert holder.stdout.readline() == "locked\n"
    with open(place / "lock", "r+") as file:
        with pytest.raises(BlockingIOError):
            getattr(fcntl, kind)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        threading.Timer(0.3, holder.kill).start()
        getattr(fcntl, kind)(file, fcntl.LOCK_EX)
    holder.communicate()


_APPENDER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for i in range(200):
    os.write(fd, f"{sys.argv[2]}-{i}\\n".encode())
os.close(fd)
"""


def test_several_processes_append(place):
    """Every line of every process is there, whole."""
    (place / "log").touch()
    for process in [python(_APPENDER, place / "log", who) for who in "abc"]:
        finished(process)
    lines = (place / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{who}-{i}" for who in "abc" for i in range(200))


_MAPPER = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    mapping = mmap.mmap(file.fileno(), 0)
mapping[8192:8197] = b"other"
mapping.flush()
"""


def test_a_mapping_is_shared_and_outlives_its_descriptor(place):
    """Two processes see each other's stores, though both have closed the file."""
    path = place / "mapped"
    path.write_bytes(bytes(3 * 4096))
    with open(path, "r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    mapping[0:5] = b"first"
    finished(python(_MAPPER, path))
    assert mapping[8192:8197] == b"other"
    mapping.flush()
    mapping.close()
    data = path.read_bytes()
    assert (data[:5], data[8192:8197], len(data)) == (b"first", b"other", 3 * 4096)


def test_a_private_mapping_changes_nothing(place):
    """Stores to it stay with the process."""
    (place / "a").write_bytes(bytes(4096))
    with open(place / "a", "r+b") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapping:
        mapping[0:3] = b"abc"
    assert (place / "a").read_bytes() == bytes(4096)


def test_direct_io(place):
    """O_DIRECT writes and reads aligned blocks."""
    buffer = mmap.mmap(-1, 8192)
    buffer[:] = b"d" * 8192
    fd = os.open(place / "direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    try:
        assert os.pwrite(fd, buffer, 0) == 8192
        back = mmap.mmap(-1, 8192)
        assert os.preadv(fd, [back], 0) == 8192
        assert back[:] == b"d" * 8192
    finally:
        os.close(fd)
    assert (place / "direct").read_bytes() == b"d" * 8192


def test_space_can_be_reserved_and_ranges_copied(place):
    """posix_fallocate and copy_file_range work, or are refused so that programs fall back."""
    with open(place / "a", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 100_000)
        file.write(b"start")
    assert (place / "a").stat().st_size == 100_000
    shutil.copyfile(place / "a", place / "b")
    run("cp", "--reflink=auto", "--sparse=auto", place / "a", place / "c")
    assert (place / "a").read_bytes() == (place / "b").read_bytes() == (place / "c").read_bytes()
    with open(place / "a", "rb") as source, open(place / "d", "wb") as target:
        try:
            assert os.copy_file_range(source.fileno(), target.fileno(), 1000) == 1000
        except OSError:
            target.write(source.read(1000))
    assert (place / "d").read_bytes() == (place / "a").read_bytes()[:1000]


def test_seeking_in_a_directory(place):
    """telldir and seekdir come back to the same entry."""
    for i in range(200):
        (place / f"f{i:03}").touch()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.readdir.argtypes = libc.closedir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
    libc.telldir.restype = ctypes.c_long
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def name(entry):
        return ctypes.string_at(entry + 19).decode()  # d_name of struct dirent on 64-bit Linux

    directory = libc.opendir(os.fsencode(place))
    try:
        seen = []
        while True:
            position = libc.telldir(directory)
            entry = libc.readdir(directory)
            if not entry:
                break
            seen.append((position, name(entry)))
        for position, expected in seen[::17]:
            libc.seekdir(directory, position)
            assert name(libc.readdir(directory)) == expected
    finally:
        libc.closedir(directory)
    assert {name for _, name in seen} == {".", "..", *(f"f{i:03}" for i in range(200))}


def test_renaming_without_replacing(place):
    """RENAME_NOREPLACE refuses an existing target and moves to a free one."""
    libc = ctypes.CDLL(None, use_errno=True)
    (place / "a").write_text("1")
    (place / "b").write_text("2")
    names = [os.fsencode(place / name) for name in "abc"]
    assert libc.renameat2(-100, names[0], -100, names[1], 1) == -1
    assert ctypes.get_errno() == 17
    assert libc.renameat2(-100, names[0], -100, names[2], 1) == 0
    assert [(place / name).read_text() for name in "bc"] == ["2", "1"]


def test_programs_wait_for_each_other_through_a_pipe_and_a_socket(place):
    """A named pipe and a Unix socket on the mount connect processes of the machine."""
    os.mkfifo(place / "pipe")
    reader = python("import sys; print(open(sys.argv[1]).read())", place / "pipe")
    with open(place / "pipe", "w") as pipe:
        pipe.write("through the pipe")
    assert finished(reader).strip() == "through the pipe"
    server = python(
        "import os, socket, sys; os.chdir(sys.argv[1]); s = socket.socket(socket.AF_UNIX)\n"
        "s.bind('socket'); s.listen()\n"
        "print('up', flush=True); c, _ = s.accept(); print(c.recv(100).decode())",
        place,
    )
    assert server.stdout.readline() == "up\n"
    time.sleep(0.05)
    finished(
        python(
            "import os, socket, sys; os.chdir(sys.argv[1]); s = socket.socket(socket.AF_UNIX); s.connect('socket')\n"
            "s.sendall(b'through the socket')",
            place,
        )
    )
    assert finished(server).strip() == "through the socket"
