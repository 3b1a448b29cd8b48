"""Real mounts for tests: made by the command line, in processes of their own, and gone afterwards come what may."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
# How many seconds a daemon may take to end when its mount is gone.
ENDING = 5.0


class Host:
    """One user's machine as far as mountd knows it: settings, state, sockets and mount points in folders of its own.

    Several hosts on the same store stand for several machines.

    Attributes:
        commands: runs commands cheaply where it is set, by `tests.commands`; else each starts Python.
    """

    commands = None

    def __init__(self, folder):
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "AWS_"))}
        self.environment = kept | {
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "PYTHONPATH": str(CHECKOUT),
        }
        self.foreground = []

    def run(self, *arguments, check=True, timeout=120):
        """Run `mountd` and return the finished process."""
        if self.commands is not None and self.commands.imports_for(self.environment):
            done = self.commands.run([*map(str, arguments)], self.environment, timeout)
        else:
            command = self.command(*arguments)
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(
                f"mountd {' '.join(map(str, arguments))}: {done.returncode}: {done.stderr}{self.logs()}"
            )
        return done

    def command(self, *arguments):
        """Return the command line of `mountd` with these arguments."""
        return [sys.executable, "-m", "mountd", *map(str, arguments)]

    def start(self, *arguments):
        """Start `mountd` and return the running process; it is killed at the end at the latest."""
        process = subprocess.Popen(
            self.command(*arguments), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.foreground.append(process)
        return process

    def configure(self, **settings):
        """Write settings of mounts into the settings file, before anything else is in it."""
        folder = self.folder / "config" / "mountd"
        folder.mkdir(parents=True)
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        (folder / "config.toml").write_text("[mount]\n" + "".join(lines))
        (folder / "config.toml").chmod(0o600)

    def mount(self, store, *options, name="store"):
        """Register `store` under `name`, mount it and return the `Mount`."""
        if store.options is not None:
            pairs = [part for key, value in store.options.items() for part in ("--option", f"{key}={value}")]
            self.environment |= store.environment
            if name not in self.registered():
                self.run("store", "register", name, f"--path={store.root}", *pairs)
        self.run("mount", name, self.folder / "mnt" / name, *options)
        return self.mounted(name)

    def registered(self):
        """Return the names of the stores in the settings file. Read here, as a command would cost each test 0.2 s."""
        file = self.folder / "config" / "mountd" / "config.toml"
        return list(tomllib.loads(file.read_text()).get("stores", ())) if file.exists() else []

    def mounted(self, name="store"):
        """Return the `Mount` of the store called `name`, which is mounted. From its record, for the same reason."""
        records = [json.loads(file.read_text()) for file in self.folder.glob("run/mountd/*.json")]
        found = [Mount(self, name, Path(each["mount_point"]), each["pid"]) for each in records if each["store"] == name]
        (mount,) = [each for each in found if each.alive]
        return mount

    def status(self):
        """Return what `mountd status --json` says of each mount."""
        return json.loads(self.run("status", "--json").stdout)["mounts"]

    def logs(self):
        """Return the ends of all daemons' logs."""
        return "".join(f"\n--- {path}\n{path.read_text()[-3000:]}" for path in self.folder.glob("state/mountd/*/*.log"))

    def close(self):
        """Unmount everything, politely first, and end every process that was started. Fails when the polite way did."""
        done = self.run("unmount", "--all", "--timeout=20", check=False)
        for process in self.foreground:
            if process.poll() is None:
                process.kill()
            process.communicate()
        # A daemon whose mount somebody else has taken away is not waited for by that.
        ending = time.monotonic() + ENDING
        while self.daemons() and time.monotonic() < ending:
            time.sleep(0.01)
        left = self._force()
        assert done.returncode == 0, f"unmount failed: {done.stderr}{self.logs()}"
        assert not left, f"left behind: {left}{self.logs()}"

    def _force(self):
        left = []
        for point in mounts_below(self.folder):
            left.append(point)
            subprocess.run(["umount", "-l", point], check=False)
        for pid in self.daemons():
            left.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def daemons(self):
        """Return the pids of this host's daemons: its state folder is in the environment, as in some servers'."""
        found = []
        wanted = f"XDG_STATE_HOME={self.folder / 'state'}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                program, _, arguments = (folder / "cmdline").read_bytes().partition(b"\0")
                ours = b"python" in program and b"mountd" in arguments
                if ours and wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


def until(condition, seconds=60):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


@contextlib.contextmanager
def frozen(pid):
    """Keep a process from running. It goes on for a moment after the signal: each of its threads is waited for."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while any(_state(thread) != "T" for thread in Path(f"/proc/{pid}/task").iterdir()):
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _state(process):
    """Return the letter for what a process or thread does: it stands behind the name, which may hold anything."""
    try:
        return (process / "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):  # a thread that has ended
        return "T"


def mounts_below(folder):
    """Return the mount points in a folder."""
    points = [line.split()[1].replace("\\040", " ") for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in points if Path(point).is_relative_to(folder)]


@dataclass
class Mount:
    """A running mount."""

    host: Host
    name: str
    path: Path
    pid: int

    def __truediv__(self, name):
        return self.path / name

    def status(self):
        """Return what `mountd status --json` says of it."""
        (state,) = [each for each in self.host.status() if each["store"] == self.name]
        return state

    def requests(self):
        """Return how many requests of each kind have been sent to the store."""
        return self.status()["requests"]

    @contextlib.contextmanager
    def counting(self):
        """Yield a dict that has, after the block, the requests sent during it."""
        before = self.requests()
        sent = {}
        yield sent
        after = self.requests()
        sent |= {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}

    def peak_memory(self):
        """Return the daemon's largest resident size so far, in bytes."""
        return self.memory("VmHWM")

    def memory(self, which="VmRSS"):
        """Return the daemon's resident size, in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{which}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {which}")

    def unmount(self, *options, check=True):
        """Unmount and return the finished process."""
        return self.host.run("unmount", self.name, *options, check=check)

    def remount(self):
        """Unmount and mount again, with another daemon."""
        self.unmount()
        self.revive()

    def kill(self):
        """End the daemon without warning."""
        os.kill(self.pid, signal.SIGKILL)
        while self.alive:
            time.sleep(0.01)

    @property
    def alive(self):
        """Whether the daemon lives: any of its threads, as the last one has its files open, and so its locks."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            return not select.select([descriptor], [], [], 0)[0]
        finally:
            os.close(descriptor)

    def revive(self, *options):
        """Mount again with the same settings after the daemon's end."""
        self.host.run("mount", self.name, self.path, *options)
        self.pid = self.host.mounted(self.name).pid


@contextlib.contextmanager
def open_hosts(folder):
    """Yield what makes hosts in a folder; all their mounts and processes end with the block, or that fails."""
    hosts = []

    def make():
        hosts.append(Host(folder / f"host{len(hosts)}"))
        hosts[-1].folder.mkdir()
        return hosts[-1]

    try:
        yield make
    finally:
        failures = []
        for host in hosts:
            try:
                host.close()
            except AssertionError as exc:
                failures.append(str(exc))
        assert not failures, "\n".join(failures)


class Corner(Mount):
    """A directory of a mount that many tests share, used like a mount of its own."""

    def __init__(self, whole, name):
        super().__init__(whole.host, whole.name, whole.path / name, whole.pid)
        self._whole = whole
        self.path.mkdir(exist_ok=True)

    def remount(self):
        self._whole.remount()
        self.pid = self._whole.pid
