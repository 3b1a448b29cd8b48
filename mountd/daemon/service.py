"""One mount as a service: opened, published, served, drained and taken down, in this order."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from mountd.config import Folders
from mountd.daemon import leaving, limits, lock, mountpoint, records
from mountd.daemon.cache import cache_commands
from mountd.daemon.control import Control, path_in, timeout_in
from mountd.daemon.notify import Notifier
from mountd.daemon.records import MountRecord
from mountd.errors import EXIT_PENDING, MountdError, StoreFailure, UserError
from mountd.failures import FailureLog
from mountd.fuse import session
from mountd.metrics import Watch
from mountd.objects.opening import OpenStore, open_store
from mountd.objects.promises import weaknesses
from mountd.vfs.opening import open_filesystem
from mountd.vfs.warming import Warmed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mountd.config import MountSettings, ServiceManager
    from mountd.daemon.control import Command
    from mountd.daemon.order import MountOrder
    from mountd.vfs.filesystem import FileSystem

log = logging.getLogger(__name__)

# asyncio works through bodies of megabytes in another thread; with Python's 5 ms each of the kernel's requests could
# wait that long for its turn.
SWITCH_INTERVAL = 0.0005
# How often someone who waits hears how far it is, in seconds.
PROGRESS_INTERVAL = 0.25
# How many of the pending files are told to those who watch.
PENDING_SHOWN = 20
# What metrics have in common with the status.
_ALSO_METRICS = (
    *("store", "root", "mount_point", "pid", "uptime", "cache", "write_back", "handles", "nodes", "names", "errors"),
    *("pending_changes", "pending_bytes"),
)
# What starts a unit is asked for so many seconds more each time something was done of what an earlier daemon has left.
STARTING = 120.0
# Answers that are being sent when the mount is gone get this many seconds.
LAST_WORDS = 5.0
# What is being stored at the end is waited for as many seconds before it is said what is left.
KEEPING = 1.0
# And calls of programs that can be answered when the time for pending writes is over, so many.
LAST_CALLS = 1.0
# A mount that cannot be taken down because somebody else has done so is gone within so many seconds.
TAKEN_AWAY = 5.0


def run(
    order: MountOrder,
    ready: Callable[[MountRecord], None],
    *,
    manager: ServiceManager | None = None,
    progress: Callable[[Any], None] = lambda _: None,
) -> None:
    """Mount and serve until somebody unmounts; `ready` is called once the mount can be used.

    `manager`: is told, too, and kept informed. `progress` hears before that how much is left of what an earlier daemon
    has left half done.

    Raises UserError or MountdError when it cannot be mounted; then nothing is left behind.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    limits.forbid_cores()
    limits.allow_files()
    limits.reuse_memory()
    mountpoint.require_fuse()
    if order.store.flavor == "local":
        mountpoint.keep_apart(order.mount_point, order.store.root)
    with lock.held(order.data):
        mountpoint.prepare(order.mount_point)
        try:
            trio.run(_serve, order, ready, Notifier(manager), progress)
        except BaseExceptionGroup as group:
            raise _cause(group) from group


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one failure inside the groups that nurseries make, or the group where there are several."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner


async def _serve(
    order: MountOrder, ready: Callable[[MountRecord], None], notifier: Notifier, progress: Callable[[Any], None]
) -> None:
    def tell(left: dict[str, Any]) -> None:
        progress(left)
        notifier.tell(
            STATUS=f"{order.store.root}: {left['files']} files left: {left['waiting_for'][0]}",
            EXTEND_TIMEOUT_USEC=str(int(STARTING * 1e6)),
        )

    failures = FailureLog()
    async with open_store(order.store, order.settings, data=order.data, report=failures.add) as opened:
        await opened.store.check()
        can = opened.store.capabilities
        for line in weaknesses(can):
            log.warning("%s: %s", order.store.root, line)
        # A kernel that knows what cannot be changed refuses it by itself, and with the usual message.
        settings = replace(order.settings, read_only=order.settings.read_only or can.read_only)
        async with open_filesystem(
            opened.store,
            data=order.data,
            settings=settings,
            root=order.store.root,
            failures=failures,
            native=opened.native,
            tell=tell,
        ) as fs:
            await Service(order, settings, opened, fs, notifier).run(ready)


class Service:
    """A running mount, and what its control socket can ask of it."""

    def __init__(
        self, order: MountOrder, settings: MountSettings, opened: OpenStore, fs: FileSystem, notifier: Notifier
    ) -> None:
        self._order = order
        self._notifier = notifier
        self._watch = Watch()
        self._settings = settings
        self._opened = opened
        self._fs = fs
        self._started = time.monotonic()
        self._gone = trio.Event()
        self._draining = trio.CancelScope()
        self._serving = trio.CancelScope()
        socket = Folders.of_this_user().runtime / f"{order.store.state_name}.socket"
        self.record = MountRecord(order.store.name, order.store.root, order.mount_point, os.getpid(), socket)

    async def run(self, ready: Callable[[MountRecord], None]) -> None:
        """Serve until the mount is gone and what was written is stored, as far as that is possible in time."""
        control = Control(self.commands())
        async with trio.open_nursery() as answers:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(control.serve, self.record.socket, answers=answers))
                await nursery.start(self._mount)
                nursery.start_soon(self._obey_signals)
                with records.published(self.record):
                    log.info("mounted %s at %s", self.record.root, self.record.mount_point)
                    gc.freeze()  # modules are never garbage: looking through them holds up requests
                    ready(self.record)
                    self._notifier.tell(READY="1", STATUS=f"{self.record.root} is at {self.record.mount_point}")
                    alive = partial(self._notifier.keep_alive, self.record.mount_point)
                    nursery.start_soon(partial(alive, is_mounted=lambda: not self._gone.is_set()))
                    await self._gone.wait()
                    self._say_stopping()
                    await self._drain()
                    await self._fs.storing.keep_all(KEEPING)
                    self._say_last_words()
                nursery.cancel_scope.cancel()
            answers.cancel_scope.deadline = trio.current_time() + LAST_WORDS
        log.info("unmounted %s", self.record.mount_point)

    def commands(self) -> dict[str, Command]:
        """Return what the control socket offers, by name."""
        own: dict[str, Command] = {"status": self._status, "metrics": self._metrics, "explain": self._explain}
        own |= {"writing": self._writing, "sync": self._sync, "unmount": self._unmount, "warm": self._warm}
        return own | cache_commands(self._fs)

    async def _mount(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            with self._serving:
                await session.serve(
                    self._fs,
                    self._order.mount_point,
                    self._settings,
                    self._watch,
                    name=self._order.store.root,
                    task_status=task_status,
                )
        finally:
            self._gone.set()

    async def _obey_signals(self) -> None:
        """Unmount at the first SIGTERM or SIGINT after what is pending, at the second at once."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                async for number in signals:
                    log.info("got %s", signal.Signals(number).name)
                    if nursery.child_tasks or self._gone.is_set():
                        self._draining.deadline = trio.current_time()
                    else:
                        nursery.start_soon(self._stop)

    def _say_stopping(self) -> None:
        left = leaving.summary(self._fs.status().pending)
        self._notifier.tell(STOPPING="1", STATUS=f"{self.record.root}: {left}")

    async def _stop(self) -> None:
        self._say_stopping()
        await self._drain()
        if not self._gone.is_set():
            session.stop()
            # Calls that wait for a store that does not answer would keep the daemon; the kernel fails them now.
            self._serving.deadline = trio.current_time() + LAST_CALLS

    async def _drain(self) -> None:
        """Store what is pending until the drain timeout, counted from the first call, is over."""
        self._draining.deadline = min(self._draining.deadline, trio.current_time() + self._settings.drain_timeout)
        with trio.move_on_at(self._draining.deadline) as self._draining:
            try:
                await self._fs.sync()
            except MountdError as exc:
                log.error("not everything could be stored: %s", exc)

    def _say_last_words(self) -> None:
        pending = self._fs.status().pending
        for line in leaving.last_words(pending):
            log.log(logging.ERROR if pending else logging.INFO, "%s", line)

    async def _status(self, request: Mapping[str, Any], progress: Callable[[Any], Awaitable[None]]) -> dict[str, Any]:
        state = self._fs.status()
        return {
            "store": self.record.store,
            "root": self.record.root,
            "flavor": self._order.store.flavor,
            "mount_point": str(self.record.mount_point),
            "pid": self.record.pid,
            "uptime": time.monotonic() - self._started,
            "read_only": self._settings.read_only,
            "write_back": self._fs.write_back,
            "freshness": self._settings.freshness,
            "cache": {"bytes": state.cache_bytes, "limit": state.cache_limit},
            "nodes": state.nodes,
            "names": state.names,
            "open_files": state.open_files,
            "handles": state.handles,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "requests": dict(self._opened.requests),
            "traffic": dict(self._opened.traffic),
            "capabilities": asdict(self._opened.store.capabilities),
            "weaknesses": weaknesses(self._opened.store.capabilities),
            "pending": [asdict(pending) for pending in state.pending],
            "pending_changes": state.pending_changes,
            "pending_bytes": state.pending_bytes,
            "recovered": list(state.recovered),
            "errors": [asdict(failure) for failure in state.errors],
        }

    async def _metrics(self, request: Mapping[str, Any], progress: Callable[[Any], Awaitable[None]]) -> dict[str, Any]:
        state = await self._status(request, progress)
        return {
            **{name: state[name] for name in _ALSO_METRICS},
            "at": time.time(),
            "memory": _resident(),
            "cpu": time.process_time(),
            "kernel": self._watch.to_json(),
            "served": dict(self._fs.files.fetcher.served),
            "store_requests": self._opened.timings.to_json(),
            "traffic": state["traffic"],
            "pending": state["pending"][:PENDING_SHOWN],
        }

    async def _explain(self, request: Mapping[str, Any], progress: Callable[[Any], Awaitable[None]]) -> dict[str, Any]:
        return await self._fs.explain(path_in(request), self._opened.account)

    async def _writing(self, request: Mapping[str, Any], progress: Callable[[Any], Awaitable[None]]) -> list[str]:
        return [os.fsdecode(path) for path in self._fs.being_written(path_in(request))]

    async def _sync(self, request: Mapping[str, Any], progress: Callable[[Any], Awaitable[None]]) -> None:
        await self._synced(path_in(request), timeout_in(request), progress)

    async def _warm(self, request: Mapping[str, Any], progress: Callable[[Any], Awaitable[None]]) -> dict[str, Any]:
        state = Warmed()

        def left() -> dict[str, Any]:
            some = state.bytes - state.here - state.fetched - state.no_room
            return {"files": state.left, "bytes": max(0, some), "waiting_for": []}

        await _telling(lambda: self._fs.warm(path_in(request), state), left, progress)
        return asdict(state)

    async def _unmount(self, request: Mapping[str, Any], progress: Callable[[Any], Awaitable[None]]) -> None:
        await self._synced(None, timeout_in(request), progress)
        try:
            await trio.to_thread.run_sync(mountpoint.detach, self.record.mount_point)
        except StoreFailure:
            with trio.move_on_after(TAKEN_AWAY):
                return await self._gone.wait()
            raise
        return await self._gone.wait()

    async def _synced(self, path: str | None, timeout: float, progress: Callable[[Any], Awaitable[None]]) -> None:
        """Store everything below `path`, telling how far it is.

        Raises UserError (EXIT_PENDING) when time is up, or the store does not take it.
        """

        def left() -> dict[str, Any]:
            state = self._fs.status()
            waiting_for = [pending.path for pending in state.pending[:3]]
            return {"files": state.pending_changes, "bytes": state.pending_bytes, "waiting_for": waiting_for}

        try:
            with trio.move_on_after(timeout) as waiting:
                await _telling(lambda: self._fs.sync(path), left, progress)
        except MountdError as exc:
            where = self.record.mount_point
            raise UserError(f"not everything could be stored: {exc}; {where} stays mounted", EXIT_PENDING) from exc
        if waiting.cancelled_caught:
            raise UserError(self._left(timeout), EXIT_PENDING)

    def _left(self, timeout: float) -> str:
        summary = leaving.summary(self._fs.status().pending)
        return f"after {timeout:g} s {summary}; {self.record.mount_point} stays mounted"


async def _telling(
    act: Callable[[], Awaitable[None]], left: Callable[[], Any], progress: Callable[[Any], Awaitable[None]]
) -> None:
    """Await `act`, and tell every PROGRESS_INTERVAL how much is left. Raises what `act` raises."""
    failure: MountdError | None = None

    async def tell() -> None:
        while True:
            await trio.sleep(PROGRESS_INTERVAL)
            await progress(left())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        try:
            await act()
        except MountdError as exc:  # not through the nursery, which would make a group of it
            failure = exc
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _resident() -> int:
    """Return how much memory this process has, in bytes. Source: /proc/self/statm in proc(5)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
