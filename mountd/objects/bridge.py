"""Where trio and asyncio meet: calls, results, exceptions and cancellation cross here and nowhere else.

s3fs, gcsfs and adlfs run on asyncio, everything else here on trio. One asyncio loop runs in a thread of its own for as
long as `open_bridge` is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")

# A cancelled call gets this many seconds to clean up behind itself; then the trio side goes on without it. Without a
# bound, a library that swallows cancellation would defeat every deadline.
GRACE = 5.0


class Bridge:
    """An asyncio loop in another thread, called from trio. Made by `open_bridge`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    async def call(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Await `function(*args, **kwargs)` on the asyncio loop and return its result or raise its exception.

        A trio cancellation cancels the asyncio task, whose clean-up is waited for. Cancelled by somebody on the asyncio
        side (a library that closes a session), the call raises ConnectionError: to trio that is a failure, no
        cancellation.
        """
        crossing = _Crossing[T](self.loop)
        return await crossing.go(lambda: function(*args, **kwargs))

    def wait(self, function: Callable[[], Awaitable[T]], *, seconds: float) -> T:
        """Do the same for a thread that has neither loop. Raises TimeoutError."""

        async def run() -> T:
            return await function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(seconds)


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run what takes its time in a thread, for those on the asyncio loop."""
    return await asyncio.to_thread(function, *args, **kwargs)


class _Crossing(Generic[T]):
    """One call: begun on trio, run on asyncio, ended exactly once on trio."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._token = trio.lowlevel.current_trio_token()
        self._waiting = trio.lowlevel.current_task()
        self._task: asyncio.Task[None] | None = None
        self._ended = False  # only touched on the asyncio side
        self._raise_cancel: Callable[[], Any] | None = None

    async def go(self, function: Callable[[], Awaitable[T]]) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._loop.call_soon_threadsafe(self._start, function)
        try:
            return await trio.lowlevel.wait_task_rescheduled(self._abort)  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if self._raise_cancel is not None:
                self._raise_cancel()
            raise ConnectionError("the connection was closed during the request") from None

    def _start(self, function: Callable[[], Awaitable[T]]) -> None:
        self._task = self._loop.create_task(self._run(function))

    async def _run(self, function: Callable[[], Awaitable[T]]) -> None:
        try:
            self._end(outcome.Value(await function()))
        except BaseException as exc:  # whatever it is belongs to the caller
            self._end(outcome.Error(exc))

    def _end(self, result: outcome.Outcome[T]) -> None:
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(trio.lowlevel.reschedule, self._waiting, result)

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._raise_cancel = raise_cancel
        self._loop.call_soon_threadsafe(self._cancel)
        return trio.lowlevel.Abort.FAILED  # not yet: `_end` reschedules

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._loop.call_later(GRACE, self._end, outcome.Error(asyncio.CancelledError()))


@contextlib.asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """Run an asyncio loop in a thread until the block ends; tasks that are left then are cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_serve, args=(loop,), name="asyncio", daemon=True)
    thread.start()
    try:
        yield Bridge(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        with trio.CancelScope(shield=True), trio.move_on_after(2 * GRACE) as waiting:
            waiting.shield = True
            await trio.to_thread.run_sync(thread.join, abandon_on_cancel=True)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=GRACE))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
