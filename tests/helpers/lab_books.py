"""What clients and operators of a lab know: which connection has which server, who is in the pool, who may be next.

For the state machine of the core. Rule: these books are kept by what was done and seen, never by asking the balancer,
but for its view of servers' health, which is checked on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.frames import ACK, RST
from helpers.rig import Outcome, Rig
from helpers.tracker import Connection
from lab.balancer.health import CheckKind
from lab.balancer.modes.tracked_rules import FIRST_UDP_ZONE, ZONE
from lab.balancer.rules import Cookie

SERVERS = ["h1", "h2", "h3"]
SENDER = ("ip_src", "ipv6_src", "tcp_src", "udp_src")  # of a connection's rule


@dataclass
class Call:
    """An open connection or flow, as its client knows it. `remembered`: the controller must know it, whatever the
    switch does. `member`: its server's number in the pool, another one after it has left and come back."""

    server: str
    member: int
    seq: int
    remembered: bool
    used: float = 0.0  # s; a flow's last datagram
    gone: float | None = None  # s; since when the switch is seen not to know the flow


class Books:
    """The rig and what must be true of it."""

    rig: Rig
    mode: str
    kind: CheckKind
    policy: str
    protocol: str
    rebalances: bool  # what is left of a dead server's connections goes to another server

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[tuple[str, int], Call] = {}
        self.changed_at = dict.fromkeys(SERVERS, 0.0)  # when a server died or came back
        self.cut: set[str] = set()
        self.new_pool()

    def new_pool(self) -> None:
        """As it is configured."""
        self.numbers = {name: i for i, name in enumerate(SERVERS, 1)}  # of those in the pool, in its order
        self.next_number = len(SERVERS) + 1
        self.last = 0  # the number of the server that was chosen last
        self.drained: set[str] = set()

    def choosable(self) -> list[str]:
        """Who may get a new connection, in the pool's order."""
        return [name for name in self.numbers if name in self.rig.up() and name not in self.drained]

    def expected(self) -> list[str]:
        """Who may be next; by round robin only one: the first behind the last chosen one, in the pool's order."""
        live = self.choosable()
        if self.policy != "round_robin":
            return live
        behind = [name for name in live if self.numbers[name] > self.last]
        return (behind or live)[:1]

    def alive(self, server: str) -> bool:
        return not self.rig.hosts[server].mute and server not in self.cut

    def serves(self, server: str) -> bool:
        """Whether its health check finds it well."""
        web = self.rig.hosts[server].web
        return self.alive(server) and (self.kind is CheckKind.ARP or (web is not None and web.listens))

    def can_send(self, client: str) -> bool:
        """To the service, and be answered at once: while no server can be chosen and one isn't known, packets wait."""
        undecided = self.rig.balancer.assignments[0].undecided
        return client not in self.cut and not self.rig.hosts[client].mute and not undecided

    def address(self, host: str) -> int:
        """Of the service's IP version."""
        return self.rig.hosts[host].at(self.rig.balancer.services[0].ip)

    def in_switch(self, client: str, port: int) -> bool:
        """Whether the switch knows the connection, so that the controller needs not."""
        if self.mode == "tracked":
            return self.tracked(client, port) is not None
        wanted = {self.address(client), port}
        matches = [rule.match for rule in self.rig.switch.of_kind(Cookie.CONNECTION)]
        return any(wanted == {v for name, v, _ in match if name in SENDER} for match in matches)

    def tracked(self, client: str, port: int) -> Connection | None:
        zone = FIRST_UDP_ZONE if self.protocol == "udp" else ZONE
        return self.rig.switch.tracker.known(zone, (self.address(client), port))

    def hits(self) -> dict[str, int]:
        return {m.name: m.hits for m in self.rig.balancer.services[0].members}

    def reached(self, client: str, outcome: Outcome, server: str) -> None:
        """A packet came to this server, or died with it on its way; never to another."""
        lost = outcome.server is None and not outcome.reset and not self.alive(server)
        assert outcome.server == server or lost, (client, outcome, server)

    def is_sure(self, client: str, port: int) -> bool:
        """Whether its next packet must reach its server: it is the same member, and somebody remembers it."""
        call = self.calls[client, port]
        return self.is_member(call) and (call.remembered or self.in_switch(client, port))

    def is_member(self, call: Call) -> bool:
        """Its server hasn't left the pool since."""
        return self.numbers.get(call.server) == call.member

    def chosen(self, before: dict[str, int], may: list[str]) -> str | None:
        """The one server, of those that might be next, that a packet was newly given to; None: nobody."""
        grown = [name for name, count in self.hits().items() if count != before[name]]
        assert sum(self.hits().values()) - sum(before.values()) == len(grown) <= 1
        if not grown:
            return None
        assert grown[0] in may, (grown, may)
        self.last = self.numbers[grown[0]]
        return grown[0]

    def is_up(self, call: Call) -> bool:
        return self.is_member(call) and not self.rig.member(call.server).down

    def say(self, client: str, port: int, flags: int = ACK) -> Outcome:
        """A packet of an open connection, and what must become of it."""
        call = self.calls[client, port]
        up, sure = self.is_up(call), self.is_sure(client, port)
        moves = self.rebalances and not up and (self.mode == "reactive" or self.tracked(client, port) is None)
        before, may = self.hits(), self.expected() if moves else []
        outcome = self.rig.call(client, port, flags, 50, data=b"GET")
        if (server := self.chosen(before, may)) is not None:
            call = self.calls[client, port] = Call(server, self.numbers[server], 0, call.remembered)
            up = sure = True
        assert up or not (may and call.remembered), "it was not handed on"
        assert outcome.server in (None, call.server), outcome
        if outcome.server is not None and not flags & RST:
            self.rig.answer(client, outcome)
        silence = outcome.server is None and not outcome.reset
        assert not silence or flags & RST or (up and not self.alive(call.server)), "it was left waiting"
        if up and sure:
            self.reached(client, outcome, call.server)
        elif outcome.server is None and not (silence and up):
            del self.calls[client, port]
        return outcome
