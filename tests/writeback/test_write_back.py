"""The journal of what the store does not have: order, conflicts, what is stuck, and what a crash leaves."""

import pytest
import trio

from mountd.errors import Denied, Stale, Unavailable, VersionChanged
from mountd.objects.interface import ABSENT, Key
from mountd.writeback.parallel import each
from tests.writeback.conftest import Watched, contents, open_deferral

A, B, C = Key("a"), Key("b"), Key("c")


@pytest.fixture
def inner():
    """The store behind it."""
    return Watched()


@pytest.fixture
def opened(inner, tmp_path):
    """Return what opens the pending changes of `inner`."""
    return lambda **settings: open_deferral(tmp_path, inner, **settings)


async def acknowledge_together(made, change, items):
    """Make a change for each of the items, all of which one commit makes durable."""
    async with made.backlog._commit, trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(change, item)
        await trio.testing.wait_all_tasks_blocked()
        made.backlog._commit.release()
        await made.backlog.changed()
        await made.backlog._commit.acquire()


async def test_changes_arrive_in_the_order_of_their_acknowledgement(opened, inner):
    """Also those of one key, as others may rely on what was there in between. [back-order]"""
    async with opened() as made:
        first = await made.store.put(A, b"1", expect=ABSENT)
        await made.store.put(B, b"1", expect=ABSENT)
        await made.store.put(A, b"2", expect=first.version)
        await made.store.delete(B)
        await made.store.put(C, b"1", expect=ABSENT)
        await made.drainer.barrier(Key(""))
    assert inner.changes == [("put", "a"), ("put", "a"), ("put", "c")]
    assert inner.contents() == {"a": b"2", "c": b"1"}


async def test_a_barrier_brings_everything_before_it(opened, inner):
    """Waiting for one key sends what was acknowledged before, and nothing that came later. [back-order]"""
    async with opened() as made:
        for key in (A, B, C):
            await made.store.put(key, b"1", expect=ABSENT)
        await made.drainer.barrier(keys=[B])
        assert inner.changes == [("put", "a"), ("put", "b")]


async def test_what_is_acknowledged_by_one_commit_goes_side_by_side(opened, inner):
    """Three programs that wait for the same commit cannot tell whose change came first. [back-order]"""
    under_way, most = 0, 0
    put = inner.put

    async def slow(key, data, *, expect=None):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(0.05)
        under_way -= 1
        return await put(key, data, expect=expect)

    inner.put = slow
    async with opened() as made:
        await acknowledge_together(made, lambda number: made.store.put(Key(f"same{number}"), b"1"), range(3))
        await made.drainer.barrier(Key(""))
    assert most == 3


async def test_changes_of_one_operation_share_commits(opened, inner):
    """As renaming a directory makes them: some at a time, each waiting for its own. They go side by side then."""
    async with opened() as made:
        await each(range(200), lambda number: made.store.put(Key(f"{number}"), b"1"), workers=20)
        groups = {change.group for change in made.backlog.pending}
        assert len(groups) < 30
        await made.drainer.barrier(Key(""))
    assert len(inner.changes) == 200


async def test_a_directory_arrives_before_what_is_in_it(opened, inner):
    """A service that keeps a tree may else make one for the first key in it, and lose ours (SeaweedFS does)."""
    keys = [Key("d/x"), Key("d/e/y"), Key("d/e/"), Key("d/"), Key("z")]
    async with opened() as made:
        await acknowledge_together(made, lambda key: made.store.put(key, b"1"), keys)
        await made.drainer.barrier(Key(""))
    assert [key for _, key in inner.changes[:2]] == ["d/", "d/e/"]
    assert sorted(key for _, key in inner.changes[2:]) == ["d/e/y", "d/x", "z"]


async def test_a_rename_of_what_is_pending_is_one_put(opened, inner):
    """[back-cancelled]"""
    async with opened() as made:
        info = await made.store.put(A, b"1", expect=ABSENT)
        await made.store.rename(info, B, expect=ABSENT)
        assert await contents(made.store) == {"b": b"1"}
        await made.drainer.barrier(Key(""))
    assert inner.changes == [("put", "b")]


async def test_a_sidecar_that_was_copied_can_be_changed(opened, inner):
    """The next mount finishes renames by copies, sidecars among them; they go by local versions, too."""
    old, new = Key("old/.mountd-attributes.json"), Key("new/.mountd-attributes.json")
    found = await inner.put(old, b'{"format": 1, "names": {}}')
    async with opened() as made:
        await made.store.copy(found, new, expect=ABSENT)
        await made.drainer.barrier(Key(""))
        chunk = await made.store.read_range(new, 0, 100)
        await made.store.put(new, b"{}", expect=chunk.info.version)
    assert inner.contents()[new] == b"{}"


async def test_nothing_of_a_refused_change_happens(opened, inner):
    """What does not meet its precondition here is not acknowledged, and not sent."""
    async with opened() as made:
        await made.store.put(A, b"1", expect=ABSENT)
        with pytest.raises(VersionChanged):
            await made.store.put(A, b"2", expect=ABSENT)
        await made.drainer.barrier(Key(""))
    assert inner.contents() == {"a": b"1"}


@pytest.mark.parametrize(
    ("policy", "stored"), [("keep-both", {"theirs", "ours"}), ("overwrite", {"ours"}), ("fail", {"theirs"})]
)
async def test_a_conflict_is_dealt_with_as_chosen(opened, inner, policy, stored):
    """[conflict-both] [conflict-overwrite] [conflict-fail]"""
    old = await inner.put(A, b"old")
    async with opened(on_conflict=policy) as made:
        await made.store.put(A, b"ours", expect=old.version)
        await inner.put(A, b"theirs")
        if policy == "fail":
            with pytest.raises(Stale, match="stays on this machine"):
                await made.drainer.barrier(Key(""))
            assert await contents(made.store) == {"a": b"ours"}
            await made.store.delete(A)
        await made.drainer.barrier(Key(""))
        assert (await made.store.read_range(A, 0, 10)).data == (b"ours" if policy == "overwrite" else b"theirs")
    assert set(inner.contents().values()) == {each.encode() for each in stored}
    assert all(key == "a" or key.startswith("a.conflict-") for key in inner.contents())


async def test_what_follows_a_lost_conflict_is_kept_as_well(opened, inner):
    """Two states of a file are acknowledged, and somebody else replaces the object before: nothing is lost."""
    old = await inner.put(A, b"old")
    async with opened() as made:
        first = await made.store.put(A, b"ours 1", expect=old.version)
        await made.store.put(B, b"between")
        await made.store.put(A, b"ours 2", expect=first.version)
        await inner.put(A, b"theirs")
        await made.drainer.barrier(Key(""))
    assert sorted(inner.contents().values()) == [b"between", b"ours 1", b"ours 2", b"theirs"]
    assert inner.contents()["a"] == b"theirs"


async def test_a_removal_of_what_somebody_else_replaced_leaves_theirs(opened, inner):
    """So does a rename: ours has its new name, theirs the old one. [conflict-removal]"""
    one, two = await inner.put(A, b"1"), await inner.put(B, b"2")
    async with opened() as made:
        await made.store.delete(A, expect=one.version)
        await made.store.rename(two, C, expect=ABSENT)
        await inner.put(A, b"theirs")
        await made.drainer.barrier(Key(""))
    assert inner.contents() == {"a": b"theirs", "c": b"2"}


async def test_a_store_out_of_reach_holds_up_all_and_is_tried_again(opened, inner):
    """[back-retries]"""
    async with opened() as made:
        await made.store.put(A, b"1")
        await made.store.put(B, b"1")
        inner.failure = Unavailable("no route to the store")
        with pytest.raises(Unavailable, match="no route"):
            await made.drainer.barrier(Key(""))
        assert str(next(iter(made.backlog.pending)).error) == "no route to the store"
        inner.failure = None
        with trio.fail_after(10):
            while len(made.backlog.pending):
                await made.backlog.changed()
    assert inner.contents() == {"a": b"1", "b": b"1"}


async def test_a_refused_change_does_not_hold_up_others(opened, inner):
    """What has to do with it waits, the rest goes on; the error stays until it is resolved. [back-stuck]"""
    put = inner.put

    async def refusing(key, data, *, expect=None):
        if key == A and refuse:
            raise Denied("a: not yours to write")
        return await put(key, data, expect=expect)

    refuse, inner.put = True, refusing
    async with opened() as made:
        info = await made.store.put(A, b"1", expect=ABSENT)
        await made.store.put(B, b"1")
        await made.store.put(C, b"1")
        await made.store.copy(info, Key("copy"))
        await made.store.put(A, b"2", expect=info.version)
        await made.drainer.barrier(keys=[B, C])
        with pytest.raises(Denied, match="not yours"):
            await made.drainer.barrier(Key(""))
        assert {c.key for c in made.backlog.pending} >= {"a"}
        assert set(inner.contents()) >= {"b", "c"}
        refuse = False
        await made.drainer.barrier(Key(""))
    assert inner.contents() == {"a": b"2", "b": b"1", "c": b"1", "copy": b"1"}


async def test_one_that_had_arrived_is_recognised(opened, inner):
    """The daemon died between the store's answer and its note: the repeat knows its own work. [crash-points]"""
    old, gone = await inner.put(B, b"old"), await inner.put(C, b"gone")
    async with opened() as made:
        await made.store.put(A, b"1" * 70_000, expect=ABSENT)
        await made.store.put(B, b"new", expect=old.version)
        await made.store.delete(C, expect=gone.version)
    await inner.put(A, b"1" * 70_000)
    await inner.put(B, b"new")
    await inner.delete(C)
    async with opened() as made:
        assert made.backlog.recovered == 3
        await made.drainer.barrier(Key(""))
    assert inner.contents() == {"a": b"1" * 70_000, "b": b"new"}


async def test_writers_are_slowed_down_not_refused(opened, inner):
    """[back-limit]"""
    async with opened(write_back_limit=100) as made:
        await made.store.put(A, b"1" * 200)
        with trio.move_on_after(0.1) as waited:
            await made.backlog.slow_down(made.limit, 10)
        assert waited.cancelled_caught
        await made.backlog.slow_down(made.limit, 0.05)  # a store that is away for long does not hang programs
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.backlog.slow_down, made.limit, 60)
            await made.drainer.barrier(Key(""))
