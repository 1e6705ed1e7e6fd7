"""Tracked mode: the controller decides about each new connection, the switch's connection tracker remembers it.

One packet-in (the SYN) and one packet-out, whose actions commit the connection to its server; no rule per connection,
and the controller's death breaks none. A packet's way, after the SERVICE table has told by addresses whose it is:

    CLIENT          to a service's port: through the tracker, which translates what it knows
    CLIENT_TRACKED  new: to the controller; else by its translated address to the server's MAC
    REPLY           from a server's port: through the tracker, which gives answers the service's address back
    REPLY_TRACKED   the service's address: the service's MAC; else (a direct call of the server) as it is
    HAIRPIN…        a server that calls the service: its own answers need a second translation, in a zone of their own

Only for a policy that goes by live connections, their ends (a server's FIN or RST, a client's RST) are shown to the
controller, as a copy: a second packet-in per connection that the others don't pay for. That a draining server has no
connection left is told by a rule for its connections' packets, with an idle time-out: once it is gone, so are they.
Each table looks at ports of one direction only, so that no cached flow carries a client's port. A server that is down
has its packets shown to the controller, which resets their connections through the tracker, so that it forgets them.
Rule of this module: nothing but a SYN gets a server it didn't have.
Source of the actions: Open vSwitch 3.1, ovs-actions(7), `ct`; the tables are staged as OVN does (ovn-northd(8)).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from lab.balancer import packets
from lab.balancer.assignment import Assignment
from lab.balancer.modes.nudging import nudge_through
from lab.balancer.packets import ACK, ETH_IPV4, FIN, PROTO_TCP, RST, SYN, Drop, Packet
from lab.balancer.pool import Member, Service
from lab.balancer.rules import (
    COOKIE_MEMBER_MASK,
    IN_PORT,
    Actions,
    AddRule,
    Command,
    Cookie,
    DeleteRules,
    FlushTracked,
    GoTo,
    Match,
    Output,
    SendPacket,
    SetField,
    Table,
    ToController,
    Track,
    cookie_kind,
    cookie_member,
    fixed_cookie,
    member_cookie,
)
from lab.balancer.statistics import Counters

ZONE: Final = 10  # client to service: the destination is translated
HAIRPIN_ZONE: Final = 11  # a server's request to itself: the source is translated as well
NEW: Final = (0x21, 0x21)  # ct_state=+trk+new
NUDGES_PER_TICK: Final = 1_000
KNOWN: Final = (0x22, 0x32)  # ct_state=+trk+est-inv
_ON: Final = (GoTo(Table.DESTINATION),)
_TO_CONTROLLER: Final = (ToController(),)


class Tracked:
    """The tracked mode's part of the balancer; see `lab.balancer.modes.Mode`."""

    def __init__(self, assignments: Sequence[Assignment], counters: Counters, idle_timeout: int) -> None:
        self._assignments = assignments
        self._by_address = {(a.service.ip, a.service.port): a for a in assignments}
        self._counters = counters
        self._idle_timeout = idle_timeout
        self._waiting: deque[tuple[Service, int, int, int]] = deque()  # server's address, client to be nudged, its MAC
        self._draining: set[int] = set()  # cookies of the DRAIN rules that haven't idled out
        for assignment in assignments:
            assignment.service.live_known = assignment.watches_live

    def fixed_rules(self) -> list[Command]:
        return [
            *(rule for a in self._assignments for rule in _service_rules(a.service)),
            *(rule for a in self._assignments if a.watches_live for rule in _end_rules(a.service)),
            _rule(Table.CLIENT, 0, {}, _TO_CONTROLLER),
            _rule(Table.CLIENT_TRACKED, 30, {"eth_type": ETH_IPV4, "ct_state": NEW}, _TO_CONTROLLER),
            _rule(Table.CLIENT_TRACKED, 0, {}, ()),
            _rule(Table.CLIENT_TRACKED, 5, {"eth_type": ETH_IPV4, "ct_state": KNOWN}, _TO_CONTROLLER),
            _rule(Table.REPLY, 0, {}, _ON),
            _rule(Table.REPLY_TRACKED, 0, {}, _ON),
            _rule(Table.HAIRPIN, 0, {}, (GoTo(Table.CLIENT),)),
            _rule(Table.HAIRPIN_BACK, 0, {"eth_type": ETH_IPV4}, (Track(ZONE, Table.HAIRPIN_OUT),)),
        ]

    def member_rules(self, service: Service, member: Member) -> list[Command]:
        cookie = member_cookie(Cookie.MEMBER, member.id, member.mac)
        itself = _tcp(ip_src=member.ip, ip_dst=member.ip, tcp_dst=service.port)
        answer = _tcp(ip_src=member.ip, tcp_src=service.port)
        to_member = _tcp(ip_dst=member.ip, tcp_dst=service.port)
        to_itself = (SetField("eth_src", service.mac), SetField("eth_dst", member.mac), Output(IN_PORT))
        there, again = _to_server(member)
        draining = [rule for rule in self._drain_rules(service, member) if rule.cookie in self._draining]
        return [
            *self._abort_rules(service, member),
            *draining,
            _rule(Table.SERVICE, 110, _tcp(ip_src=member.ip, ip_dst=service.ip), (GoTo(Table.HAIRPIN),), cookie),
            _rule(Table.SERVICE, 95, _tcp(ip_src=member.ip), (GoTo(Table.REPLY),), cookie),
            _rule(Table.REPLY, 10, answer, (Track(ZONE, Table.REPLY_TRACKED),), cookie),
            _rule(Table.CLIENT_TRACKED, 10, to_member, there, cookie),
            _rule(Table.CLIENT_TRACKED, 20, itself, again, cookie),
            _rule(Table.HAIRPIN, 10, answer, (Track(HAIRPIN_ZONE, Table.HAIRPIN_BACK),), cookie),
            _rule(Table.HAIRPIN_TRACKED, 10, to_member, to_itself, cookie),
            _rule(Table.HAIRPIN_OUT, 10, _tcp(ip_src=service.ip, ip_dst=member.ip), to_itself, cookie),
        ]

    def member_added(self, service: Service, member: Member) -> list[Command]:
        return []

    def member_removed(self, service: Service, member: Member) -> list[Command]:
        """Its connections' packets find no rule behind the tracker and come to the controller: see `stray`."""
        # a server of several services has rules that look at its address alone, in the name of one of its members
        others = [(a.service, m) for a in self._assignments for m in a.service.members if m.ip == member.ip and m.mac]
        self._draining -= {cookie for cookie in self._draining if cookie_member(cookie) == member.id}
        return [
            *(_delete(kind, member) for kind in (Cookie.MEMBER, Cookie.DRAIN, Cookie.END)),
            *(rule for of in others for rule in self.member_rules(*of)),
            *self._nudge_clients(service, member),
        ]

    def drain(self, service: Service, member: Member) -> list[Command]:
        if not member.mac:
            return []  # no connection ever got to it
        rules = self._drain_rules(service, member)
        self._draining |= {rule.cookie for rule in rules}
        return list(rules)

    def drained(self, member: Member) -> bool:
        return not any(cookie_member(cookie) == member.id for cookie in self._draining)

    def end_drain(self, member: Member) -> list[Command]:
        self._draining -= {cookie for cookie in self._draining if cookie_member(cookie) == member.id}
        return [_delete(Cookie.DRAIN, member)]

    def forget_member(self, service: Service, member: Member) -> list[Command]:
        """Packets of its connections come to the controller from now on: see `to_member`."""
        rules = self.member_rules(service, member) if member.mac else []
        return [*rules, *self._nudge_clients(service, member)] if member.down else rules

    def to_service(self, assignment: Assignment, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """A packet the tracker knows no connection for."""
        self._counters.packet_ins += 1
        client = packet.ip_src << 16 | packet.src_port
        if packet.flags & SYN and not packet.flags & ACK:
            member = assignment.assign(client, packet.seq, packet.eth_src)
            if member is None:
                return self._refuse(Drop.NO_SERVER, packet)
        else:  # the switch has been restarted, and its tracker has forgotten what we haven't
            member = assignment.find(client)
            if member is None:
                return self._refuse(Drop.NO_CONNECTION, packet)
        return [SendPacket(data=data, actions=_commit(assignment.service, member, packet.ip_src), in_port=in_port)]

    def to_member(
        self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int, now: float
    ) -> list[Command]:
        """A packet of a connection that the tracker has translated already: a SYN again, or its server is down."""
        if packet.flags & RST:  # a copy: see `_end_rules`
            self._ended(service, packet.ip_src << 16 | packet.src_port)
            return []
        self._counters.packet_ins += 1
        if not member.down and member.mac:
            return [SendPacket(data=data, actions=(SetField("eth_dst", member.mac), *_ON), in_port=in_port)]
        return self.stray(packet)

    def stray(self, packet: Packet) -> list[Command]:
        """The copy of a connection's end; or a packet of a connection whose server is down or has left: reset it."""
        answering = self._by_address.get((packet.ip_src, packet.src_port))
        if answering is not None:
            self._ended(answering.service, packet.ip_dst << 16 | packet.dst_port)
            return []
        self._counters.drops[Drop.NO_CONNECTION] += 1
        if packet.flags & RST:
            return []
        # from the server's side through the tracker: it gives the reset the service's address, and ends the connection
        return [SendPacket(data=packets.reset(packet), actions=(Track(ZONE, Table.REPLY_TRACKED),))]

    def flow_removed(self, cookie: int, deleted: bool) -> list[Command]:
        """A draining server's connections have been silent for the idle time-out: they count as ended."""
        if cookie_kind(cookie) == Cookie.DRAIN and not deleted:
            self._draining.discard(cookie)
            for assignment in self._assignments:
                for member in assignment.service.members:
                    if member.id == cookie_member(cookie) and self.drained(member):
                        assignment.end_live(member)
        return []

    def tick(self, now: float) -> list[Command]:
        """The next of the clients that are to be made to speak; the tracker lets only those through it knows."""
        now_due = [self._waiting.popleft() for _ in range(min(NUDGES_PER_TICK, len(self._waiting)))]
        through = (Track(ZONE, Table.REPLY_TRACKED),)
        return [nudge_through(service, server, client, mac, through) for service, server, client, mac in now_due]

    def _nudge_clients(self, service: Service, member: Member) -> list[Command]:
        """Those that wait for an answer of a server that is gone; all but the first some by and by."""
        ended = self._by_address[service.ip, service.port].end_live(member)
        self._waiting += [(service, member.ip, client, mac) for client, mac in ended]
        return self.tick(0.0)

    def _abort_rules(self, service: Service, member: Member) -> list[AddRule]:
        """A client's RST goes on, and a copy to the controller."""
        if not self._by_address[service.ip, service.port].watches_live:
            return []
        there, _ = _to_server(member)
        aborted = {**_tcp(ip_dst=member.ip, tcp_dst=service.port), "tcp_flags": (RST, RST)}
        ending = (*_TO_CONTROLLER, *there) if not member.down else _TO_CONTROLLER
        return [_rule(Table.CLIENT_TRACKED, 15, aborted, ending, member_cookie(Cookie.END, member.id))]

    def _drain_rules(self, service: Service, member: Member) -> list[AddRule]:
        """Its clients' packets go their usual way, by rules that leave once there are none. Those of clients, since all
        that an end says the other one acknowledges, and here it is known by the translated address whose they are."""
        there, again = _to_server(member)
        to_member = _tcp(ip_dst=member.ip, tcp_dst=service.port)
        watched = ((12, to_member, there), (22, {**to_member, "ip_src": member.ip}, again))
        return [
            AddRule(
                table=Table.CLIENT_TRACKED,
                priority=priority,
                match=match,
                actions=actions,
                cookie=member_cookie(Cookie.DRAIN, member.id, which),
                idle_timeout=self._idle_timeout,
                notify=True,
            )
            for which, (priority, match, actions) in enumerate(watched)
        ]

    def start_clean(self) -> list[Command]:
        return [FlushTracked(zone=ZONE), FlushTracked(zone=HAIRPIN_ZONE)]

    def adopt(self, cookies: Sequence[int]) -> list[Command]:
        """The tracker has kept the connections; of rules there are only the servers', renewed as they answer."""
        return []

    def _ended(self, service: Service, client: int) -> None:
        self._counters.packet_ins += 1
        assignment = self._by_address[service.ip, service.port]
        member = assignment.server_of(client)
        if member is not None:
            assignment.rest(client, member)

    def _refuse(self, drop: Drop, packet: Packet) -> list[Command]:
        self._counters.drops[drop] += 1
        return [] if packet.flags & RST else [SendPacket(data=packets.reset(packet), actions=_ON)]


def _to_server(member: Member) -> tuple[Actions, Actions]:
    """A tracked packet's way to a server from others, and from itself."""
    if member.down:
        return _TO_CONTROLLER, _TO_CONTROLLER
    return (SetField("eth_dst", member.mac), *_ON), (Track(HAIRPIN_ZONE, Table.HAIRPIN_TRACKED),)


def _delete(kind: Cookie, member: Member) -> DeleteRules:
    return DeleteRules(cookie=member_cookie(kind, member.id), cookie_mask=COOKIE_MEMBER_MASK)


def _service_rules(service: Service) -> list[Command]:
    to_service = _tcp(ip_dst=service.ip, tcp_dst=service.port)
    from_service: Match = {"eth_type": ETH_IPV4, "ip_src": service.ip}
    return [
        _rule(Table.SERVICE, 105, _tcp(ip_dst=service.ip), (GoTo(Table.CLIENT),)),
        _rule(Table.CLIENT, 10, to_service, (Track(ZONE, Table.CLIENT_TRACKED),)),
        _rule(Table.REPLY_TRACKED, 10, from_service, (SetField("eth_src", service.mac), *_ON)),
    ]


def _end_rules(service: Service) -> list[Command]:
    """A server's FIN or RST goes on, and a copy to the controller: whole, since one that is cut can't be read."""
    answer = _tcp(ip_src=service.ip, tcp_src=service.port)
    on = (*_TO_CONTROLLER, SetField("eth_src", service.mac), *_ON)
    return [_rule(Table.REPLY_TRACKED, 20 + flag, {**answer, "tcp_flags": (flag, flag)}, on) for flag in (FIN, RST)]


def _commit(service: Service, member: Member, client_ip: int) -> Actions:
    """A connection's first packet: tell the tracker, and send it on its way."""
    remember = Track(ZONE, commit=True, dst=member.ip)
    there = SetField("eth_dst", member.mac)
    if client_ip != member.ip:
        return (remember, there, *_ON)
    as_service = Track(HAIRPIN_ZONE, commit=True, src=service.ip)
    return (remember, as_service, SetField("eth_src", service.mac), there, Output(IN_PORT))


def _tcp(**fields: int | tuple[int, int]) -> dict[str, int | tuple[int, int]]:
    return {"eth_type": ETH_IPV4, "ip_proto": PROTO_TCP, **fields}


def _rule(table: Table, priority: int, match: Match, actions: Actions, cookie: int | None = None) -> AddRule:
    own = fixed_cookie() if cookie is None else cookie
    return AddRule(table=table, priority=priority, match=match, actions=actions, cookie=own)
