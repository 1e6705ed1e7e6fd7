"""Who gets a connection: a service's policy and the table of connections, joined. Every mode asks here.

Rule: of TCP, only a SYN is ever assigned. The same SYN again (same sequence number) keeps its server, another one from
the same client port is a new connection, and anything but a SYN belongs to a connection that is known, or to none. The
one exception is asked for: `rebalance` hands a connection whose server is down to another one. UDP has no SYN: a
datagram belongs to its flow as long as that is known and its server isn't down, and begins one otherwise.
"""

from __future__ import annotations

from lab.balancer.client import address_of
from lab.balancer.connections import Connections
from lab.balancer.health import State
from lab.balancer.policies import Policy
from lab.balancer.policies.plugin import Guarded
from lab.balancer.pool import Member, Service


class Assignment:
    """Assigns the connections of one service. `client` is as `lab.balancer.client` has it throughout.

    number: the service's, of the `services` that share `connections` (from 0). rebalance: what becomes of a connection
    whose server is down: False, it is over; True, its next packet goes to another server."""

    def __init__(
        self,
        service: Service,
        policy: Policy,
        connections: Connections,
        number: int = 0,
        services: int = 1,
        *,
        rebalance: bool = False,
    ) -> None:
        self.service = service
        self._policy = policy
        self._connections = connections
        # a connection's key is client * services + number: neighbours stay neighbours, while keys shifted to the left
        # would all begin their search at a few places of the table
        self._number = number
        self._services = services
        self._rebalance = rebalance
        self._any_live = False
        self.changes = 0  # of the pool, so far
        self._watch = getattr(policy, "live_changed", None)
        self.pool_changed()

    @property
    def watches_live(self) -> bool:
        """The policy goes by how many connections are live."""
        return self._policy.watches_live

    def pool_changed(self) -> None:
        """Members came, went, changed their state or their share."""
        live = self.service.live()
        self._any_live = bool(live)
        self.changes += 1
        for member in self.service.members:
            member.watch = self._watch
        self._policy.pool_changed(live)

    @property
    def bound(self) -> int:
        """How many connections, of all services, are remembered."""
        return self._connections.bound

    @property
    def any_live(self) -> bool:
        """A server can be chosen."""
        return self._any_live

    @property
    def undecided(self) -> bool:
        """No server can be chosen, and of at least one it isn't known yet whether it is up."""
        return not self._any_live and any(member.health.state is State.UNKNOWN for member in self.service.members)

    def assign(self, client: int, seq: int, mac: int = 0) -> Member | None:
        """The server for a SYN that came from `mac`; None when no server is up."""
        key = client * self._services + self._number
        known = self._connections.begun(key, seq)
        if known is not None and known.up:
            self._connections.use(key)
            return known
        if not self._any_live:
            return None
        return self._choose(key, client, seq, mac)

    def assign_datagram(self, client: int, mac: int = 0, *, now: int = 0, since: int = 0) -> Member | None:
        """The server for a UDP datagram that came from `mac`; None when no server is up. `now` is when it came; a flow
        of which none came here since `since` is over. Both count seconds."""
        key = client * self._services + self._number
        member = self._connections.since(key, since)
        if member is not None and not member.down:
            self._connections.renew(key, now)
            return member
        if self._any_live:
            return self._choose(key, client, now, mac)
        self._connections.close(key)
        return None

    def find(self, client: int) -> Member | None:
        """The server of the connection that a later packet belongs to, which is live from now on; None: it has none.

        A connection whose server is down is over, unless it is to be re-balanced and there is another server."""
        key = client * self._services + self._number
        member = self._connections.find(key)
        if member is None:
            return None
        if not member.down:
            self._connections.use(key)
            return member
        if self._rebalance and self._any_live:
            return self._choose(key, client, 0, self._connections.mac(key))
        self._connections.close(key)
        return None

    def server_of(self, client: int) -> Member | None:
        """The connection's server, without any effect."""
        return self._connections.find(client * self._services + self._number)

    def restore(self, client: int, member: Member) -> None:
        """A rule of this connection was found in the switch: it is live. What is known of it stays: what the client's
        port has begun since the switch was asked is newer."""
        key = client * self._services + self._number
        known = self._connections.find(key)
        if known is member:
            self._connections.use(key)
        elif known is None:
            self._connections.open(key, member, 0)

    def rest_all(self) -> None:
        """No rule of any connection, of all services, is known to be there."""
        self._connections.rest_all()

    def rest(self, client: int, member: Member) -> bool:
        """The connection's rule to `member` is gone. False: that is no news."""
        return self._connections.rest(client * self._services + self._number, member)

    def end_live(self, member: Member) -> list[tuple[int, int]]:
        """(client, its MAC) of a server's live connections, youngest first; they are live no more."""
        ended = self._connections.live_of(member)
        for key, _ in ended:
            self._connections.rest(key, member)
        return [(key // self._services, mac) for key, mac in ended]  # a member is in one service, so all are ours

    def client_mac(self, client: int) -> int:
        """The MAC that the connection's SYN came from; 0: not known."""
        return self._connections.mac(client * self._services + self._number)

    def close(self, client: int) -> None:
        self._connections.close(client * self._services + self._number)

    def failures(self) -> int:
        """How often a plug-in policy failed, and round robin chose."""
        return self._policy.failures if isinstance(self._policy, Guarded) else 0

    def told(self) -> list[str]:
        """What a plug-in policy's failures gave to report since the last call."""
        return self._policy.told() if isinstance(self._policy, Guarded) else []

    def _choose(self, key: int, client: int, seq: int, mac: int) -> Member:
        member = self._policy.choose(address_of(client))
        member.hits += 1
        self._connections.open(key, member, seq, mac)
        return member
