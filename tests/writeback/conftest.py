"""A store in memory behind a journal, as a mount in write-back mode has it."""

import contextlib

import trio

from mountd.config import MountSettings
from mountd.objects.interface import Key
from mountd.objects.memory import MemoryStore
from mountd.vfs.sidecar import Sidecars
from mountd.writeback.deferral import build
from mountd.writeback.journal import Journal


class Watched(MemoryStore):
    """A store that remembers what it was asked to change, and fails while it is told to."""

    def __init__(self):
        super().__init__()
        self.changes = []
        self.failure = None

    async def put(self, key, data, *, expect=None):
        return await self._watched("put", key, super().put, key, data, expect=expect)

    async def copy(self, source, target, *, expect=None, match=True):
        return await self._watched("copy", target, super().copy, source, target, expect=expect, match=match)

    async def delete(self, key, *, expect=None):
        return await self._watched("delete", key, super().delete, key, expect=expect)

    async def _watched(self, name, key, send, *args, **options):
        if self.failure is not None:
            raise self.failure
        self.changes.append((name, str(key)))
        return await send(*args, **options)

    def contents(self):
        """Return {key: bytes} of everything in it."""
        return {str(key): data for key, (data, _) in self._objects.items()}


@contextlib.asynccontextmanager
async def open_deferral(folder, inner, **settings):
    """Open the pending changes of a store for a block; a second one in the same folder goes on where it ended."""
    chosen = MountSettings.merge({"write_back": True} | settings)
    with contextlib.closing(Journal(folder / "journal.db")) as journal:
        async with trio.open_nursery() as nursery:
            made = build(
                inner,
                journal,
                folder / "spool",
                settings=chosen,
                descriptions=Sidecars(),
                nursery=nursery,
                failed=lambda line: None,
                lost=lambda key: None,
            )
            made.drainer.gather = 3600  # nothing leaves unless a test waits for it
            nursery.start_soon(made.drainer.run)
            yield made
            nursery.cancel_scope.cancel()


async def contents(store):
    """Return {key: bytes} of everything that a store shows."""
    found, cursor = {}, None
    while True:
        page = await store.list_page(Key(""), recursive=True, cursor=cursor)
        for info in page.objects:
            chunk = await store.read_range(info.key, 0, info.size, version=info.version)
            found[str(info.key)] = chunk.data
        cursor = page.cursor
        if cursor is None:
            return found
