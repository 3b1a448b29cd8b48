"""What is known of sidecars while they are read and stored at the same time."""

import trio

from mountd.errors import NotFound
from mountd.failures import FailureLog
from mountd.objects.interface import Key
from mountd.objects.memory import MemoryStore
from mountd.vfs.attributes import AttributeStore
from mountd.writeback.journal import Journal

D = Key("d/")
RECORD = {"mode": 0o600}


class HeldStore(MemoryStore):
    """Carries a put out, and answers a read, when it is told to."""

    def __init__(self):
        super().__init__()
        self.putting, self.put_on = trio.Event(), trio.Event()
        self.reading, self.read_on = trio.Event(), trio.Event()

    async def put(self, key, data, *, expect=None):
        self.putting.set()
        await self.put_on.wait()
        return await super().put(key, data, expect=expect)

    async def read_range(self, key, start, length, *, version=None):
        try:
            return await super().read_range(key, start, length, version=version)
        except NotFound:
            self.reading.set()
            await self.read_on.wait()
            raise


async def test_what_is_stored_while_a_sidecar_is_read_counts(tmp_path, autojump_clock):
    """The read began later, and saw the store as it was before: its files would have default modes for a while."""
    store = HeldStore()
    journal = Journal(tmp_path / "journal.db")
    attributes = AttributeStore(store, journal, FailureLog())
    state = attributes.sidecar(D)
    state.checked = trio.current_time()
    attributes.change(state, "a", RECORD)
    stored = trio.Event()

    async def flush():
        await attributes.flush(D)
        stored.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush)
        await store.putting.wait()
        await trio.sleep(1)
        nursery.start_soon(attributes.load, state)
        await store.reading.wait()
        store.put_on.set()
        await stored.wait()
        store.read_on.set()
    assert state.record("a") == RECORD
    journal.close()
