"""The whole core under any order of events, in both modes: clients that open, speak, repeat, close and abort; servers
that die, return, are drained, removed, added and weighed; links that are cut, a switch that is full or reconnects, with
or without its rules, a controller that is killed and started again; and time. After each step the promises hold:

    a connection keeps its server while that is alive, and no packet of it ever reaches another one
    no server that is dead, drained or removed gets a new connection
    a client hears of the service's address alone
    the table stays within its bound, and live connections are counted right
    round robin is exact

Rule: what must be is told by `helpers.lab_books`, not by asking the balancer. Long runs: tools/long_properties.py.
"""

from __future__ import annotations

from ipaddress import ip_address

from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.lab_books import SERVERS, Books, Call
from helpers.model_switch import VERSIONS
from helpers.rig import SERVICE, Rig, Service
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lab.balancer.balancer import ServerSettings
from lab.balancer.health import CheckKind, HealthSettings
from lab.balancer.modes import MODES
from lab.balancer.rules import COOKIE_LOW_48, Cookie, cookie_member

WEB, SERVICE6 = "service0", "fd00::1:1"
CLIENT_NAMES = ["h1", "h2", "h4", "h5"]  # servers call as well
CLIENTS, ANY_SERVER = st.sampled_from(CLIENT_NAMES), st.sampled_from(SERVERS)
PORTS, DIRECT_PORTS = range(40000, 40003), range(41000, 41002)
ANY_PORT, ANY_DIRECT_PORT = st.sampled_from(PORTS), st.sampled_from(DIRECT_PORTS)
ROOMY = 1000  # a bound that no run reaches
SURE_S = 3.0  # after which a server's death or return must have been noticed (fall 2, interval 1 s)
STEP_S = 0.25


class Lab(Books, RuleBasedStateMachine):
    """What can happen, and what must follow."""

    cases = steps = 0  # of all runs

    def __init__(self) -> None:
        super().__init__()
        type(self).cases += 1
        self.next_seq = 1
        self.heard = 0  # deliveries that have been looked at

    @initialize(
        mode=st.sampled_from(["reactive", "tracked"]),
        speaks=st.sampled_from(sorted(VERSIONS)),
        bound=st.sampled_from([2, 5, ROOMY]),
        kind=st.sampled_from(CheckKind),
        policy=st.sampled_from(["round_robin"] * 3 + sorted(MODES["reactive"])),
        six=st.booleans(),
    )
    def start(self, mode: str, speaks: str, bound: int, kind: CheckKind, policy: str, six: bool) -> None:
        self.mode, self.bound, self.kind, self.policy = mode, bound, kind, policy
        self.rig = Rig(
            services=[Service(SERVICE6 if six and speaks != "1.0" else SERVICE, servers=SERVERS, policy=policy)],
            host_count=5,
            mode=mode,
            speaks=speaks,
            bound=bound,
            idle_timeout=3,
            health=HealthSettings(kind=kind),
        )

    # clients

    @rule(client=CLIENTS, port=ANY_PORT)
    def opens(self, client: str, port: int) -> None:
        known = self.tracked(client, port)
        if not self.can_send(client) or (known is not None and not known.ended):
            return  # a tracker takes a SYN within a connection for a part of it
        may, before, self.next_seq = self.expected(), self.hits(), self.next_seq + 1
        outcome = self.rig.syn(client, port, self.next_seq)
        grown = [name for name, count in self.hits().items() if count != before[name]]
        assert sum(self.hits().values()) == sum(before.values()) + len(may[:1])
        if not may:
            assert outcome.reset
            return  # a former connection of this port goes on, if its server comes back
        assert grown[0] in may, (grown, may)
        server = grown[0]
        self.last = self.numbers[server]
        self.calls[client, port] = Call(server, self.numbers[server], self.next_seq, self.bound == ROOMY)
        self.reached(client, outcome, server)
        if outcome.server is not None:
            self.rig.answer(client, outcome, SYN | ACK)

    @rule(port=ANY_PORT)
    def all_open(self, port: int) -> None:
        for client in CLIENT_NAMES:
            self.opens(client, port)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def repeats_its_syn(self, data: st.DataObject) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls[client, port]
        if not self.can_send(client) or call.server not in self.rig.up() or not self.is_sure(client, port):
            return
        before = self.hits()
        known = self.tracked(client, port)
        if (known is not None and not known.ended) or (call.remembered and call.seq):
            self.reached(client, self.rig.syn(client, port, call.seq), call.server)
            assert self.hits() == before

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), flags=st.sampled_from([ACK, ACK, FIN | ACK, RST | ACK]))
    def speaks(self, data: st.DataObject, flags: int) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.calls)))
        if self.can_send(client):
            self.say(client, port, flags)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def closes(self, data: st.DataObject) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.calls)))
        if self.can_send(client) and (outcome := self.say(client, port, FIN | ACK)).server is not None:
            self.rig.answer(client, outcome, FIN | ACK, data=b"")

    @rule(client=CLIENTS, flags=st.sampled_from([ACK, FIN | ACK]))
    def speaks_out_of_nowhere(self, client: str, flags: int) -> None:
        if self.can_send(client):
            assert self.rig.call(client, 49999, flags).reset

    @rule(client=CLIENTS, server=ANY_SERVER, port=ANY_DIRECT_PORT)
    def calls_a_server_directly(self, client: str, server: str, port: int) -> None:
        if client != server and self.can_send(client) and self.alive(server) and not self.rig.switch.full:
            assert self.rig.direct(client, server, port)

    @rule(one=CLIENTS, other=CLIENTS)
    def pings(self, one: str, other: str) -> None:
        if one != other and self.can_send(one) and self.can_send(other):
            assert self.rig.ping(one, other)

    # operators

    @rule(server=ANY_SERVER)
    def is_drained(self, server: str) -> None:
        if server in self.numbers:
            self.drained.add(server)
            self.rig.obey(self.rig.balancer.pool.drain(WEB, server))

    @rule(server=ANY_SERVER)
    def is_enabled(self, server: str) -> None:
        if server in self.numbers:
            self.drained.discard(server)
            self.rig.obey(self.rig.balancer.pool.enable(WEB, server))

    @rule(server=ANY_SERVER, weight=st.integers(1, 5))
    def is_weighed(self, server: str, weight: int) -> None:
        if server in self.numbers and self.policy != "round_robin":  # which heeds none, and says so
            self.rig.obey(self.rig.balancer.pool.set_weight(WEB, server, weight))

    @rule(server=ANY_SERVER)
    def is_removed_or_added(self, server: str) -> None:
        pool = self.rig.balancer.pool
        self.changed_at[server] = self.rig.now
        if server in self.numbers:
            self.drained.discard(server)
            del self.numbers[server]
            self.rig.obey(pool.remove(WEB, server))
        else:
            self.numbers[server] = self.next_number
            self.next_number += 1
            health = self.rig.health
            self.rig.obey(
                pool.add(WEB, ServerSettings(name=server, ip=str(ip_address(self.address(server))), health=health))
            )

    # the world

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.5, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.rig.advance(seconds, STEP_S)

    @rule(server=ANY_SERVER, noticed=st.booleans())
    def server_dies_or_returns(self, server: str, noticed: bool) -> None:
        host = self.rig.hosts[server]
        host.mute = not host.mute
        self.has_changed(server, noticed)

    @rule(server=ANY_SERVER, noticed=st.booleans())
    def process_dies_or_returns(self, server: str, noticed: bool) -> None:
        web = self.rig.hosts[server].web
        assert web is not None
        web.listens = not web.listens
        self.has_changed(server, noticed)

    def has_changed(self, server: str, noticed: bool) -> None:
        self.changed_at[server] = self.rig.now
        if noticed:
            self.rig.advance(SURE_S + STEP_S, STEP_S)

    @rule(server=ANY_SERVER, thief=st.sampled_from(["h4", "h5"]), at_port=st.booleans())
    def somebody_speaks_in_a_servers_name(self, server: str, thief: str, at_port: bool) -> None:
        """By ARP from its own MAC, or by the server's MAC at its own port. While the server lives, nothing follows."""
        host, liar = self.rig.hosts[server], self.rig.hosts[thief]
        if not self.alive(server) or server not in self.rig.up() or thief in self.cut:
            return
        mac, service = host.mac if at_port else liar.mac, self.rig.balancer.services[0]
        if service.ip >> 32:
            macs, ips = (mac, service.mac), (host.ip6, service.ip)
            lie = frames.ndp(frames.ADVERTISEMENT, macs, ips, host.ip6, mac, flags=3 << 29)
        else:
            lie = frames.arp(2, mac, service.mac, (mac, host.ip), (service.mac, service.ip))
        self.rig.arrive(liar.port, lie)
        assert self.rig.member(server).mac == host.mac
        assert self.rig.balancer._switch.port_of(host.mac) in (None, host.port)

    @rule(server=ANY_SERVER)
    def link_is_cut_or_mended(self, server: str) -> None:
        self.changed_at[server] = self.rig.now
        if server in self.cut:
            self.cut.discard(server)
            self.rig.link_up(server)
            return
        dead = self.rig.hosts[server].mute
        if not dead:
            self.rig.ping(server, "h4")  # so that its port is known
        self.cut.add(server)
        self.rig.link_down(server)
        assert dead or server not in self.rig.up()

    @rule(full=st.booleans())
    def switch_is_full_or_not(self, full: bool) -> None:
        self.rig.switch.full = full

    @rule(wiped=st.booleans())
    def switch_reconnects(self, wiped: bool) -> None:
        self.rig.connect_switch(wiped)
        self.all_are_asked_anew()

    @rule(away=st.sampled_from([0.0, 1.0, 4.0]))
    def controller_dies_and_returns(self, away: float) -> None:
        """Meanwhile, what the switch knows goes on; what it doesn't, is lost with the controller's memory."""
        going = [key for key, call in self.calls.items() if call.server in self.rig.up() and self.is_sure(*key)]
        self.rig.restart_controller(connect=False)
        self.rig.advance(away, STEP_S)
        for client, port in going:
            if self.can_send(client) and self.in_switch(client, port):
                self.reached(client, self.rig.call(client, port, ACK, 50), self.calls[client, port].server)
        self.new_pool()
        found = [key for key, call in self.calls.items() if self.is_member(call) and self.in_switch(*key)]
        for (client, port), call in self.calls.items():
            kept = self.mode == "reactive" and self.in_switch(client, port)
            call.remembered = kept and call.remembered and call.member == self.numbers[call.server]
            call.seq = 0  # in no rule, so a new controller can't tell a SYN's repetition from another one
        self.rig.connect_switch()
        assert [key for key in found if not self.in_switch(*key)] == []
        self.all_are_asked_anew()

    def all_are_asked_anew(self) -> None:
        """An open probe is forgotten, so the next one tells."""
        self.changed_at = dict.fromkeys(SERVERS, self.rig.now)

    # promises

    def ready(self) -> bool:
        return hasattr(self, "rig")

    @invariant()
    def clients_hear_of_the_service_alone(self) -> None:
        """And who is made to speak, speaks."""
        type(self).steps += 1
        nudged = set()
        while self.ready() and self.heard < len(self.rig.delivered):
            delivery = self.rig.delivered[self.heard]
            self.heard += 1
            got = delivery.fields
            if not delivery.taken or got.get("tcp_dst") not in PORTS:
                continue
            service = self.rig.balancer.services[0]
            assert (got["eth_src"], got["src"], got["tcp_src"]) == (service.mac, service.ip, 80), delivery
            if (got["tcp_flags"], got["seq"], got["ack"]) == (ACK, 0, 0):
                nudged.add((delivery.host, got["tcp_dst"]))
        for client, port in sorted(nudged & self.calls.keys()):
            if self.can_send(client):
                self.say(client, port)

    @precondition(ready)
    @invariant()
    def deaths_and_returns_are_noticed(self) -> None:
        for server in self.numbers:
            if self.rig.now - self.changed_at[server] > SURE_S:
                assert (server in self.rig.up()) == self.serves(server), server

    @precondition(ready)
    @invariant()
    def table_is_bounded_and_counted_right(self) -> None:
        assert self.rig.remembered() <= self.bound
        live = {m.name: m.live for m in self.rig.balancer.services[0].members}
        assert all(count >= 0 for count in live.values())
        assert sum(live.values()) <= self.rig.balancer.connections.statistics()["live"]

    @precondition(ready)
    @invariant()
    def pool_is_as_operators_left_it(self) -> None:
        members = {m.name: m.id for m in self.rig.balancer.services[0].members}
        assert members == self.numbers
        available = {m.name for m in self.rig.balancer.services[0].members if m.available}
        assert available == set(self.choosable())

    @precondition(ready)
    @invariant()
    def no_rule_leads_to_a_server_that_is_down(self) -> None:
        down = {m.id for m in self.rig.balancer.services[0].members if m.down}
        known = down | set(self.numbers.values())
        leading = {cookie_member(rule.cookie) for rule in self.rig.switch.of_kind(Cookie.CONNECTION)}
        assert not leading & down
        assert leading <= known

    @precondition(ready)
    @invariant()
    def a_client_has_one_rule_at_most(self) -> None:
        clients = [rule.cookie & COOKIE_LOW_48 for rule in self.rig.switch.of_kind(Cookie.CONNECTION)]
        assert len(clients) == len(set(clients))


TestLab = Lab.TestCase
TestLab.settings = settings(stateful_step_count=30)
