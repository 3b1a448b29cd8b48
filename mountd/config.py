"""Where settings come from: the environment, the XDG folders, and the settings of a mount with their defaults and
units.

The only module that reads the environment. What the settings file holds is read by `settings_file`; what it says about
stores is the business of `stores.registry`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from mountd import units
from mountd.errors import EXIT_CONFIG, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GiB = 1024**3
MiB = 1024**2


def environment_variable(name: str) -> str | None:
    """Return the value of an environment variable, `None` where it is not set."""
    return os.environ.get(name)


def environment_names(*prefixes: str) -> list[str]:
    """Return the names of the environment's variables that begin with one of these, in capitals or not."""
    wanted = tuple(prefix.upper() for prefix in prefixes)
    return [name for name in os.environ if name.upper().startswith(wanted)]


def names_proxies() -> bool:
    """Tell whether the environment names a proxy, for whatever addresses."""
    return bool(environment_names("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"))


@dataclass(frozen=True, slots=True)
class Folders:
    """Where this user's files are. Nothing is created by asking.

    `config` holds `config.toml`; `state` the journals and backing files (dirty bytes: never a cache folder, which
    people delete at will); `data` the default store; `runtime` the control sockets; `home` the default mount points.
    """

    config: Path
    state: Path
    data: Path
    runtime: Path
    home: Path

    @classmethod
    def of_this_user(cls) -> Folders:
        """Return the folders of the calling user: `XDG_*` variables first, then the usual places."""
        return cls(
            config=_config_folder(),
            state=platformdirs.user_state_path("mountd"),
            data=platformdirs.user_data_path("mountd"),
            runtime=runtime_folder(),
            home=Path("~").expanduser(),
        )

    @property
    def settings_file(self) -> Path:
        """The settings, in TOML."""
        return self.config / "config.toml"

    @property
    def default_store(self) -> Path:
        """Root of the store that exists on every machine."""
        return self.data / "default"

    def default_mount_point(self, store_name: str) -> Path:
        """Where a store is mounted when nobody says where."""
        return self.home / "mountd" / store_name


def _config_folder() -> Path:
    """Return root's `/etc/mountd`, unless root says otherwise with XDG_CONFIG_HOME, and everybody else's XDG folder."""
    if os.geteuid() == 0 and not os.path.isabs(os.environ.get("XDG_CONFIG_HOME", "")):
        return Path("/etc/mountd")
    return platformdirs.user_config_path("mountd")


def runtime_folder() -> Path:
    """Return the folder of this user's control sockets."""
    # Not platformdirs: it warns, and falls back to another folder, depending on the mode of XDG_RUNTIME_DIR, so two
    # calls could look for the same socket in two places. Here the folder of our own is checked instead
    # (`mountd.private`).
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(named):
        return Path(named) / "mountd"
    if os.geteuid() == 0:
        return Path("/run/mountd")
    session = Path(f"/run/user/{os.geteuid()}")
    return session / "mountd" if os.access(session, os.W_OK) else Path(f"/tmp/mountd-{os.geteuid()}")


def _setting(default: Any, parse: Callable[[object], Any], help_text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text})


def crash_point() -> str | None:
    """Return the point at which a test wants the daemon to die; see `mountd.crash`."""
    return os.environ.get("MOUNTD_CRASH_AT")


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """The manager that has started this process: its socket, and in how many seconds it wants to be told of life."""

    address: str
    watchdog: float | None

    @classmethod
    def of_this_process(cls) -> ServiceManager | None:
        """Return what the environment says, `None` where no manager listens. Source: sd_notify(3)."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        wanted, whose = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
        return cls(address, int(wanted) / 1e6 if wanted.isdigit() and whose == str(os.getpid()) else None)


@dataclass(frozen=True, slots=True)
class MountSettings:
    """How a mount behaves. Durations in seconds (`math.inf` allowed), sizes in bytes, `None` for the caller's own."""

    freshness: float = _setting(1.0, units.parse_duration, "how long what is known of the store is taken as true")
    cache_size: int = _setting(10 * GiB, units.parse_size, "local disk space for bytes that are also in the store")
    part_size: int = _setting(8 * MiB, units.parse_size, "bytes per request, both ways")
    copy_limit: int = _setting(5 * GiB, units.parse_size, "S3: larger objects are copied in parts")
    prefetch_limit: int = _setting(64 * MiB, units.parse_size, "how far ahead of a reader to fetch; 0: never ahead")
    name_limit: int = _setting(1_000_000, units.parse_count, "names kept in memory, some 200 bytes each")
    node_limit: int = _setting(50_000, units.parse_count, "files kept in memory that were opened, some 5 KiB each")
    open_files_limit: int = _setting(500, units.parse_count, "backing files kept open that nobody reads or writes")
    buffer_limit: int = _setting(256 * MiB, units.parse_size, "memory for bytes on their way, both ways")
    request_deadline: float = _setting(60.0, units.parse_time_limit, "time for one request to the store")
    retry_budget: float = _setting(30.0, units.parse_duration, "how long a failing request is tried again")
    drain_timeout: float = _setting(60.0, units.parse_duration, "how long unmounting waits for pending writes")
    uid: int | None = _setting(None, units.parse_id, "owner of files that name none")
    gid: int | None = _setting(None, units.parse_id, "group of files that name none")
    umask: int = _setting(0o022, units.parse_umask, "permission bits taken from files that name none")
    allow_other: bool = _setting(False, units.parse_bool, "let other users of this machine in")
    attributes: bool = _setting(
        True, units.parse_bool, "keep modes, owners, times, links and xattrs beside the objects"
    )
    xattrs: bool = _setting(True, units.parse_bool, "extended attributes; without, a write(2) is one request less")
    read_only: bool = _setting(False, units.parse_bool, "refuse every change")
    write_back: bool = _setting(False, units.parse_bool, "close() returns once the change is safe on local disk")
    write_back_limit: int = _setting(10 * GiB, units.parse_size, "bytes not stored yet that slow writers down")
    on_conflict: str = _setting("keep-both", units.parse_on_conflict, "what to do about changes of others")
    exclusive: str = _setting("store", units.parse_exclusive, "who decides O_EXCL; the machine alone is a request less")
    debug: bool = _setting(False, units.parse_bool, "log every request")

    @classmethod
    def merge(cls, *layers: Mapping[str, object]) -> MountSettings:
        """Return the defaults, overlaid by `layers`, the weakest first: `[mount]`, the store's own, the command line.

        Values are as in TOML or as text from a command line; `None` says nothing. Raises UserError for an unknown
        name or a value that makes no sense.
        """
        chosen: dict[str, object] = {}
        for layer in layers:
            chosen.update({name: parse_setting(name, value) for name, value in layer.items() if value is not None})
        return cls(**chosen)  # type: ignore[arg-type]  # each value comes from its own field's parser


def parse_setting(name: str, value: object) -> object:
    """Return `value` as the mount setting `name` has it. Raises UserError, exit code EXIT_CONFIG."""
    from difflib import get_close_matches  # only for the message of a mistake

    parsers = {each.name: each.metadata["parse"] for each in fields(MountSettings)}
    if name not in parsers:
        known = get_close_matches(name, parsers, n=1) or sorted(parsers)
        raise UserError(f"no mount setting is called {name!r}; did you mean {', '.join(known)}?", EXIT_CONFIG)
    try:
        return parsers[name](value)
    except ValueError as error:
        raise UserError(f"{name}: {error}", EXIT_CONFIG) from error
