"""Whatever changes are made, undone and sent, at whatever time, the store ends up as if each had been made at once."""

import tempfile
from contextlib import suppress
from pathlib import Path

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.errors import NotFound
from mountd.objects.interface import ABSENT, Key
from tests.writeback.conftest import Watched, contents, open_deferral

keys = st.sampled_from(["a", "b", "d/", "d/a", "d/b"])
bytes_ = st.sampled_from([b"", b"1", b"22", b"x" * 70_000])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, bytes_),
        st.tuples(st.just("delete"), keys),
        st.tuples(st.just("copy"), keys, keys),
        st.tuples(st.just("rename"), keys, keys),
        st.tuples(st.just("sync")),
        st.tuples(st.just("restart")),
    ),
    max_size=25,
)


async def act(store, model, name, *arguments):
    """Carry out one step on the overlaid store and on the model."""
    key = Key(arguments[0])
    known = None
    with suppress(NotFound):
        known = await store.stat(key)
    assert (known is not None) == (key in model)
    if name == "put":
        expect = known.version if known is not None else ABSENT
        await store.put(key, arguments[1], expect=expect)
        model[key] = arguments[1]
    elif name == "delete":
        await store.delete(key, expect=known.version if known is not None else None)
        model.pop(key, None)
    elif known is not None and key != arguments[1]:
        target = Key(arguments[1])
        there = ABSENT
        with suppress(NotFound):
            there = (await store.stat(target)).version
        await (store.copy if name == "copy" or target.endswith("/") else store.rename)(known, target, expect=there)
        model[target] = model[key]
        if name == "rename" and not target.endswith("/"):
            del model[key]


async def run(steps):
    inner, model = Watched(), {}
    with tempfile.TemporaryDirectory() as folder:
        left = list(steps)
        while left:
            async with open_deferral(Path(folder), inner) as deferral:
                assert await contents(deferral.store) == model
                while left and (step := left.pop(0)) != ("restart",):
                    if step == ("sync",):
                        await deferral.drainer.barrier(Key(""))
                        assert inner.contents() == model
                    else:
                        await act(deferral.store, model, *step)
                    assert await contents(deferral.store) == model
        async with open_deferral(Path(folder), inner) as deferral:
            await deferral.drainer.barrier(Key(""))
            assert inner.contents() == model
        async with open_deferral(Path(folder), inner) as deferral:
            assert not len(deferral.backlog.pending)
            assert not list((Path(folder) / "spool").iterdir())


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_store_ends_up_as_if_each_change_had_been_made_at_once(steps):
    """Puts, copies, renames and deletes of few keys, syncs and restarts of the daemon at any time."""
    trio.run(run, steps)
