"""random: independent draws, a member's chance in proportion to its share.

By Walker's alias method: the members' shares are cut and put into as many columns of equal height as there are members,
so that no column holds more than two. One number drawn says the column and which of the two. Rule: a draw costs the
same whatever the number of members. Source: Vose, IEEE Transactions on Software Engineering 17(9), 1991.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from lab.balancer.pool import Member


def columns(shares: Sequence[int]) -> list[tuple[float, int]]:
    """For each index, what it keeps of its own column (0 to 1), and the index that has the rest."""
    count, height = len(shares), sum(shares)  # shares times count: in whole numbers, a column is as high as their sum
    left = [share * count for share in shares]
    small = [index for index, amount in enumerate(left) if amount < height]
    large = [index for index, amount in enumerate(left) if amount >= height]
    found = [(1.0, index) for index in range(count)]
    while small:
        low, high = small.pop(), large[-1]
        found[low] = (left[low] / height, high)
        left[high] -= height - left[low]
        if left[high] < height:
            small.append(large.pop())
    return found


class Random:
    """Draws from the balancer's own source of chance, so that a seed repeats a run."""

    watches_live = False

    def __init__(self, rng: random.Random) -> None:
        self._draw = rng.random
        self._columns: list[tuple[float, Member, Member]] = []

    def pool_changed(self, live: Sequence[Member]) -> None:
        kept = columns([member.share for member in live])
        self._columns = [(part, member, live[other]) for member, (part, other) in zip(live, kept)]

    def choose(self, client_ip: int) -> Member:
        place = self._draw() * len(self._columns)
        column = int(place)
        part, member, other = self._columns[column]
        return member if place - column < part else other
