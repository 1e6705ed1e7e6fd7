"""Policies: which server gets a new connection. Each is told when the pool's live members change, then asked to choose.

Rule: `choose` costs the same whatever the number of servers; what depends on it is done in `pool_changed`.
A new policy is one class here and one line in POLICIES.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from lab.balancer.pool import Member


class Policy(Protocol):
    def pool_changed(self, live: Sequence[Member]) -> None:
        """`live`: the members that may be chosen from now on, in the pool's order; perhaps none."""

    def choose(self, client_ip: int) -> Member:
        """The server of the next new connection. Called only while there is a live member."""
        ...


class RoundRobin:
    """Exact turns, in the order of new connections. A change of the pool goes on behind the member that was last."""

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


class Random:
    """Independent draws, a member's chance in proportion to its weight."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._live: Sequence[Member] = ()
        self._cumulated: list[int] = []

    def pool_changed(self, live: Sequence[Member]) -> None:
        self._live = live
        total = 0
        self._cumulated = [total := total + member.share for member in live]

    def choose(self, client_ip: int) -> Member:
        return self._rng.choices(self._live, cum_weights=self._cumulated)[0]


POLICIES: Final[Mapping[str, Callable[[random.Random], Policy]]] = {"round_robin": RoundRobin, "random": Random}
RAMPING: Final = frozenset({"random"})  # policies that heed a member's share, so that it can grow in a slow start
