"""What a policy offers: it is told of the pool and of the connections' numbers, and asked to choose.

Rule: a policy reads members (`id`, `name`, `ip`, `share`, `live`, `hits`) and changes nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lab.balancer.pool import Member


class Policy(Protocol):
    """A policy is made with the balancer's source of chance, a `random.Random`. One that also has a method
    `live_changed(member)` is told whenever a member's `live` has changed, be the member up or not.

    watches_live: whether it goes by `live`. Where not, tracked mode doesn't count live connections, and saves the
    packet-in that shows a connection's end. A plug-in that doesn't say is taken to watch them."""

    watches_live: bool

    def pool_changed(self, live: Sequence[Member]) -> None:
        """`live`: the members that may be chosen from now on, in the pool's order; perhaps none. Also called when a
        member's `share` has changed."""

    def choose(self, client_ip: int) -> Member:
        """The server of the next new connection. Called only while there is a live member."""
        ...
