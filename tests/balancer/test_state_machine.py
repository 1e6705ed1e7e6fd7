"""The core under any order of events: clients that open, speak, repeat and leave, servers that die and return, links
that are cut, time, and a switch that reconnects. After each step the promises of the reactive mode hold."""

from __future__ import annotations

from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.model_switch import VERSIONS
from helpers.rig import SERVICE, Rig, Service
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lab.balancer.health import CheckKind, HealthSettings

SERVERS = ["h1", "h2", "h3"]
CLIENTS = st.sampled_from(["h1", "h2", "h4", "h5"])  # servers call as well
PORTS = st.integers(40000, 40002)
DIRECT_PORTS = st.integers(41000, 41001)
SURE_S = 3.0  # after which a server's death or return must have been noticed (fall 2, interval 1 s)
STEP_S = 0.25


class Clients(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.server_of: dict[tuple[str, int], str] = {}  # open connections, as the clients know them
        self.seq_of: dict[tuple[str, int], int] = {}
        self.last: str | None = None  # who was chosen last
        self.next_seq = 1
        self.changed_at = dict.fromkeys(SERVERS, 0.0)  # when a server died or came back
        self.cut: set[str] = set()

    @initialize(
        speaks=st.sampled_from(sorted(VERSIONS)), bound=st.sampled_from([2, 5, 1000]), kind=st.sampled_from(CheckKind)
    )
    def start(self, speaks: str, bound: int, kind: CheckKind) -> None:
        services, health = [Service(servers=SERVERS)], HealthSettings(kind=kind)
        self.rig = Rig(services=services, host_count=5, speaks=speaks, bound=bound, idle_timeout=3, health=health)
        self.bound = bound
        self.kind = kind

    def turn(self) -> str | None:
        """Who is next by the book: the first live server behind the last chosen one, in the pool's order."""
        live = self.rig.up()
        behind = [name for name in live if self.last is not None and name > self.last]
        return (behind or live or [None])[0]

    def alive(self, server: str) -> bool:
        return not self.rig.hosts[server].mute and server not in self.cut

    def serves(self, server: str) -> bool:
        """Whether its health check finds it well."""
        web = self.rig.hosts[server].web
        return self.alive(server) and (self.kind is CheckKind.ARP or (web is not None and web.listens))

    def can_send(self, client: str) -> bool:
        return client not in self.cut and not self.rig.hosts[client].mute

    # clients

    @rule(client=CLIENTS, port=PORTS)
    def opens(self, client: str, port: int) -> None:
        if not self.can_send(client):
            return
        expected, self.next_seq = self.turn(), self.next_seq + 1
        hits = {m.name: m.hits for m in self.rig.balancer.services[0].members}
        outcome = self.rig.syn(client, port, self.next_seq)
        if expected is None:
            assert outcome.reset
            return  # a former connection of this port goes on, if its server comes back
        self.last = expected
        assert self.rig.member(expected).hits == hits[expected] + 1
        assert sum(m.hits for m in self.rig.balancer.services[0].members) == sum(hits.values()) + 1
        self.server_of[client, port], self.seq_of[client, port] = expected, self.next_seq
        self.reached(client, outcome.server, expected)
        if outcome.server is not None:
            self.rig.answer(client, outcome, SYN | ACK)

    @precondition(lambda self: self.server_of)
    @rule(data=st.data())
    def repeats_its_syn(self, data: st.DataObject) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.server_of)))
        server = self.server_of[client, port]
        if self.can_send(client) and server in self.rig.up() and self.roomy():
            outcome = self.rig.syn(client, port, self.seq_of[client, port])
            self.reached(client, outcome.server, server)

    @precondition(lambda self: self.server_of)
    @rule(data=st.data(), flags=st.sampled_from([ACK, FIN | ACK, RST | ACK]))
    def speaks(self, data: st.DataObject, flags: int) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.server_of)))
        if not self.can_send(client):
            return
        server = self.server_of[client, port]
        up = server in self.rig.up()
        outcome = self.rig.call(client, port, flags, 50, data=b"GET")
        if flags & RST:
            assert not outcome.reset
        if not up:
            assert outcome.server is None
            assert outcome.reset or flags & RST
            del self.server_of[client, port]
        elif self.roomy() or outcome.server is not None:
            self.reached(client, outcome.server, server)
            if outcome.server is not None and not flags & RST:
                self.rig.answer(client, outcome)
        else:  # forgotten by a full table: reset, never handed to another
            assert outcome.reset or flags & RST or not self.alive(server)
            del self.server_of[client, port]

    @rule(client=CLIENTS, flags=st.sampled_from([ACK, FIN | ACK, SYN | ACK]))
    def speaks_out_of_nowhere(self, client: str, flags: int) -> None:
        if self.can_send(client):
            assert self.rig.call(client, 49999, flags).reset

    @rule(client=CLIENTS, server=st.sampled_from(SERVERS), port=DIRECT_PORTS)
    def calls_a_server_directly(self, client: str, server: str, port: int) -> None:
        if client != server and self.can_send(client) and self.alive(server):
            assert self.rig.direct(client, server, port)

    @rule(one=CLIENTS, other=CLIENTS)
    def pings(self, one: str, other: str) -> None:
        if one != other and self.can_send(one) and self.can_send(other):
            assert self.rig.ping(one, other)

    def roomy(self) -> bool:
        """The table can hold whatever the clients may have open."""
        return self.bound >= 1000

    def reached(self, client: str, server: str | None, expected: str) -> None:
        """A packet came to the expected server, or died with it on its way; never to another."""
        assert server == expected or (server is None and not self.alive(expected)), (client, server, expected)

    # the world

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.5, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.rig.advance(seconds, STEP_S)

    @rule(server=st.sampled_from(SERVERS), mute=st.booleans())
    def server_dies_or_returns(self, server: str, mute: bool) -> None:
        if self.rig.hosts[server].mute != mute:
            self.rig.hosts[server].mute = mute
            self.changed_at[server] = self.rig.now

    @rule(server=st.sampled_from(SERVERS), listens=st.booleans())
    def process_dies_or_returns(self, server: str, listens: bool) -> None:
        web = self.rig.hosts[server].web
        assert web is not None
        if web.listens != listens:
            web.listens = listens
            self.changed_at[server] = self.rig.now

    @rule(server=st.sampled_from(SERVERS), thief=st.sampled_from(["h4", "h5"]), at_port=st.booleans())
    def somebody_speaks_in_a_servers_name(self, server: str, thief: str, at_port: bool) -> None:
        """By ARP from its own MAC, or by the server's MAC at its own port. While the server lives, nothing follows."""
        host, liar = self.rig.hosts[server], self.rig.hosts[thief]
        if not self.alive(server) or server not in self.rig.up() or thief in self.cut:
            return
        mac = host.mac if at_port else liar.mac
        to = (self.rig.service_mac(), frames.ip(SERVICE))
        self.rig.arrive(liar.port, frames.arp(2, mac, to[0], (mac, host.ip), to))
        assert self.rig.member(server).mac == host.mac
        assert self.rig.balancer._switch.port_of(host.mac) in (None, host.port)

    @rule(server=st.sampled_from(SERVERS))
    def link_is_cut(self, server: str) -> None:
        if server not in self.cut:
            known = self.rig.hosts[server]
            if not known.mute:
                self.rig.ping(server, "h4")  # so that its port is known
            self.cut.add(server)
            self.changed_at[server] = self.rig.now
            self.rig.link_down(server)
            assert known.mute or server not in self.rig.up()

    @rule(server=st.sampled_from(SERVERS))
    def link_is_mended(self, server: str) -> None:
        if server in self.cut:
            self.cut.discard(server)
            self.changed_at[server] = self.rig.now
            self.rig.link_up(server)

    @rule(wiped=st.booleans())
    def switch_reconnects(self, wiped: bool) -> None:
        for server in SERVERS:  # an open probe is forgotten, so its next one tells
            self.changed_at[server] = self.rig.now
        self.rig.connect_switch(wiped)

    # promises

    @invariant()
    def deaths_and_returns_are_noticed(self) -> None:
        for server in SERVERS:
            if hasattr(self, "rig") and self.rig.now - self.changed_at[server] > SURE_S:
                assert (server in self.rig.up()) == self.serves(server)

    @invariant()
    def table_is_bounded(self) -> None:
        if hasattr(self, "rig"):
            assert self.rig.remembered() <= self.bound

    @invariant()
    def no_rule_leads_to_a_server_that_is_down(self) -> None:
        if hasattr(self, "rig"):
            down = {m.id for m in self.rig.balancer.services[0].members if not m.up}
            leading = {r.cookie >> 48 & 0xFFF for r in self.rig.switch.rules() if r.cookie >> 60 == 4}
            assert not leading & down

    @invariant()
    def a_client_has_one_rule_at_most(self) -> None:
        if hasattr(self, "rig"):
            clients = [r.cookie & (1 << 48) - 1 for r in self.rig.switch.rules() if r.cookie >> 60 == 4]
            assert len(clients) == len(set(clients))


TestClients = Clients.TestCase
TestClients.settings = settings(stateful_step_count=30)
