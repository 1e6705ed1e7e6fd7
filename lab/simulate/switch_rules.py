"""Rules in the switch in reactive mode: how many there are at a time, by idle time-out, and what short time-outs cost.

A rule lives while its connection speaks, and then until its time-out. A client that pauses longer than that finds no
rule left: its next packet comes to the controller, which adds the rule again. By Little's law, rules = arrival rate
times mean lifetime, whatever the distributions. The simulation is the switch: the balancer itself says which rules
there are and when each one times out, and is told of every packet that meets none and of every rule's end.
Rule: the law is computed from the traffic alone, the simulation from events alone, and both are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from math import exp
from typing import Final

from lab.balancer import packets
from lab.balancer.modes.reactive import FIN_IDLE_S
from lab.balancer.packets import ACK, FIN, SYN
from lab.balancer.policies.source_hash import DEFAULT_SIZE
from lab.balancer.rules import AddRule, Cookie, FinTimeout, cookie_kind
from lab.simulate.fleet import CLIENTS, FIRST_CLIENT, SERVICE_IP, Advance, PolicyMaker, chance
from lab.simulate.pool_changes import make_balancer

SERVERS: Final = 10
CLIENT_PORT: Final = SERVERS + 1
CLIENT_MAC: Final = 0x026400000001
SETTLE_S: Final = 60.0  # after which, and a time-out, as many rules end as begin
STEPS: Final = 60  # in which a simulation goes on; a multiple of 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A connection: a few requests, each of which takes no time, with pauses of exponential length between them."""

    requests: int = 4
    pause_s: float = 5.0  # on average
    vanish: float = 0.05  # part of the connections that end without a FIN


TRAFFIC: Final = Traffic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One time-out. `lifetime_s`: of a connection's rules, together."""

    idle_timeout_s: int
    flows: int  # simulated
    rate: float  # at which they came: connections per second
    rules: float  # at a time, counted
    rules_expected: float  # by the law
    lifetime_s: float
    lifetime_expected_s: float
    packet_ins: float  # per connection, counted
    packet_ins_expected: float
    core_agrees: bool  # the balancer's live connections were the switch's rules whenever they were compared


def expected_lifetime(traffic: Traffic, idle_timeout: float) -> float:
    """Seconds. A pause keeps the rule for itself or the time-out, whichever is shorter."""
    pauses = (traffic.requests - 1) * traffic.pause_s * (1 - exp(-idle_timeout / traffic.pause_s))
    return pauses + (1 - traffic.vanish) * min(FIN_IDLE_S, idle_timeout) + traffic.vanish * idle_timeout


def expected_packet_ins(traffic: Traffic, idle_timeout: float) -> float:
    return 1 + (traffic.requests - 1) * exp(-idle_timeout / traffic.pause_s)


def measure(idle_timeout: int, flows: int, seed: int, advance: Advance, traffic: Traffic = TRAFFIC) -> Rules:
    """About `flows` connections through the balancer; those of the first third, while the switch fills, don't count."""
    settle = SETTLE_S + idle_timeout
    rate = flows / (3 * settle)
    run = _Run(traffic, rate, idle_timeout, seed)
    for step in range(1, STEPS + 1):
        run.until(3 * settle * step / STEPS)
        if step == STEPS // 3:
            run.count_from_here()
        advance(step / STEPS)
    lifetime = expected_lifetime(traffic, idle_timeout)
    return Rules(
        idle_timeout_s=idle_timeout,
        flows=run.flows,
        rate=rate,
        rules=run.area / (2 * settle),
        rules_expected=rate * lifetime,
        lifetime_s=run.area / run.flows,
        lifetime_expected_s=lifetime,
        packet_ins=run.packet_ins / run.flows,
        packet_ins_expected=expected_packet_ins(traffic, idle_timeout),
        core_agrees=run.core_agrees,
    )


@dataclass(slots=True)
class _Rule:
    """A connection's rule, as the balancer asked for it."""

    cookie: int
    idle: int  # s
    fin_idle: int  # s
    expires: float  # s


class _Run:
    """The switch and its clients, event by event."""

    def __init__(self, traffic: Traffic, rate: float, idle_timeout: int, seed: int) -> None:
        maker = PolicyMaker(name="round_robin")
        self._balancer = make_balancer(
            maker, SERVERS, seed, bound=1_000_000, table_size=DEFAULT_SIZE, idle_timeout=idle_timeout
        )
        self._service_mac = self._balancer.services[0].mac
        self._traffic = traffic
        self._rate = rate
        self._rng = chance(seed, "traffic", idle_timeout)
        # (time in s, a number so that ties have an order, then a rule that may be over, or a client's next request)
        self._events: list[tuple[float, int, _Rule | None, int, int]] = []
        self._rules: dict[int, _Rule] = {}  # by client, address << 16 | port
        self._now = 0.0
        self._pushed = 0
        self._begun = 0
        self.count_from_here()
        self._push(self._rng.expovariate(rate), None, 0, 0)

    def count_from_here(self) -> None:
        self.flows = self.packet_ins = 0
        self.area = 0.0  # rules times seconds
        self.core_agrees = True

    def until(self, end: float) -> None:
        while self._events[0][0] < end:
            time, _, rule, client, request = heappop(self._events)
            self._pass_time(time)
            if rule is not None:
                self._look_at(rule, client)
            elif request == 0:
                self._begin()
            else:
                self._request(client, request)
        self._pass_time(end)
        live = self._balancer.connections.statistics()["live"]
        self.core_agrees = self.core_agrees and live == len(self._rules)

    def _pass_time(self, time: float) -> None:
        self.area += len(self._rules) * (time - self._now)
        self._now = time

    def _push(self, time: float, rule: _Rule | None, client: int, request: int) -> None:
        self._pushed += 1
        heappush(self._events, (time, self._pushed, rule, client, request))

    def _begin(self) -> None:
        """A client connects; the next one will after a while."""
        self._push(self._now + self._rng.expovariate(self._rate), None, 0, 0)
        client = (FIRST_CLIENT + self._begun % CLIENTS) << 16 | 1024 + self._begun // CLIENTS
        self._begun += 1
        self.flows += 1
        self._to_controller(client, SYN)
        self._request(client, 1)

    def _request(self, client: int, request: int) -> None:
        """A request and its answer; then a pause, or the end."""
        self._packet(client, ACK)
        if request < self._traffic.requests:
            self._push(self._now + self._rng.expovariate(1 / self._traffic.pause_s), None, client, request + 1)
        elif self._rng.random() >= self._traffic.vanish:
            self._packet(client, FIN | ACK)

    def _packet(self, client: int, flags: int) -> None:
        """By its rule, or to the controller."""
        rule = self._rules.get(client)
        if rule is None:
            self._to_controller(client, flags)
            return
        rule.expires = self._now + rule.idle
        if flags & FIN and rule.fin_idle < rule.idle:
            rule.idle = rule.fin_idle
            rule.expires = self._now + rule.idle
            self._push(rule.expires, rule, client, 0)

    def _to_controller(self, client: int, flags: int) -> None:
        self.packet_ins += 1
        macs, ips = (CLIENT_MAC, self._service_mac), (client >> 16, SERVICE_IP)
        frame = packets.tcp(macs, ips, (client & 0xFFFF, 80), flags=flags, seq=1)
        for command in self._balancer.packet_in(CLIENT_PORT, frame, False, self._now):
            if isinstance(command, AddRule) and cookie_kind(command.cookie) == Cookie.CONNECTION:
                fin = next((a.idle for a in command.actions if isinstance(a, FinTimeout)), command.idle_timeout)
                rule = _Rule(command.cookie, command.idle_timeout, fin, self._now + command.idle_timeout)
                self._rules[client] = rule
                self._push(rule.expires, rule, client, 0)

    def _look_at(self, rule: _Rule, client: int) -> None:
        """Its time may be over, unless packets have come since this was to be looked at."""
        if self._rules.get(client) is not rule:
            return
        if rule.expires > self._now:
            self._push(rule.expires, rule, client, 0)
            return
        del self._rules[client]
        self._balancer.flow_removed(rule.cookie, False, self._now)
