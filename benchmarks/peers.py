"""The competitors, each in the settings that its documentation recommends for object stores."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from benchmarks.client import Failed
from benchmarks.measure import process_tree
from benchmarks.places import BucketPlace, FolderPlace
from tests.harness import CHECKOUT, Host
from tests.servers import die_with_parent

SCRIPTS = Path(sysconfig.get_path("scripts"))
# What a mount has to show before it counts as one.
MARKER = "ready"


def free_port():
    """Return a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Peer:
    """Something that mounts a bucket.

    Attributes:
        name: to choose it by, and its column.
        raw: whether files are plain objects, so that it is comparable; else it has a format of its own.
        waits: whether a file that was closed is in the store.
        root: where the files are, while mounted.
        command: how it was started last, without what differs from run to run.
        writes_only: a second way to run a peer, which differs in writing alone.
    """

    name = ""
    raw = True
    waits = True
    writes_only = False
    program: Path | str = ""

    def __init__(self, server, bucket):
        self.server, self.bucket = server, bucket
        self.root = None
        self.command = ""
        self._folder = self._process = None

    def version(self):
        """Return the program's own word. Raises `Failed` where it is not installed."""
        try:
            done = subprocess.run([self.program, *self.version_arguments], capture_output=True, text=True, timeout=30)
        except OSError as exc:
            raise Failed(f"not installed: {exc}") from None
        return (done.stdout or done.stderr).strip().splitlines()[0]

    version_arguments = ("--version",)

    @contextlib.contextmanager
    def place(self, folder):
        """Yield where to put data that the mounts then find."""
        yield BucketPlace(self.server, self.bucket)

    def mount(self, folder, endpoint):
        """Mount with an empty cache; everything goes to the new folder. Returns the seconds until it answered."""
        self._folder = folder
        self.root = folder / "mnt"
        self.root.mkdir(parents=True)
        (folder / "cache").mkdir()
        command, environment = self.arguments(folder, endpoint)
        self.command = shown(command, folder, endpoint)
        begun = time.perf_counter()
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=os.environ | {"HOME": str(folder)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        self._wait()
        return time.perf_counter() - begun

    def arguments(self, folder, endpoint):
        """Return the command line and what it needs in the environment."""
        raise NotImplementedError

    def _wait(self):
        """Return once the mount answers."""
        end = time.monotonic() + 60
        while not (os.path.ismount(self.root) and self._answers()):
            if self._process.poll() is not None or time.monotonic() > end:
                raise Failed(f"did not mount: {self.log()[-300:]}")
            time.sleep(0.005)

    def _answers(self):
        with contextlib.suppress(OSError):
            return (self.root / MARKER).exists()
        return False

    def log(self):
        """Return what the program said."""
        return (self._folder / "log").read_text(errors="replace")

    def pids(self):
        """Return its processes."""
        return process_tree([self._process.pid])

    def unmount(self):
        """Unmount and end it; what was there is gone."""
        if self._process is not None:
            release(self.root)
            end(self._process)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def shown(command, folder, endpoint):
    """Return a command line without what differs from run to run."""
    text = " ".join(str(part) for part in command).replace(str(folder), "DIR").replace(endpoint, "ENDPOINT")
    text = re.sub(r"test-[0-9a-f]{12}", "BUCKET", text).replace(f"{SCRIPTS}/", "")
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)


def release(point):
    """Unmount, by force if it must be."""
    for options in (("-u",), ("-u",), ("-u", "-z")):
        if not os.path.ismount(point):
            return
        done = subprocess.run(["fusermount3", *options, point], capture_output=True, timeout=60)
        if done.returncode:
            time.sleep(0.5)
    if os.path.ismount(point):
        subprocess.run(["umount", "-l", point], capture_output=True, timeout=60)


def end(process):
    """Wait for a program that was unmounted, and end it if it does not by itself."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return


class Mountd(Peer):
    """This project, with its defaults: `close()` returns when the store has the file."""

    name = "mountd"
    # README recommends these for speed. Most of the others have no extended attributes, none asks about O_EXCL.
    options = ("--xattrs", "off", "--exclusive", "machine")

    def version(self):
        """Return the version and the commit."""
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True)
        return f"mountd of commit {done.stdout.strip() or 'unknown'}, Python {sys.version.split()[0]}"

    def mount(self, folder, endpoint):
        """See `Peer`."""
        self._folder = folder
        folder.mkdir(parents=True)
        self._host = Host(folder)
        self._host.environment |= {"TEST_S3_SECRET": self.server.secret}
        self.root = folder / "mnt"
        pairs = self.server.at(endpoint).options().items()
        stored = [part for key, value in pairs for part in ("--option", f"{key}={value}")]
        self._host.run("store", "register", "bench", f"--path=s3://{self.bucket}", *stored)
        self.command = f"mountd mount bench DIR/mnt {' '.join(self.options)}".strip()
        begun = time.perf_counter()
        try:
            self._host.run("mount", "bench", self.root, *self.options)
        except AssertionError as exc:
            raise Failed(f"did not mount: {exc}"[:300]) from None
        while not self._answers():
            time.sleep(0.005)
        taken = time.perf_counter() - begun
        self._pid = self._host.mounted("bench").pid
        return taken

    def pids(self):
        """See `Peer`."""
        return process_tree([self._pid])

    def log(self):
        """See `Peer`."""
        return self._host.logs()

    def unmount(self):
        """See `Peer`."""
        if self._folder is None or not self._folder.exists():
            return
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self._host.close()
        if self.root is not None and os.path.ismount(self.root):
            release(self.root)
        shutil.rmtree(self._folder, ignore_errors=True)


class MountdWriteBack(Mountd):
    """This project, where `close()` returns once the file is safe on local disk."""

    name = "mountd write-back"
    options = (*Mountd.options, "--write-back")
    waits = False
    writes_only = True


class Rclone(Peer):
    """rclone mount.

    From its documentation: a full VFS cache, chunks read by 16 streams of 4 MiB ("a reasonable place to start" for S3),
    fast fingerprints ("recommended" over S3), the server's times (each of its own costs a request). Files are uploaded
    in the background right after close, 16 at a time; its default is to wait 5 s.
    """

    name = "rclone"
    program = SCRIPTS / "rclone"
    waits = False
    write_back = "10ms"

    def arguments(self, folder, endpoint):
        """See `Peer`."""
        command = [
            *(self.program, "mount", f"store:{self.bucket}", self.root, f"--cache-dir={folder / 'cache'}"),
            *("--vfs-cache-mode=full", "--vfs-read-chunk-streams=16", "--vfs-read-chunk-size=4M"),
            *("--vfs-fast-fingerprint", "--use-server-modtime", "--buffer-size=16M", "--max-read-ahead=1M"),
            *(f"--vfs-write-back={self.write_back}", "--transfers=16", "--checkers=16"),
            *("--s3-chunk-size=8M", "--s3-upload-concurrency=8", "--s3-no-check-bucket"),
        ]
        settings = {"TYPE": "s3", "PROVIDER": "SeaweedFS", "ENDPOINT": endpoint, "REGION": "us-east-1"}
        settings |= {"ACCESS_KEY_ID": self.server.key, "SECRET_ACCESS_KEY": self.server.secret}
        environment = {f"RCLONE_CONFIG_STORE_{key}": value for key, value in settings.items()}
        return command, environment | {"RCLONE_CONFIG": "/dev/null"}


class RcloneAtOnce(Rclone):
    """rclone mount, uploading in `release`: `close()` does not wait for it, the next `open()` of the file does."""

    name = "rclone, at once"
    write_back = "0"
    writes_only = True


class S3fs(Peer):
    """s3fs-fuse with a local cache, parallel multipart requests, and its caches of names, also of missing ones."""

    name = "s3fs"
    program = "s3fs"

    def arguments(self, folder, endpoint):
        """See `Peer`."""
        password = folder / "password"
        password.write_text(f"{self.server.key}:{self.server.secret}\n")
        password.chmod(0o600)
        options = {
            "url": endpoint,
            "endpoint": "us-east-1",
            "passwd_file": password,
            "use_cache": folder / "cache",
            "parallel_count": 16,
            "multipart_size": 8,
            "multireq_max": 100,
            "max_stat_cache_size": 200_000,
            "stat_cache_expire": 900,
        }
        switches = ("use_path_request_style", "enable_noobj_cache", "complement_stat", "kernel_cache", "noatime")
        chosen = [f"{name}={value}" for name, value in options.items()] + list(switches)
        return [self.program, self.bucket, self.root, "-f", "-o", ",".join(chosen)], {"TMPDIR": str(folder)}


class Juicefs(Peer):
    """JuiceFS, which cuts files into blocks and keeps names in a database: SQLite on the local disk here."""

    name = "juicefs"
    program = SCRIPTS / "juicefs"
    raw = False

    def __init__(self, server, bucket):
        super().__init__(server, server.make_bucket())
        self._metadata = None

    @contextlib.contextmanager
    def place(self, folder):
        """Yield a mount of it, gone afterwards: its format is its own."""
        if self._metadata is None:
            self._format(folder)
        self.mount(folder / "loading", self.server.endpoint)
        try:
            yield FolderPlace(self.root)
        finally:
            self.unmount()

    def _format(self, folder):
        self._metadata = folder / "juicefs.db"
        bucket = f"{self.server.endpoint}/{self.bucket}"
        command = [self.program, "format", f"sqlite3://{self._metadata}", "bench", "--storage=s3"]
        keys = {"ACCESS_KEY": self.server.key, "SECRET_KEY": self.server.secret}
        done = subprocess.run(
            [*command, f"--bucket={bucket}", "--trash-days=0"],
            env=os.environ | keys,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise Failed(f"did not format: {done.stderr[-300:]}")

    def arguments(self, folder, endpoint):
        """See `Peer`."""
        command = [
            *(self.program, "mount", f"sqlite3://{self._metadata}", self.root, "--storage=s3"),
            *(f"--bucket={endpoint}/{self.bucket}", f"--cache-dir={folder / 'cache'}", "--buffer-size=512M"),
            *("--max-uploads=32", "--prefetch=4", "--max-fuse-io=1M", "--open-cache=1s", "--cache-large-write"),
            *("--backup-meta=0", "--no-usage-report", "--no-bgjob", "--no-syslog", "--force"),
            f"--metrics=127.0.0.1:{free_port()}",
        ]
        return command, {}

    def _answers(self):
        with contextlib.suppress(OSError):
            return (self.root / ".config").exists()
        return False


# By the name to choose one by: itself, and what else is run of it for workloads that write.
PEERS = {
    "mountd": (Mountd, MountdWriteBack),
    "rclone": (Rclone, RcloneAtOnce),
    "s3fs": (S3fs,),
    "juicefs": (Juicefs,),
}
