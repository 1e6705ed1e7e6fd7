"""Who gets a connection: a service's policy and its table of connections, joined. Every mode asks here.

Rule: only a SYN is ever assigned. The same SYN again (same sequence number) keeps its server, another one from the same
client port is a new connection, and anything but a SYN belongs to a connection that is known, or to none.
"""

from __future__ import annotations

from typing import Final

from lab.balancer.connections import Connection, Connections
from lab.balancer.health import State
from lab.balancer.policies import Policy
from lab.balancer.pool import Member, Service

NO_SEQ: Final = -1


class Assignment:
    """Assigns the connections of one service. `client` is address << 16 | port throughout."""

    def __init__(self, service: Service, policy: Policy, connections: Connections) -> None:
        self.service = service
        self._policy = policy
        self._connections = connections
        self._any_live = False

    def pool_changed(self) -> None:
        live = self.service.live()
        self._any_live = bool(live)
        self._policy.pool_changed(live)

    @property
    def undecided(self) -> bool:
        """No server can be chosen, and of at least one it isn't known yet whether it is up."""
        return not self._any_live and any(member.health.state is State.UNKNOWN for member in self.service.members)

    def assign(self, client: int, seq: int) -> Member | None:
        """The server for a SYN; None when no server is up."""
        known = self._connections.find(client)
        if known is not None and known.seq == seq and known.member.up:
            return known.member
        if not self._any_live:
            return None
        member = self._policy.choose(client >> 16)
        member.hits += 1
        self._connections.open(client, member, seq)
        return member

    def adopt(self, client: int, member_id: int) -> None:
        """A connection that a former controller assigned. Its SYN's number is not known: the next SYN is a new one."""
        member = next(member for member in self.service.members if member.id == member_id)
        self._connections.open(client, member, NO_SEQ)

    def find(self, client: int) -> Connection | None:
        """The connection a later packet belongs to; None when it isn't known."""
        return self._connections.find(client)

    def close(self, client: int) -> None:
        self._connections.close(client)

    @property
    def size(self) -> int:
        return len(self._connections)
