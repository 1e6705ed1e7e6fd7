"""Reactive mode: the controller decides about each new connection, a rule per connection remembers.

One packet-in (the SYN) and one flow-mod per connection. The rules, all in the SERVICE table, highest first:

    SYN     a SYN to the service: to the controller, above the connections' rules, so that a client port used again
            begins a new connection and the switch's cached flow covers SYNs alone
    HAIRPIN a server's answer to itself, when it is a client of the service and was chosen for its own request
    DIRECT  a server's answer to a client that called the server's own address: as it is (see `direct_calls`)
    CLIENT  a connection's packets: to its server's MAC and address
    OPEN    a SYN to a server's own address and the service's port: to the controller, which adds DIRECT
    REPLY   a server's answer: from the service's MAC and address; one rule per server, whatever the connections
    MISS    another packet to the service, with no rule left: to the controller, which adds CLIENT again. It looks at
            the TTL, which no other rule does: so the cached flow of a connection that has ended leaves with its rule.
            Else it stays for 10 s, turned into one for MISS, and each new rule makes the switch check all of them

UDP has no SYN and no FIN: a flow begins by MISS and ends when its rule has idled out; a datagram from the same client
port after that begins another one. Its OPEN shows any datagram to a server's own address.
Rules name who, not where: the DESTINATION table knows the ports, so a server that moves needs no new rules here.
Rule of this module: of TCP, nothing but a SYN gets a server it didn't have; what belongs to no connection is reset.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from lab.balancer import packets
from lab.balancer.assignment import Assignment
from lab.balancer.client import Marked, asking, mark, number
from lab.balancer.matching import Fields, blocks, from_port, packets_of, set_destination, set_source, to_port
from lab.balancer.modes.direct_calls import DirectCalls
from lab.balancer.modes.nudging import Nudges
from lab.balancer.packets import ACK, RST, SYN, Drop, Kind, Packet
from lab.balancer.pool import Member, Service
from lab.balancer.rules import (
    COOKIE_LOW_48,
    COOKIE_MEMBER_MASK,
    COOKIE_WHOLE,
    IN_PORT,
    Action,
    Actions,
    AddRule,
    AskRules,
    Command,
    Cookie,
    DeleteRules,
    Examine,
    FinTimeout,
    GoTo,
    Match,
    Output,
    Senders,
    SendPacket,
    SetField,
    Table,
    ToController,
    cookie_kind,
    cookie_member,
    fixed_cookie,
    member_cookie,
)
from lab.balancer.statistics import Counters

SYN_PRIORITY: Final = 300
HAIRPIN_PRIORITY: Final = 260
CLIENT_PRIORITY: Final = 200
REPLY_PRIORITY: Final = 100
MISS_PRIORITY: Final = 50

SYN_ALONE: Final = (SYN, SYN | ACK)  # tcp_flags=+syn-ack
FIN_IDLE_S: Final = 1  # a connection's rule leaves this long after its FIN
_ON: Final = (GoTo(Table.DESTINATION),)
_TO_CONTROLLER: Final = (ToController(),)
_MISSED: Final = (Examine("ip_ttl"), *_TO_CONTROLLER)
_LEAVES_SOON: Final = (FinTimeout(FIN_IDLE_S),)


class Reactive:
    """The reactive mode's part of the balancer; see `lab.balancer.modes.Mode`. `idle_timeout` in s."""

    def __init__(self, assignments: Sequence[Assignment], counters: Counters, idle_timeout: int) -> None:
        self._assignments = assignments
        # by member's id; removed ones' too, since the end of their rules is told of later
        self._owners: dict[int, tuple[Assignment, Member]] = {}
        self._counters = counters
        self._idle_timeout = idle_timeout
        self._direct = DirectCalls(counters.drops)
        self._clients = Marked()
        self._nudges = Nudges()
        self._now = 0.0  # s, as of the last tick

    def fixed_rules(self) -> list[Command]:
        services = [assignment.service for assignment in self._assignments]
        openings = [rule for s in services for m in s.members for rule in self._direct.opening_rules(s, m)]
        return [*(rule for service in services for rule in self.entry_rules(service)), *openings]

    def entry_rules(self, service: Service) -> list[Command]:
        """What brings the service's connections to the controller."""
        to_service = [{**packets_of(service, destination=service.ip), **to_port(service, p)} for p in blocks(service)]
        begins = [] if service.udp else [{**match, "tcp_flags": SYN_ALONE} for match in to_service]
        return [
            *(_fixed(SYN_PRIORITY, match, *_TO_CONTROLLER) for match in begins),
            *(_fixed(MISS_PRIORITY, match, *_MISSED) for match in to_service),
        ]

    def switch_back(self, now: float) -> list[Command]:
        """The ends of rules that it lost, or that idled out while it was away, were never told. So no connection counts
        as live until its rule is found, or until it comes up and gets one again."""
        self._assignments[0].rest_all()
        return [AskRules(table=Table.SERVICE)]

    def member_rules(self, service: Service, member: Member) -> list[Command]:
        return [
            rule for port in blocks(service) for rule in self._answer_rules(service, member, from_port(service, port))
        ]

    def _answer_rules(self, service: Service, member: Member, port: Fields) -> list[Command]:
        answer = {**packets_of(service, source=member.ip), **port}
        to_itself = {**packets_of(service, source=member.ip, destination=service.ip), **port}
        as_service = (SetField("eth_src", service.mac), set_source(service.ip))
        back = (SetField("eth_dst", member.mac), set_destination(member.ip), Output(IN_PORT))
        cookie = member_cookie(Cookie.MEMBER, member.id, member.mac)
        return [
            _rule(HAIRPIN_PRIORITY, to_itself, (*as_service, *back), cookie),
            _rule(REPLY_PRIORITY, answer, (*self._direct.apart(service, member), *as_service, *_ON), cookie),
        ]

    def member_added(self, service: Service, member: Member) -> list[Command]:
        self._owners.pop(member.id, None)  # a removed one's, of the same id
        return [*self._direct.opening_rules(service, member)]

    def member_removed(self, service: Service, member: Member) -> list[Command]:
        self._owners[member.id] = (self._assignment(service), member)
        kinds = (Cookie.CONNECTION, Cookie.DIRECT, Cookie.MEMBER)
        whose = (member_cookie(kind, member.id) for kind in kinds)
        return [
            *(DeleteRules(table=Table.SERVICE, cookie=cookie, cookie_mask=COOKIE_MEMBER_MASK) for cookie in whose),
            *self._direct.forget(service, member),
        ]

    def drain(self, service: Service, member: Member) -> list[Command]:
        return []  # a connection's rule tells of its end

    def drained(self, member: Member) -> bool:
        return not member.live

    def end_drain(self, member: Member) -> list[Command]:
        return []

    def forget_member(self, service: Service, member: Member) -> list[Command]:
        cookie = member_cookie(Cookie.CONNECTION, member.id)
        return [DeleteRules(cookie=cookie, cookie_mask=COOKIE_MEMBER_MASK, table=Table.SERVICE)]

    def to_service(self, assignment: Assignment, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        self._counters.packet_ins += 1
        service, client = assignment.service, asking(assignment.service, packet)
        begins = service.udp or (packet.flags & SYN and not packet.flags & ACK)
        if service.udp:
            member = assignment.assign_datagram(client, packet.eth_src)
        elif begins:
            member = assignment.assign(client, packet.seq, packet.eth_src)
        else:
            member = assignment.find(client)
        if member is None:
            return self._refuse(Drop.NO_SERVER if begins else Drop.NO_CONNECTION, packet)
        rule, forward = self._forward(service, member, packet, data, in_port)
        ended = self._direct.end(member, client) if begins else []
        return [*ended, rule, *(self._direct.hold(forward, self._now) if ended else [forward])]

    def to_member(
        self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int, now: float
    ) -> list[Command]:
        client = asking(service, packet)
        turns = self._assignment(service).server_of(client) is member
        rules, examine = self._direct.call(service, member, packet, data, in_port, now, turns=turns)
        ended = self._end_flow(member, client) if service.udp else []
        return [*ended, *rules, *(self.member_rules(service, member) if examine else [])]

    def _end_flow(self, member: Member, client: int) -> list[Command]:
        """A flow's client calls its server directly, and who was called last answers: the flow's next datagram has to
        come to us, to end the call. TCP needs no such thing, since a server can't have both connections."""
        cookie = member_cookie(Cookie.CONNECTION, member.id, mark(client))
        return [DeleteRules(table=Table.SERVICE, cookie=cookie, cookie_mask=COOKIE_WHOLE)]

    def stray(self, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        self._counters.drops[Drop.NOT_SERVED] += 1
        return []

    def tick(self, now: float) -> list[Command]:
        self._now = now
        return [*self._direct.tick(now), *self._nudges.tick(now)]

    def host_found(self, service_ip: int, address: int, mac: int) -> list[Command]:
        return self._nudges.found(service_ip, address, mac)

    def flow_removed(self, cookie: int, deleted: bool) -> list[Command]:
        if cookie_kind(cookie) == Cookie.CONNECTION:
            return self._connection_rests(cookie, deleted)
        return [] if deleted else self._direct.idle(cookie)

    def _connection_rests(self, cookie: int, deleted: bool) -> list[Command]:
        """Its rule is gone. Its entry stays: a packet that returns finds its server again. But if the server is down,
        a client that only waits for its answer would wait for ever: it is made to speak, and what it says is reset.
        A UDP flow whose rule has idled out is over."""
        owner = self._owner(cookie_member(cookie))
        if owner is None:
            return []
        assignment, member = owner
        client = self._clients.of(cookie & COOKIE_LOW_48)
        known = assignment.rest(client, member)
        if known:
            self._clients.forget(client)
        if known and assignment.service.udp and not deleted:
            assignment.close(client)
        may_wait = deleted and member.down and assignment.server_of(client) is member
        if may_wait and not assignment.service.udp:
            return self._nudges.nudge(assignment.service, client, assignment.client_mac(client))
        return []

    def _assignment(self, service: Service) -> Assignment:
        return next(assignment for assignment in self._assignments if assignment.service is service)

    def _owner(self, member_id: int) -> tuple[Assignment, Member] | None:
        if member_id not in self._owners:
            self._owners |= {m.id: (a, m) for a in self._assignments for m in a.service.members}
        return self._owners.get(member_id)

    def start_clean(self) -> list[Command]:
        return []

    def adopt(self, cookies: Sequence[int], senders: Senders) -> list[Command]:
        """Take connections and direct calls over from the rules that stand for them."""
        for cookie in cookies:
            if cookie_kind(cookie) == Cookie.CONNECTION:
                owner = self._owner(cookie_member(cookie))
                if owner is not None:
                    owner[0].restore(self._adopted(cookie, owner[0].service, senders), owner[1])
            elif cookie_kind(cookie) == Cookie.DIRECT:
                self._direct.adopt(cookie)
        return []

    def _adopted(self, cookie: int, service: Service, senders: Senders) -> int:
        """The client that a found rule is for: what its cookie has no room for, its match says."""
        if cookie in senders:
            address, port, asked = senders[cookie]
            return self._clients.note(number(address, port, asked - service.port))
        return cookie & COOKIE_LOW_48

    def _forward(
        self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int
    ) -> tuple[AddRule, SendPacket]:
        """The connection's rule, and this packet on its way."""
        self._counters.flow_mods += 1
        client = self._clients.note(asking(service, packet))
        itself = packet.ip_src == member.ip
        actions = _to_server(service.mac, service.ip, member.mac, member.ip, itself)
        rule = AddRule(
            table=Table.SERVICE,
            priority=CLIENT_PRIORITY,
            match={
                **packets_of(service, source=packet.ip_src, destination=service.ip),
                **from_port(service, packet.src_port),
                **to_port(service, packet.dst_port),
            },
            actions=actions if service.udp else (*_LEAVES_SOON, *actions),
            cookie=member_cookie(Cookie.CONNECTION, member.id, mark(client)),
            idle_timeout=self._idle_timeout,
            notify=True,
        )
        return rule, SendPacket(data=data, actions=actions, in_port=in_port)

    def _refuse(self, drop: Drop, packet: Packet) -> list[Command]:
        """Tell the client at once, rather than let it wait; never answer a RST, nor a datagram."""
        self._counters.drops[drop] += 1
        if packet.flags & RST or packet.kind is not Kind.TCP:
            return []
        return [SendPacket(data=packets.reset(packet), actions=_ON)]


@functools.lru_cache(4096)
def _to_server(service_mac: int, service_ip: int, mac: int, ip: int, itself: bool) -> Actions:
    """`mac` and `ip` are the server's. `itself`: it was chosen for its own request."""
    there = (SetField("eth_dst", mac), set_destination(ip))
    if not itself:
        return (*there, *_ON)
    # it must see the service as the sender, or it would answer itself inside
    return (SetField("eth_src", service_mac), set_source(service_ip), *there, Output(IN_PORT))


def _fixed(priority: int, match: Match, *actions: Action) -> AddRule:
    return _rule(priority, match, actions, fixed_cookie())


def _rule(priority: int, match: Match, actions: Actions, cookie: int) -> AddRule:
    return AddRule(table=Table.SERVICE, priority=priority, match=match, actions=actions, cookie=cookie)
