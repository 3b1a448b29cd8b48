"""Where a library works in these tests: a directory of a store, as its writer and as others see it."""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# How long another mount may take to notice; far more than `freshness`, for machines that do much else.
PATIENCE = 30


@dataclass
class Place:
    """A directory for one test.

    Attributes:
        here: its path below a mount, where the library writes.
        there: its path below the mount of another machine, which has none of its bytes until it asks the store.
        store: an independent client of what is below it, see `tests.kits`.
        folder: an empty local folder, for comparison and for copies.
    """

    here: Path
    there: Path
    store: Any
    folder: Path

    def keys(self):
        """Return the keys of the objects below it, without those that are mountd's own."""
        return [key for key in self.store.keys() if not any(part.startswith(".mountd-") for part in key.split("/"))]

    @cached_property
    def copy(self):
        """A local folder with the objects that are there when it is first asked for, fetched past all mounts."""
        folder = self.folder / "copy"
        folder.mkdir()
        for key in self.keys():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.store.get(key))
        return folder

    def elsewhere(self):
        """Return where others see what is stored: past the mount, and by another mount if there is one."""
        return [self.copy] if self.there == self.here else [self.copy, self.there]

    def readers(self):
        """Return the folders that must hold what the library wrote: its own, and those elsewhere."""
        return [self.here, *self.elsewhere()]


def eventually(seen):
    """Wait until `seen()` is true: what another mount shows is `freshness` behind, a second."""
    deadline = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < deadline, f"not seen within {PATIENCE} seconds"
        time.sleep(0.05)
