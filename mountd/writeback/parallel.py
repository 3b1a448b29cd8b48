"""Running many requests side by side, with one failure that stands for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from mountd.errors import MountdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

# Enough to hide a round trip of 20 ms; the store's own limit is further down.
WORKERS = 32

T = TypeVar("T")


async def each(items: Iterable[T], act: Callable[[T], Awaitable[object]], *, workers: int = WORKERS) -> None:
    """Await `act` for every item, `workers` at a time.

    Raises the first MountdError; what is under way then is finished, what has not begun is not begun.
    """
    queue = iter(items)
    failures: list[MountdError] = []

    async def work() -> None:
        for item in queue:
            if failures:
                return
            try:
                await act(item)
            except MountdError as exc:
                failures.append(exc)

    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)
    if failures:
        raise failures[0]


async def completed(call: Callable[[], Awaitable[T]], *, patience: float) -> T:
    """Await a call to its end even when the caller is cancelled, for up to `patience` seconds from then on.

    For requests whose outcome has to be known before anything else is done about the same object.
    """
    outcome: list[T] = []
    failures: list[MountdError] = []
    shield = trio.CancelScope(shield=True)

    async def give_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            shield.deadline = trio.current_time() + patience

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        with shield:
            try:
                outcome.append(await call())
            except MountdError as exc:
                failures.append(exc)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    await trio.lowlevel.checkpoint_if_cancelled()
    return outcome[0]


async def gather(*tasks: Callable[[], Awaitable[object]]) -> None:
    """Await all `tasks` side by side; raises the first MountdError."""
    await each(tasks, lambda task: task(), workers=len(tasks))
