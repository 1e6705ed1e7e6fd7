"""What happens to a lab whoever its clients are: servers die, return, are drained, removed, added and weighed; links
are cut; the switch is full, away, or loses its rules; the controller is killed and started again; time passes. And the
promises that hold after each step. What clients do, a machine of its own adds: tests/balancer/test_state_machine*.py.

Rule: a step's outcome is compared with the books (`helpers.lab_books`) alone.
"""

from __future__ import annotations

from abc import abstractmethod
from ipaddress import ip_address

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helpers import frames
from helpers.lab_books import SERVERS, Books
from helpers.rig import SERVICE, Rig, Service
from lab.balancer.balancer import ServerSettings
from lab.balancer.health import CheckKind, HealthSettings
from lab.balancer.modes import MODES
from lab.balancer.rules import COOKIE_LOW_48, Command, Cookie, cookie_member
from lab.balancer.settings import ON_SERVER_DOWN

WEB, SERVICE6 = "service0", "fd00::1:1"
CLIENT_NAMES = ["h1", "h2", "h4", "h5"]  # servers call as well
CLIENTS, ANY_SERVER = st.sampled_from(CLIENT_NAMES), st.sampled_from(SERVERS)
PORTS = range(40000, 40003)
ANY_PORT = st.sampled_from(PORTS)
MODE, POLICY = (
    st.sampled_from(["reactive", "tracked"]),
    st.sampled_from(["round_robin"] * 3 + sorted(MODES["reactive"])),
)
BOUND, ON_DOWN = st.sampled_from([2, 5, 1000]), st.sampled_from(ON_SERVER_DOWN)
ROOMY = 1000  # a bound that no run reaches
SURE_S = 3.0  # after which a server's death or return must have been noticed (fall 2, interval 1 s)
STEP_S = 0.25


class World(Books, RuleBasedStateMachine):
    """What can happen, and what must follow."""

    cases = steps = 0  # of all runs

    def __init__(self) -> None:
        super().__init__()
        type(self).cases += 1

    def build(
        self,
        *,
        mode: str,
        speaks: str,
        bound: int,
        policy: str,
        six: bool,
        kind: CheckKind,
        on_down: str,
        protocol: str,
    ) -> None:
        self.mode, self.bound, self.kind, self.policy = mode, bound, kind, policy
        self.protocol, self.rebalances = protocol, on_down == "rebalance"
        ip = SERVICE6 if six and speaks != "1.0" else SERVICE
        self.rig = Rig(
            services=[Service(ip, servers=SERVERS, policy=policy, protocol=protocol)],
            host_count=5,
            mode=mode,
            speaks=speaks,
            bound=bound,
            idle_timeout=3,
            on_server_down=on_down,
            health=HealthSettings(kind=kind),
        )

    @property
    def version(self) -> int:
        """Of IP, the service's."""
        return 6 if self.rig.balancer.services[0].ip >> 32 else 4

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
        self.rig.obey(self.removed_or_added(server))

    @rule(server=ANY_SERVER, wiped=st.booleans())
    def is_removed_or_added_while_the_switch_is_away(self, server: str, wiped: bool) -> None:
        self.removed_or_added(server)  # and the switch doesn't hear of it
        self.switch_reconnects(wiped)

    def removed_or_added(self, server: str) -> list[Command]:
        pool = self.rig.balancer.pool
        self.changed_at[server] = self.rig.now
        if server in self.numbers:
            self.drained.discard(server)
            del self.numbers[server]
            return pool.remove(WEB, server)
        self.numbers[server] = self.next_number
        self.next_number += 1
        ip = str(ip_address(self.address(server)))
        return pool.add(WEB, ServerSettings(name=server, ip=ip, health=self.rig.health))

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
                self.goes_on(client, port)
        self.new_pool()
        for (client, port), call in self.calls.items():
            if self.mode == "tracked" and self.in_switch(client, port):  # by the server's address, whatever its number
                call.member = self.numbers[call.server]
        found = [key for key, call in self.calls.items() if self.is_member(call) and self.in_switch(*key)]
        for (client, port), call in self.calls.items():
            kept = self.mode == "reactive" and self.in_switch(client, port)
            call.remembered = kept and call.remembered and call.member == self.numbers[call.server]
            call.seq = 0  # in no rule, so a new controller can't tell a SYN's repetition from another one
        self.rig.connect_switch()
        assert [key for key in found if not self.in_switch(*key)] == []
        self.all_are_asked_anew()

    @abstractmethod
    def goes_on(self, client: str, port: int) -> None:
        """A packet of what is in the switch, while there is no controller, and whom it reaches."""

    def all_are_asked_anew(self) -> None:
        """An open probe is forgotten, so the next one tells."""
        self.changed_at = dict.fromkeys(SERVERS, self.rig.now)

    # promises

    def ready(self) -> bool:
        return hasattr(self, "rig")

    @invariant()
    def step_is_counted(self) -> None:
        type(self).steps += 1

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
