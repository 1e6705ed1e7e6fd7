"""A policy of one's own: clients with an even address go to the first half of the pool, the others to the second.

    python lab/run_lab.py scenarios/custom_policy.yaml
    python lab/run_lab.py scenarios/round_robin.yaml --policy lab/scenarios/policies/even_odd.py:EvenOdd

Within its half, a client gets the server with the fewest live connections.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for the type checker only: the balancer gives the members, and nothing need be imported
    from lab.balancer.pool import Member


class EvenOdd:
    watches_live = True  # it goes by `live`, as is supposed of a policy that doesn't say; False: tracked mode need not
    # show the controller the end of each connection, and what `live` says there has no meaning

    def __init__(self, rng: random.Random) -> None:
        """`rng` is the balancer's only source of chance: who draws from it repeats a run with its seed."""
        self._halves: list[Sequence[Member]] = []

    def pool_changed(self, live: Sequence[Member]) -> None:
        """`live`: who may be chosen from now on, in the pool's order; perhaps nobody."""
        middle = (len(live) + 1) // 2
        self._halves = [half for half in (live[:middle], live[middle:]) if half]

    def choose(self, client_ip: int) -> Member:
        """The server of the next new connection: one of those in `live`. Not called while there is none."""
        half = self._halves[client_ip % 2 % len(self._halves)]
        return min(half, key=lambda member: member.live)
