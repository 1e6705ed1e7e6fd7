"""source_hash: a client's address alone decides, by a Maglev table, so a client stays with its server.

Each member has a permutation of the table's places, made from its address. In turn, each takes the next free place of
its permutation, until all are taken; a member with half of another's share sits out every second round. Rule: the table
depends on the live members' addresses and shares and on nothing else: not on their order, on history or the run.
Source: Eisenbud et al., "Maglev", NSDI 2016, section 3.4.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from math import isqrt
from typing import Final

from lab.balancer.pool import Member

DEFAULT_SIZE: Final = 65_537
MAX_SIZE: Final = 5_000_011
_MASK: Final = (1 << 64) - 1


def check_size(size: int) -> None:
    """Raises ValueError: not a prime, so permutations would not reach every place; or too big to build."""
    if not 2 <= size <= MAX_SIZE or any(size % n == 0 for n in range(2, isqrt(size) + 1)):
        raise ValueError(f"the hash table's size must be a prime of at most {MAX_SIZE}, and {size} isn't one")


def permutation(ip: int, size: int) -> tuple[int, int]:
    """Offset and skip of the permutation of a server: its place number j is (offset + j * skip) % size."""
    digest = blake2b(ip.to_bytes(16, "big"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big") % size, int.from_bytes(digest[8:], "big") % (size - 1) + 1


def build_table(members: Sequence[Member], size: int = DEFAULT_SIZE) -> list[Member]:
    """`size` places, each a member's; with equal shares, members differ by one place at most.

    `size`: a prime, at least 100 per member for shares right within 1 %. Cost: O(size * log(size)) on average."""
    ranked = sorted(members, key=lambda member: member.ip)  # so that the pool's order doesn't matter
    places = [permutation(member.ip, size) for member in ranked]
    at = [offset for offset, _ in places]
    table: list[Member | None] = [None] * size
    left = size
    largest = max(member.share for member in ranked)
    credit = [0] * len(ranked)
    while True:
        for index, member in enumerate(ranked):
            credit[index] += member.share
            if credit[index] < largest:
                continue
            credit[index] -= largest
            place, skip = at[index], places[index][1]
            while table[place] is not None:
                place += skip
                if place >= size:
                    place -= size
            table[place], at[index] = member, place
            left -= 1
            if not left:
                return [taken for taken in table if taken is not None]


def place_of(client_ip: int, size: int) -> int:
    """Where a client stands in the table: splitmix64's finish, over both halves of an IPv6 address."""
    x = (client_ip ^ client_ip >> 64) + 0x9E3779B97F4A7C15 & _MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return (x ^ x >> 31) % size


class SourceHash:
    """The table is built when it is first needed after a change, so that servers that come up together cost one."""

    watches_live = False

    def __init__(self, rng: random.Random, size: int = DEFAULT_SIZE) -> None:
        check_size(size)
        self._size = size
        self._live: Sequence[Member] = ()
        self._shares: list[tuple[Member, int]] = []
        self._table: list[Member] = []

    def pool_changed(self, live: Sequence[Member]) -> None:
        shares = [(member, member.share) for member in live]
        if shares != self._shares:
            self._live, self._shares, self._table = live, shares, []

    def choose(self, client_ip: int) -> Member:
        if not self._table:
            self._table = build_table(self._live, self._size)
        return self._table[place_of(client_ip, self._size)]
