"""random: independent draws, a member's chance in proportion to its share."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence

from lab.balancer.pool import Member


class Random:
    """Draws from the balancer's own source of chance, so that a seed repeats a run."""

    def __init__(self, rng: random.Random) -> None:
        self._draw = rng.random
        self._live: Sequence[Member] = ()
        self._bounds: list[int] = []
        self._total = 0

    def pool_changed(self, live: Sequence[Member]) -> None:
        self._live = live
        total = 0
        self._bounds = [total := total + member.share for member in live][:-1]
        self._total = total

    def choose(self, client_ip: int) -> Member:
        return self._live[bisect(self._bounds, self._draw() * self._total)]
