"""The balancer: what happens on the balancing switch, event by event. Events come in, commands for the switch go out.

It joins the parts: a learning switch for all traffic, ARP for the services' addresses, checks of the servers' health
(`lab.balancer.checks`), and a mode (`lab.balancer.modes`) for packets to the services. Rule: no clock, no I/O; `now` is
monotonic time (s), and every method returns at once, with all that is to be sent.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

from lab.balancer import packets
from lab.balancer.address_rules import address_rules
from lab.balancer.assignment import Assignment
from lab.balancer.checks.health_checks import HealthChecks
from lab.balancer.client import asking
from lab.balancer.connections import Connections
from lab.balancer.health import Health
from lab.balancer.learning import LearningSwitch
from lab.balancer.modes import make_mode
from lab.balancer.operations import Operations, Roster
from lab.balancer.packet import MAX_FRAME
from lab.balancer.packets import ARP_REPLY, ARP_REQUEST, Drop, Kind, Packet, PacketError
from lab.balancer.policies import Policy, make
from lab.balancer.policies.plugin import Guarded, load
from lab.balancer.pool import Directory, Member, Service, service_mac
from lab.balancer.rules import (
    COOKIE_KEPT,
    COOKIE_LOW_48,
    COOKIE_MEMBER_MASK,
    COOKIE_MEMBER_SHIFT,
    IN_PORT,
    NO_PORT,
    AddRule,
    AskRules,
    Command,
    Cookie,
    DeleteRules,
    Note,
    Output,
    Senders,
    SendPacket,
    Table,
    cookie_kind,
    cookie_member,
    fixed_cookie,
)
from lab.balancer.settings import PROTOCOLS, ServerSettings, ServiceSettings, Settings
from lab.balancer.statistics import Counters

WAITING_BOUND: Final = 1_000  # packets that wait for the first server to be found
_UNUSED: Final = {Kind.FRAGMENT: Drop.FRAGMENT, Kind.VLAN: Drop.VLAN}


class Balancer:
    """The balancing switch's controller. `rng` is the only source of chance."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self.counters = Counters()
        self._detail = settings.detail
        self.connections = Connections(settings.bound)  # of all services
        self.assignments = _build(settings, rng, self.connections)
        self.services = [assignment.service for assignment in self.assignments]
        self._by_address = Directory[Assignment]()
        self._members = [(a, member) for a in self.assignments for member in a.service.members]
        self._by_server = Directory[tuple[Service, Member]]()
        for assignment in self.assignments:
            self._by_address.put(assignment.service.ip, assignment.service, assignment)
        for assignment, member in self._members:
            self._by_server.put(member.ip, assignment.service, (assignment.service, member))
        self._service_ips = {service.ip: service for service in self.services}
        self._mode = make_mode(settings.mode, settings.stateful, self.assignments, self.counters, settings.idle_timeout)
        self._switch = LearningSwitch([service.mac for service in self._service_ips.values()])
        self._waiting: deque[tuple[int, bytes]] = deque(maxlen=WAITING_BOUND)
        chance = random.Random(rng.getrandbits(64))  # apart, so that probes don't change what a policy draws
        self.checks = HealthChecks(self, self._switch, self.counters.drops, chance)
        for assignment, member in self._members:
            self.checks.add(assignment, member)
        self._met = False  # the switch was connected before
        self._asked = False  # and has told what it remembered of another life
        roster = Roster(self.assignments, self._members, self._by_server)
        wanted = {service.name: service for service in settings.services}
        self.pool = Operations(
            roster, self._mode, self.checks, lambda name, id_, server: _member(wanted[name], id_, server)
        )
        self._fixed_cookie = fixed_cookie(_fingerprint(settings))

    # events

    def switch_up(self, now: float) -> list[Command]:
        """The balancing switch has connected. The first time it is asked what it remembers: see `rules_found`."""
        first = not self._met
        self._met = True
        replaced: list[Command] = [AskRules(table=Table.SERVICE), _all_but_kept()] if first else []
        # the mode's first: what it takes by itself must not come to us as a packet to a closed port
        commands = [*replaced, *self.pool.switch_up(), *self._mode.fixed_rules()]
        commands += address_rules(self._service_ips.values())
        commands += [] if first else self._mode.switch_back(now)
        for assignment, member in self._members:
            commands += self._mode.member_rules(assignment.service, member) if member.mac else []
            commands += self._mode.forget_member(assignment.service, member) if member.down else []
        # and last the way in: from an empty switch, a server's packet would get to its client in the server's own name
        commands += [*self.checks.switch_up(), *self._switch.switch_up(now)]
        for command in commands:
            if isinstance(command, AddRule) and command.cookie == fixed_cookie():
                command.cookie = self._fixed_cookie
        return [*commands, *self.tick(now)]

    def rules_found(self, cookies: Sequence[int], senders: Senders, now: float) -> list[Command]:
        """What the switch remembered as it connected. Connections of this very configuration are taken over, with no
        break; everything else is of another life and goes."""
        asked, self._asked = self._asked, True
        if not asked and self._fixed_cookie not in cookies:
            return [_all_kept(), *self._mode.start_clean(), *self._renew_members()]
        kept = [cookie for cookie in cookies if cookie & COOKIE_KEPT]
        known = {member.id: member for _, member in self._members}
        strangers = sorted({cookie >> COOKIE_MEMBER_SHIFT for cookie in kept if cookie_member(cookie) not in known})
        gone = [DeleteRules(cookie=c << COOKIE_MEMBER_SHIFT, cookie_mask=COOKIE_MEMBER_MASK) for c in strangers]
        for cookie in kept:  # where the connections' rules lead to, until the server itself has answered
            member = known.get(cookie_member(cookie))
            if cookie_kind(cookie) == Cookie.MEMBER and member is not None:
                member.mac = member.mac or cookie & COOKIE_LOW_48
        taken = self._mode.adopt([cookie for cookie in kept if cookie_member(cookie) in known], senders)
        return [*gone, *taken, *([] if asked else [Note(f"took {len(kept)} rules over from a former controller")])]

    def _renew_members(self) -> list[Command]:
        """Those that have answered meanwhile lost their rules with all that was kept."""
        found = [(a.service, m) for a, m in self._members if m.mac]
        return [command for service, member in found for command in self._mode.member_rules(service, member)]

    def packet_in(self, in_port: int, data: bytes, learn: bool, now: float) -> list[Command]:
        """The switch shows us a packet. `learn`: only because its source is unknown; it is on its way already."""
        if learn:
            return self._learn(in_port, data, now)
        if len(data) > MAX_FRAME:
            self.counters.drops[Drop.TOO_LARGE] += 1
            return []
        try:
            packet = packets.parse(data)
        except PacketError as error:
            self.counters.drops[error.drop] += 1
            return []
        refused = self.checks.moved(packet.eth_src, in_port, now)
        if refused is not None:
            return refused
        learned = self._switch.seen(packet.eth_src, in_port)
        return [*learned, *self._handle(packet, data, in_port, now)]

    def flow_removed(self, cookie: int, deleted: bool, now: float) -> list[Command]:
        """A rule is gone: idled out, or `deleted` by a command."""
        return [*self._switch.flow_removed(cookie, deleted, now), *self._mode.flow_removed(cookie, deleted)]

    def port_changed(self, port: int, up: bool, now: float) -> list[Command]:
        """A port's link went up or down: servers behind it are down at once, or probed at once."""
        behind = [] if up else self.checks.behind(port)
        commands = self._switch.port_changed(port, up, now)
        commands += self.checks.link_down(behind, now)
        if up:
            self.checks.link_up()
        return [*commands, *self.tick(now)]

    def tick(self, now: float) -> list[Command]:
        """Time passes: close overdue probes, send those that are due."""
        return [*self.pool.tick(), *self.checks.tick(now), *self._mode.tick(now), *self._reports()]

    def next_timer(self) -> float:
        """When `tick` has something to do next (s); calls before are harmless."""
        return self.checks.next_timer()

    def drops(self) -> dict[str, int]:
        """What was refused, by reason, for every reason there is."""
        return {drop.value: self.counters.drops[drop] + self._switch.drops[drop] for drop in Drop}

    def _reports(self) -> list[Command]:
        told = [(a.service.name, text) for a in self.assignments for text in a.told()]
        return [Note(f"{name}: {text}", warning=True) for name, text in told]

    # packets

    def _learn(self, in_port: int, data: bytes, now: float) -> list[Command]:
        """A copy of an unknown source's frame; what claims to be a service, the switch itself has dropped."""
        claimed = packets.claimed(data)
        if claimed in self._service_ips:
            self.counters.drops[Drop.SPOOF] += 1
        refused = self.checks.moved(int.from_bytes(data[6:12], "big"), in_port, now)
        return self._switch.packet_in(in_port, data, True, now) if refused is None else refused

    def _handle(self, packet: Packet, data: bytes, in_port: int, now: float) -> list[Command]:
        if packet.proto:
            return self._transport(packet, data, in_port, now)
        if packet.kind in (Kind.ARP, Kind.NDP):
            return self._arp(packet, in_port, now)
        if packet.kind is Kind.ICMP and packet.ip_dst in self._service_ips:
            return _back(in_port, packets.echo_reply(data, packet))
        self.counters.drops[_UNUSED.get(packet.kind, Drop.NOT_SERVED)] += 1
        return []

    def _transport(self, packet: Packet, data: bytes, in_port: int, now: float) -> list[Command]:
        """A TCP or UDP packet."""
        check = self.checks.answers(packet)
        if check is not None:
            return self.checks.tcp(check, packet, data, in_port, now)
        address = (packet.ip_dst, packet.proto, packet.dst_port)
        assignment = self._by_address.find(*address)
        if assignment is not None:
            if assignment.undecided:  # just started: a probe's answer is a moment away, and this is then handled anew
                self._waiting.append((in_port, data))
                return []
            commands = self._mode.to_service(assignment, packet, data, in_port)
            return [*commands, self._decision(assignment, packet, commands)] if self._detail else commands
        called = self._by_server.find(*address)
        if called is not None:
            return self._mode.to_member(*called, packet, data, in_port, now)
        if packet.ip_dst not in self._service_ips:
            return self._mode.stray(packet, data, in_port)
        self.counters.drops[Drop.NOT_SERVED] += 1
        closed = packet.kind is Kind.TCP and not packet.flags & packets.RST  # a datagram is refused by silence
        return _back(in_port, packets.reset(packet) if closed else None)

    def _decision(self, assignment: Assignment, packet: Packet, commands: Sequence[Command]) -> Note:
        """What was decided about a packet to a service, as a line for the log."""
        client = f"{assignment.service.name}: {packets.host_and_port(packet.ip_src, packet.src_port)}"
        server = assignment.server_of(asking(assignment.service, packet))
        reset = any(isinstance(command, SendPacket) and command.in_port == NO_PORT for command in commands)
        if server is None or reset or not commands:
            return Note(f"{client} refused", detail=True)
        return Note(f"{client} -> {server.name}", detail=True)

    def _resume(self, now: float) -> list[Command]:
        """A server's state was found out: handle what waited for it."""
        waited = list(self._waiting)
        self._waiting.clear()
        return [command for in_port, data in waited for command in self.packet_in(in_port, data, False, now)]

    def _arp(self, packet: Packet, in_port: int, now: float) -> list[Command]:
        if packet.ip_src in self._service_ips:
            self.counters.drops[Drop.SPOOF] += 1
            return []
        service = self._service_ips.get(packet.ip_dst)
        if service is None:
            self.counters.drops[Drop.UNEXPECTED_ARP] += 1
            return []
        if packet.arp_op == ARP_REQUEST:
            asker = (packet.arp_mac, packet.ip_src)
            return _back(
                in_port, packets.neighbour(ARP_REPLY, service.mac, packet.eth_src, (service.mac, service.ip), asker)
            )
        waited = self._mode.host_found(packet.ip_dst, packet.ip_src, packet.arp_mac)
        return [*waited, *self.checks.arp_answer(packet, in_port, now, expected=bool(waited))]

    # what the checks find (`lab.balancer.checks.health_checks.Pools`)

    def located(self, assignment: Assignment, member: Member, former: int) -> list[Command]:
        of = (assignment.service, member)
        stale = self._mode.forget_member(*of) if former not in (0, member.mac) else []
        return [*stale, *self._mode.member_rules(*of)]

    def went_up(self, assignment: Assignment, member: Member, now: float) -> list[Command]:
        assignment.pool_changed()
        note = Note(f"{assignment.service.name}: {member.name} ({packets.address(member.ip)}) is up")
        rules = [*self._mode.member_rules(assignment.service, member), *self._mode.tick(now)]
        return [note, *rules, *self._resume(now)]

    def went_down(self, assignment: Assignment, member: Member, why: str, now: float) -> list[Command]:
        assignment.pool_changed()
        text = f"{assignment.service.name}: {member.name} ({packets.address(member.ip)}) is down: {why}"
        rules = [*self._mode.forget_member(assignment.service, member), *self._mode.tick(now)]
        return [Note(text, warning=True), *rules, *self._resume(now)]

    def share_changed(self, assignment: Assignment, member: Member) -> list[Command]:
        assignment.pool_changed()
        return []


def _fingerprint(settings: Settings) -> int:
    """Tells one configuration's rules from another's, after a restart of the controller; not by how it is spelt."""
    services = [
        (s.name, s.address, s.protocol, s.ports, [(m.name, m.address, m.weight, m.health) for m in s.servers])
        for s in settings.services
    ]
    text = repr((settings.mode, settings.stateful, services))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") | 1


def _all_but_kept() -> DeleteRules:
    return DeleteRules(cookie=0, cookie_mask=COOKIE_KEPT)


def _all_kept() -> DeleteRules:
    return DeleteRules(cookie=COOKIE_KEPT, cookie_mask=COOKIE_KEPT)


def _build(settings: Settings, rng: random.Random, connections: Connections) -> list[Assignment]:
    assignments = []
    next_id = 1
    rebalance = settings.on_server_down == "rebalance"
    for number, wanted in enumerate(settings.services):
        members = [_member(wanted, next_id + i, server) for i, server in enumerate(wanted.servers)]
        next_id += len(members)
        ip = wanted.address
        service = Service(
            name=wanted.name,
            ip=ip,
            port=wanted.port,
            last_port=wanted.last_port,
            proto=PROTOCOLS[wanted.protocol],
            mac=service_mac(ip),
            policy=wanted.policy,
            members=members,
        )
        policy = _policy(settings, wanted.policy, rng)
        assignments.append(
            Assignment(service, policy, connections, number, len(settings.services), rebalance=rebalance)
        )
    return assignments


def _policy(settings: Settings, name: str, rng: random.Random) -> Policy:
    plugin = settings.plugins.get(name)
    return make(name, rng, settings.hash_table_size) if plugin is None else Guarded(plugin, load(plugin), rng)


def _member(service: ServiceSettings, id_: int, server: ServerSettings) -> Member:
    health = Health(server.health or service.health)
    return Member(id=id_, name=server.name, ip=server.address, weight=server.weight, health=health)


def _back(in_port: int, data: bytes | None) -> list[Command]:
    """An answer, out where the question came in."""
    return [] if data is None else [SendPacket(data=data, actions=(Output(IN_PORT),), in_port=in_port)]
