"""round_robin: exact turns, whatever the weights."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lab.balancer.pool import Member


class RoundRobin:
    """Exact turns, in the order of new connections. A change of the pool goes on behind the member that was last."""

    watches_live = False

    def __init__(self, rng: random.Random) -> None:
        self._live: Sequence[Member] = ()
        self._next = 0
        self._last: Member | None = None

    def pool_changed(self, live: Sequence[Member]) -> None:
        self._live = live
        last = self._last
        # ids grow in the pool's order, so the turn goes to the first one behind the last chosen, also if that has left
        self._next = 0 if last is None else sum(member.id <= last.id for member in live)

    def choose(self, client_ip: int) -> Member:
        if self._next >= len(self._live):
            self._next = 0
        self._last = member = self._live[self._next]
        self._next += 1
        return member
