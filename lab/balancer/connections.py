"""The table of connections: which server each one has. Bounded; what was used longest ago leaves first.

An entry outlives its rule in the switch, so that a packet that returns after a long pause still finds its server.
Rule: every operation is O(1), whatever the size.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from lab.balancer.pool import Member

DEFAULT_BOUND: Final = 1_000_000


@dataclass(slots=True)
class Connection:
    member: Member
    seq: int  # of the SYN that began it: the same one again is a repetition, another one a new connection


class Connections:
    """Connections of one service by client, an integer: address << 16 | port."""

    def __init__(self, bound: int = DEFAULT_BOUND) -> None:
        if bound < 1:
            raise ValueError("the connection table's bound must be 1 or more")
        self._bound = bound
        self._table: OrderedDict[int, Connection] = OrderedDict()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._table)

    def find(self, client: int) -> Connection | None:
        """The client's connection, which counts as used now."""
        connection = self._table.get(client)
        if connection is not None:
            self._table.move_to_end(client)
        return connection

    def open(self, client: int, member: Member, seq: int) -> None:
        """A new connection; a former one from the same address and port is over."""
        self._table[client] = Connection(member, seq)
        self._table.move_to_end(client)
        if len(self._table) > self._bound:
            self._table.popitem(last=False)
            self.evicted += 1

    def close(self, client: int) -> None:
        self._table.pop(client, None)
