"""Trio and asyncio meet in one place: results, exceptions and cancellation cross it."""

import asyncio
import threading

import pytest
import trio

from mountd.objects import bridge as bridge_module
from mountd.objects.bridge import open_bridge


async def test_results_and_exceptions_cross():
    """What the asyncio side returns or raises arrives on the trio side, with arguments passed on."""

    async def add(a, b=0):
        await asyncio.sleep(0)
        return a + b

    async def fail():
        raise KeyError("missing")

    async with open_bridge() as bridge:
        assert await bridge.call(add, 1, b=2) == 3
        with pytest.raises(KeyError, match="missing"):
            await bridge.call(fail)


async def test_calls_run_side_by_side():
    """Many calls wait for each other's events without blocking the loop or trio."""
    arrived = []

    async with open_bridge() as bridge:
        gate = await bridge.call(_make, asyncio.Event)

        async def wait(i):
            arrived.append(i)
            if len(arrived) == 50:
                gate.set()
            await gate.wait()
            return i

        results = []

        async def call(i):
            results.append(await bridge.call(wait, i))

        async with trio.open_nursery() as nursery:
            for i in range(50):
                nursery.start_soon(call, i)
    assert sorted(results) == list(range(50))


async def _make(what):
    return what()


async def test_cancellation_cancels_the_asyncio_task_and_waits_for_its_cleanup():
    """When the trio side goes on, the other side has ended, `finally` included."""
    steps = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    async with open_bridge() as bridge:
        with trio.move_on_after(0.05) as scope:
            await bridge.call(work)
        assert scope.cancelled_caught
        assert steps == ["cleaned up"]


async def test_a_task_that_ignores_cancellation_does_not_hold_trio(monkeypatch):
    """After the grace period the deadline counts, whatever the library does."""
    monkeypatch.setattr(bridge_module, "GRACE", 0.05)
    ended = threading.Event()

    async def stubborn():
        for _ in range(100):
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        ended.set()

    async with open_bridge() as bridge:
        with trio.move_on_after(0.05) as scope:
            await bridge.call(stubborn)
        assert scope.cancelled_caught
        assert not ended.is_set()


async def test_a_cancellation_from_the_asyncio_side_is_a_failure():
    """A library that cancels its own task does not cancel the trio task."""

    async def cancel_myself():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    async with open_bridge() as bridge:
        with pytest.raises(ConnectionError):
            await bridge.call(cancel_myself)
        assert await bridge.call(_make, int) == 0


async def test_the_thread_ends_with_the_block():
    """No thread and no task is left behind, even with calls given up in the middle."""
    before = threading.active_count()

    async with open_bridge() as bridge, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(bridge.call, asyncio.sleep, 60)
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert threading.active_count() <= before + 1  # trio's own worker threads linger for a while
    assert not [thread for thread in threading.enumerate() if thread.name == "asyncio"]
