"""A store that fails at random: requests that are not carried out, and requests that are though nobody is told."""

import random
from collections import Counter

from mountd.errors import Unavailable
from mountd.objects.layer import Layer


class FaultyStore(Layer):
    """Around a store, below what repeats requests.

    Attributes:
        share: of the requests, how many meet a fault. Now and then one begins an outage of many requests.
        hits: faults so far, by kind.
    """

    def __init__(self, inner, *, seed, share=0.0):
        super().__init__(inner)
        self.share = share
        self.hits = Counter()
        self._rng = random.Random(seed)
        self._outage = 0

    async def _request(self, name, send):
        if self.share and self._outage:
            self._outage -= 1
            self.hits["outage"] += 1
            raise Unavailable(f"{name}: the store is down")
        kind = self._rng.choice(["before", "after", "outage"]) if self._rng.random() < self.share else None
        if kind is not None:
            self.hits[kind] += 1
        if kind == "outage":
            self._outage = self._rng.choice([3, 10, 40])
        if kind in ("before", "outage"):
            raise Unavailable(f"{name}: not carried out")
        result = await send()
        if kind == "after":
            if self._rng.random() < 0.5:
                self._outage = self._rng.choice([10, 40])  # long enough for whoever repeats it to give up
            raise Unavailable(f"{name}: carried out, and the answer lost")
        return result
