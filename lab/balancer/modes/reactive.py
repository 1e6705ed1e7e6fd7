"""Reactive mode: the controller decides about each new connection, a rule per connection remembers.

One packet-in (the SYN) and one flow-mod per connection. The rules, all in the SERVICE table, highest first:

    SYN     a SYN to the service: to the controller, above the connections' rules, so that a client port used again
            begins a new connection and the switch's cached flow covers SYNs alone
    HAIRPIN a server's answer to itself, when it is a client of the service and was chosen for its own request
    DIRECT  a server's answer to a client that called the server's own address: as it is
    CLIENT  a connection's packets: to its server's MAC and address
    OPEN    a SYN to a server's own address and the service's port: to the controller, which adds DIRECT
    REPLY   a server's answer: from the service's MAC and address; one rule per server, whatever the connections
    MISS    another packet to the service, with no rule left: to the controller, which adds CLIENT again

Rules name who, not where: the DESTINATION table knows the ports, so a server that moves needs no new rules here.
Rule of this module: nothing but a SYN gets a server it didn't have; what belongs to no connection is reset.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from lab.balancer import packets
from lab.balancer.assignment import Assignment
from lab.balancer.modes.nudging import nudge
from lab.balancer.packets import ACK, ETH_IPV4, PROTO_TCP, RST, SYN, Drop, Packet
from lab.balancer.pool import Member, Service
from lab.balancer.rules import (
    COOKIE_LOW_48,
    COOKIE_MEMBER_MASK,
    IN_PORT,
    Action,
    Actions,
    AddRule,
    Command,
    Cookie,
    DeleteRules,
    Examine,
    FinTimeout,
    GoTo,
    Match,
    Output,
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
DIRECT_PRIORITY: Final = 250
CLIENT_PRIORITY: Final = 200
OPEN_PRIORITY: Final = 150
REPLY_PRIORITY: Final = 100
MISS_PRIORITY: Final = 50

SYN_ALONE: Final = (SYN, SYN | ACK)  # tcp_flags=+syn-ack
FIN_IDLE_S: Final = 1  # a connection's rule leaves this long after its FIN
DIRECT_IDLE_S: Final = 300
DIRECT_FIN_IDLE_S: Final = 5
DIRECT_BOUND: Final = 10_000  # direct connections remembered
HELD_S: Final = 0.2  # in which the switch has checked its cached flows against a changed rule
HELD_BOUND: Final = 100  # packets
_WHOLE_COOKIE: Final = (1 << 64) - 1
_ON: Final = (GoTo(Table.DESTINATION),)
_TO_CONTROLLER: Final = (ToController(),)


class Reactive:
    """The reactive mode's part of the balancer; see `lab.balancer.modes.Mode`. `idle_timeout` in s."""

    def __init__(self, assignments: Sequence[Assignment], counters: Counters, idle_timeout: int) -> None:
        self._assignments = assignments
        # by member's id; removed ones' too, since the end of their rules is told of later
        self._owners: dict[int, tuple[Assignment, Member]] = {}
        self._counters = counters
        self._idle_timeout = idle_timeout
        self._direct: OrderedDict[int, None] = OrderedDict()  # cookies of the DIRECT rules
        self._examined: set[int] = set()  # ids of members that were called directly: their REPLY rule tells ports apart
        self._held: deque[tuple[float, SendPacket]] = deque()

    def fixed_rules(self) -> list[Command]:
        return [rule for a in self._assignments for rule in _service_rules(a.service)]

    def member_rules(self, service: Service, member: Member) -> list[Command]:
        answer = _tcp(ip_src=member.ip, tcp_src=service.port)
        to_client = (SetField("eth_src", service.mac), SetField("ip_src", service.ip))
        to_itself = (*to_client, SetField("eth_dst", member.mac), SetField("ip_dst", member.ip), Output(IN_PORT))
        cookie = member_cookie(Cookie.MEMBER, member.id, member.mac)
        apart = (Examine("tcp_dst"),) if member.id in self._examined else ()
        return [
            _rule(HAIRPIN_PRIORITY, {**answer, "ip_dst": service.ip}, to_itself, cookie),
            _rule(REPLY_PRIORITY, answer, (*apart, *to_client, *_ON), cookie),
        ]

    def member_added(self, service: Service, member: Member) -> list[Command]:
        self._owners.pop(member.id, None)  # a removed one's, of the same id
        return [_opening_rule(service, member)]

    def member_removed(self, service: Service, member: Member) -> list[Command]:
        self._examined.discard(member.id)
        self._owners[member.id] = (next(a for a in self._assignments if a.service is service), member)
        for cookie in [c for c in self._direct if cookie_member(c) == member.id]:
            del self._direct[cookie]
        opening = _opening_rule(service, member)
        kinds = (Cookie.CONNECTION, Cookie.DIRECT, Cookie.MEMBER)
        whose = (member_cookie(kind, member.id) for kind in kinds)
        return [
            *(DeleteRules(table=Table.SERVICE, cookie=cookie, cookie_mask=COOKIE_MEMBER_MASK) for cookie in whose),
            DeleteRules(table=opening.table, match=opening.match, priority=opening.priority),
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
        client = packet.ip_src << 16 | packet.src_port
        if packet.flags & SYN and not packet.flags & ACK:
            member = assignment.assign(client, packet.seq, packet.eth_src)
            if member is None:
                return self._refuse(Drop.NO_SERVER, packet)
            return [
                *self._end_direct(member, client),
                *self._forward(assignment.service, member, packet, data, in_port),
            ]
        member = assignment.find(client)
        if member is None:
            return self._refuse(Drop.NO_CONNECTION, packet)
        return self._forward(assignment.service, member, packet, data, in_port)

    def to_member(
        self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int, now: float
    ) -> list[Command]:
        client = packet.ip_src << 16 | packet.src_port
        cookie = member_cookie(Cookie.DIRECT, member.id, client)
        forward = SendPacket(data=data, actions=_ON, in_port=in_port)
        if cookie in self._direct:
            return [_direct_rule(packet, cookie), forward]  # again: a switch that restarted has lost it
        self._direct[cookie] = None
        oldest = self._end_oldest_direct() if len(self._direct) > DIRECT_BOUND else []
        rules = [*oldest, _direct_rule(packet, cookie)]
        if member.id in self._examined:
            return [*rules, forward]
        # its first direct call: a cached flow may still give all its replies to the service, so wait until it is gone
        self._examined.add(member.id)
        if len(self._held) < HELD_BOUND:
            self._held.append((now + HELD_S, forward))
        return [*rules, *self.member_rules(service, member)]

    def stray(self, packet: Packet) -> list[Command]:
        self._counters.drops[Drop.NOT_SERVED] += 1
        return []

    def tick(self, now: float) -> list[Command]:
        due: list[Command] = []
        while self._held and self._held[0][0] <= now:
            due.append(self._held.popleft()[1])
        return due

    def flow_removed(self, cookie: int, deleted: bool) -> list[Command]:
        if cookie_kind(cookie) == Cookie.CONNECTION:
            return self._connection_rests(cookie, deleted)
        if not deleted:  # else it is we who did, and it may be there again
            self._direct.pop(cookie, None)
        return []

    def _connection_rests(self, cookie: int, deleted: bool) -> list[Command]:
        """Its rule is gone. Its entry stays: a packet that returns finds its server again. But if the server is down,
        a client that only waits for its answer would wait for ever: it is made to speak, and what it says is reset."""
        owner = self._owner(cookie_member(cookie))
        if owner is None:
            return []
        assignment, member = owner
        client = cookie & COOKIE_LOW_48
        if assignment.rest(client, member) and deleted and member.down:
            return [nudge(assignment.service, client, assignment.client_mac(client))]
        return []

    def _owner(self, member_id: int) -> tuple[Assignment, Member] | None:
        if member_id not in self._owners:
            self._owners |= {m.id: (a, m) for a in self._assignments for m in a.service.members}
        return self._owners.get(member_id)

    def start_clean(self) -> list[Command]:
        return []

    def adopt(self, cookies: Sequence[int]) -> list[Command]:
        """Take connections and direct calls over from the rules that stand for them."""
        for cookie in cookies:
            member = cookie_member(cookie)
            if cookie_kind(cookie) == Cookie.CONNECTION:
                owner = self._owner(member)
                if owner is not None:
                    owner[0].restore(cookie & COOKIE_LOW_48, owner[1])
            elif cookie_kind(cookie) == Cookie.DIRECT:
                self._direct[cookie] = None
                self._examined.add(member)
        return []

    def _forward(self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """The connection's rule, and this packet on its way."""
        self._counters.flow_mods += 1
        actions = _to_server(service, member, packet.ip_src)
        rule = AddRule(
            table=Table.SERVICE,
            priority=CLIENT_PRIORITY,
            match=_tcp(ip_src=packet.ip_src, ip_dst=service.ip, tcp_src=packet.src_port, tcp_dst=service.port),
            actions=(FinTimeout(FIN_IDLE_S), *actions),
            cookie=member_cookie(Cookie.CONNECTION, member.id, packet.ip_src << 16 | packet.src_port),
            idle_timeout=self._idle_timeout,
            notify=True,
        )
        return [rule, SendPacket(data=data, actions=actions, in_port=in_port)]

    def _refuse(self, drop: Drop, packet: Packet) -> list[Command]:
        """Tell the client at once, rather than let it wait; never answer a RST."""
        self._counters.drops[drop] += 1
        if packet.flags & RST:
            return []
        return [SendPacket(data=packets.reset(packet), actions=_ON)]

    def _end_direct(self, member: Member, client: int) -> list[Command]:
        """The client's port, once used to call the server directly, now belongs to a connection of the service."""
        cookie = member_cookie(Cookie.DIRECT, member.id, client)
        if cookie not in self._direct:
            return []
        del self._direct[cookie]
        return [_delete_direct(cookie)]

    def _end_oldest_direct(self) -> list[Command]:
        cookie, _ = self._direct.popitem(last=False)
        return [_delete_direct(cookie)]


def _service_rules(service: Service) -> list[Command]:
    to_service = _tcp(ip_dst=service.ip, tcp_dst=service.port)
    opening = [_opening_rule(service, member) for member in service.members]
    return [
        _fixed(SYN_PRIORITY, {**to_service, "tcp_flags": SYN_ALONE}, *_TO_CONTROLLER),
        _fixed(MISS_PRIORITY, to_service, *_TO_CONTROLLER),
        *opening,
    ]


def _opening_rule(service: Service, member: Member) -> AddRule:
    opening = _tcp(ip_dst=member.ip, tcp_dst=service.port, tcp_flags=SYN_ALONE)
    return _fixed(OPEN_PRIORITY, opening, *_TO_CONTROLLER)


def _to_server(service: Service, member: Member, client_ip: int) -> tuple[Action, ...]:
    there = (SetField("eth_dst", member.mac), SetField("ip_dst", member.ip))
    if client_ip != member.ip:
        return (*there, *_ON)
    # a server chosen for its own request: it must see the service as the sender, or it would answer itself inside
    return (SetField("eth_src", service.mac), SetField("ip_src", service.ip), *there, Output(IN_PORT))


def _tcp(**fields: int | tuple[int, int]) -> dict[str, int | tuple[int, int]]:
    return {"eth_type": ETH_IPV4, "ip_proto": PROTO_TCP, **fields}


def _fixed(priority: int, match: Match, *actions: Action) -> AddRule:
    return _rule(priority, match, actions, fixed_cookie())


def _rule(priority: int, match: Match, actions: Actions, cookie: int) -> AddRule:
    return AddRule(table=Table.SERVICE, priority=priority, match=match, actions=actions, cookie=cookie)


def _direct_rule(packet: Packet, cookie: int) -> AddRule:
    """The server's answers to the sender of `packet`, as they are."""
    return AddRule(
        table=Table.SERVICE,
        priority=DIRECT_PRIORITY,
        match=_tcp(ip_src=packet.ip_dst, ip_dst=packet.ip_src, tcp_src=packet.dst_port, tcp_dst=packet.src_port),
        actions=(FinTimeout(DIRECT_FIN_IDLE_S), *_ON),
        cookie=cookie,
        idle_timeout=DIRECT_IDLE_S,
        notify=True,
    )


def _delete_direct(cookie: int) -> DeleteRules:
    return DeleteRules(table=Table.SERVICE, cookie=cookie, cookie_mask=_WHOLE_COOKIE)
