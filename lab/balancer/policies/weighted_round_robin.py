"""weighted_round_robin: turns in proportion to shares, spread as evenly as whole turns can be.

Turn number k (from 0) of a member with share s of a total S belongs into the window of turns [k * S / s, (k + 1) * S /
s). Of the members whose window has begun, the one whose window ends first gets the turn (Tijdeman, "The chairman
assignment problem", Discrete Mathematics 32, 1980). Rule: after any number n of turns, each member has had n * s / S of
them, rounded up or down. So 3:1 gives three in a row and never four, and S turns are exact.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from math import gcd
from typing import Final

from lab.balancer.pool import Member

RECORDED: Final = 1 << 18  # turns; a longer cycle is computed turn by turn for ever


def turns(shares: Sequence[int]) -> Iterator[int]:
    """Whose turn it is, by index into `shares`, for ever. Cost of one: O(log len(shares))."""
    count, total = len(shares), sum(shares)
    had = [0] * count
    # heap entries: a turn's number * count + index, so the earlier comes first, and of two the one before in the pool
    begun: list[int] = []
    waiting = list(range(count))
    now = 0
    while True:
        while waiting and waiting[0] // count <= now:
            index = heappop(waiting) % count
            end = -(-(had[index] + 1) * total // shares[index])
            heappush(begun, end * count + index)
        index = heappop(begun) % count
        had[index] += 1
        heappush(waiting, had[index] * total // shares[index] * count + index)
        now += 1
        yield index


class WeightedRoundRobin:
    """Replays the cycle of turns once it is known, so that a choice costs the same for 2 servers and for 1,000."""

    watches_live = False

    def __init__(self, rng: random.Random) -> None:
        self._pool: list[tuple[Member, int]] = []
        self._turns: Iterator[int] = iter(())
        self._order: Sequence[Member] = ()  # ties go in this order: the pool's, beginning behind the last chosen
        self._cycle: list[Member] = []  # as far as it is known
        self._length = 0
        self._at = 0
        self._last: Member | None = None

    def pool_changed(self, live: Sequence[Member]) -> None:
        pool = [(member, member.share) for member in live]
        if pool == self._pool:
            return
        self._pool = pool
        behind = 0 if self._last is None else sum(member.id <= self._last.id for member in live)
        self._order = order = [*live[behind:], *live[:behind]]
        common = gcd(*(share for _, share in pool))
        shares = [member.share // common for member in order]
        self._turns, self._length = turns(shares), sum(shares)
        self._cycle, self._at = [], 0

    def choose(self, client_ip: int) -> Member:
        if self._at == len(self._cycle):
            return self._unrecorded()
        self._last = member = self._cycle[self._at]
        self._at += 1
        return member

    def _unrecorded(self) -> Member:
        """The cycle is at its end and begins again, or isn't known as far as this yet."""
        if self._length <= RECORDED and self._at == self._length:
            self._at = 0
            return self.choose(0)
        self._last = member = self._order[next(self._turns)]
        if self._length <= RECORDED:
            self._cycle.append(member)
            self._at += 1
        return member
