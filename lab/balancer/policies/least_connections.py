"""least_connections: the member with the fewest live connections for its share; those that tie take turns.

Rule: nobody is chosen while another has less live / share. Members stand in a bucket per load; buckets are found by a
heap of loads. With equal shares, loads are a few neighbouring numbers, and everything here is O(1); with many different
ones, a new load costs O(log loads).
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from lab.balancer.pool import Member


class LeastConnections:
    watches_live = True

    def __init__(self, rng: random.Random) -> None:
        self._load: dict[int, float] = {}  # by member's id
        self._buckets: dict[float, OrderedDict[int, Member]] = {}  # who came into a load first is first
        self._loads: list[float] = []  # a heap: every load that has a bucket, also an empty one
        self._crowded = 0  # buckets beyond which empty ones are swept out
        self._shares: dict[int, int] = {}
        self._last = 0  # id of the last chosen

    def pool_changed(self, live: Sequence[Member]) -> None:
        self._shares = {member.id: member.share for member in live}
        self._load, self._buckets, self._loads = {}, {}, []
        self._crowded = 2 * len(live) + 16
        behind = sum(member.id <= self._last for member in live)
        for member in (*live[behind:], *live[:behind]):
            self._put(member)

    def choose(self, client_ip: int) -> Member:
        while not (bucket := self._buckets[self._loads[0]]):
            del self._buckets[heappop(self._loads)]
        member = next(iter(bucket.values()))
        self._last = member.id
        bucket.move_to_end(member.id)  # also if it doesn't become a connection, its turn is over
        return member

    def live_changed(self, member: Member) -> None:
        load = self._load.get(member.id)
        if load is not None:
            del self._buckets[load][member.id]
            self._put(member)

    def _put(self, member: Member) -> None:
        # exact as an order: quotients of numbers this small differ by more than a float's precision, or are equal
        load = member.live / self._shares[member.id]
        self._load[member.id] = load
        bucket = self._buckets.get(load)
        if bucket is None:
            if len(self._loads) > self._crowded:
                self._sweep()
            bucket = self._buckets[load] = OrderedDict()
            heappush(self._loads, load)
        bucket[member.id] = member

    def _sweep(self) -> None:
        self._buckets = {load: bucket for load, bucket in self._buckets.items() if bucket}
        self._loads = list(self._buckets)
        heapify(self._loads)
