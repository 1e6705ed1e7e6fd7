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
UDP has no ends to be seen. A flow is over when the tracker has forgotten it, so a datagram the tracker doesn't know
begins one, except right after another (both were on their way to the controller) and in the time after the tracker was
emptied. For a policy that goes by live connections, a flow counts as live for the idle time-out from its beginning.
The dead can't be told of by a reset: when a server goes, the tracker forgets its flows, and each one's next datagram
comes to the controller. A switch that can't do so (datagrams still bear the server's address a second later) forgets
all flows of the service; the controller knows the others' server, unless it is newer than they are.
Rule of this module: of TCP, nothing but a SYN gets a server it didn't have. The rules are made in `tracked_rules`.
Source of the actions: Open vSwitch 3.1, ovs-actions(7), `ct`; the tables are staged as OVN does (ovn-northd(8)).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from lab.balancer import packets
from lab.balancer.assignment import Assignment
from lab.balancer.client import asked, asking
from lab.balancer.modes import tracked_rules
from lab.balancer.modes.live_flows import LiveFlows
from lab.balancer.modes.nudging import nudge_through
from lab.balancer.modes.tracked_rules import FIRST_UDP_ZONE, HAIRPIN_ZONE, ON, ZONE
from lab.balancer.packets import ACK, RST, SYN, Drop, Kind, Packet
from lab.balancer.pool import Directory, Member, Service
from lab.balancer.rules import (
    COOKIE_KIND_MASK,
    COOKIE_KIND_SHIFT,
    COOKIE_MEMBER_MASK,
    AddRule,
    Command,
    Cookie,
    DeleteRules,
    FlushTracked,
    Senders,
    SendPacket,
    SetField,
    Table,
    Track,
    cookie_kind,
    cookie_member,
    member_cookie,
)
from lab.balancer.statistics import Counters

NUDGES_PER_TICK: Final = 200  # few enough that probes and new connections are not held up
RESUME_S: Final = 10.0  # after a switch's return: TCP has repeated by then what an outage of some seconds has lost
REMEMBERED_S: Final = 30  # that long, at least, a tracker remembers a silent UDP flow
FORGOTTEN_S: Final = 1.0  # after it was told to forget a server's flows: what the switch had shown by then has come
LOST_S: Final = 120.0  # after the tracker was emptied: longer than any tracker remembers a silent UDP flow


class Tracked:
    """The tracked mode's part of the balancer; see `lab.balancer.modes.Mode`."""

    def __init__(self, assignments: Sequence[Assignment], counters: Counters, idle_timeout: int) -> None:
        self._assignments = assignments
        self._by_address = Directory[Assignment]()
        self._zones: dict[str, int] = {}  # by service
        for number, assignment in enumerate(assignments):
            self._by_address.put(assignment.service.ip, assignment.service, assignment)
            self._zones[assignment.service.name] = FIRST_UDP_ZONE + number if assignment.service.udp else ZONE
        self._counters = counters
        self._idle_timeout = idle_timeout
        self._waiting: deque[tuple[Service, Member, int, int]] = deque()  # a client to be nudged, and its MAC
        self._draining: set[int] = set()  # ids of members whose DRAIN rule hasn't idled out
        self._resuming_until: float | None = None  # s
        self._now = 0.0  # s, as of the last tick
        self._lost = False  # the tracker has been emptied since
        self._lost_until = float("-inf")  # s
        self._flows = LiveFlows(idle_timeout, assignments[0].bound)
        self._over: set[int] = set()  # ids of members that are down or gone, and whose connections were ended
        # zones and servers, forgotten since the switch has connected: it may have been away by then
        self._forgotten: set[tuple[int, int]] = set()
        self._told = float("-inf")  # s, when the switch was last told to forget flows
        self._forgets_all = False  # it can't forget those of one server
        for assignment in assignments:
            assignment.service.live_known = assignment.watches_live

    def fixed_rules(self) -> list[Command]:
        self._lost = True  # a switch that connects may have been restarted
        self._forgets_all = False
        rules = tracked_rules.common_rules(a.service for a in self._assignments)
        for assignment in self._assignments:
            service = assignment.service
            rules += tracked_rules.service_rules(service, self._zones[service.name])
            if assignment.watches_live and not service.udp:
                rules += tracked_rules.end_rules(service)
        return list(tracked_rules.backwards(rules))

    def switch_back(self, now: float) -> list[Command]:
        """Its tracker may be empty."""
        resuming = [rule for a in self._assignments for rule in self._resuming(a.service, a.service.members, now)]
        return [*self._forget_again(now), *resuming]

    def _resuming(self, service: Service, members: Sequence[Member], now: float) -> list[Command]:
        """The tracker has forgotten their connections. For a while servers' packets that it doesn't know are shown to
        us: as they are, a client would get them from an address that it never called, and its RST would end the
        connection."""
        self._resuming_until = now + RESUME_S
        return [rule for member in members for rule in tracked_rules.resume_rules(service, member)]

    def _forget_again(self, now: float) -> list[Command]:
        """Once more, and not at each return: every flow that goes on costs a packet-in."""
        self._told, again, self._forgotten = now, sorted(self._forgotten), set()
        return [command for zone, server in again for command in _forget(zone, server)]

    def member_rules(self, service: Service, member: Member) -> list[Command]:
        if not member.down:
            self._over.discard(member.id)
        draining = member.id in self._draining
        counting = tracked_rules.drain_rules(service, member, self._idle_timeout) if draining else ()
        rules = tracked_rules.member_rules(service, member, self._zones[service.name], draining)
        return [*self._abort_rules(service, member), *counting, *rules]

    def member_added(self, service: Service, member: Member) -> list[Command]:
        return []

    def member_removed(self, service: Service, member: Member) -> list[Command]:
        """Its connections' packets find no rule behind the tracker and come to the controller: see `stray`."""
        # a server of several services has rules that look at its address alone, in the name of one of its members
        others = [(a.service, m) for a in self._assignments for m in a.service.members if m.ip == member.ip and m.mac]
        self._draining.discard(member.id)
        return [
            *(_delete(kind, member) for kind in (Cookie.MEMBER, Cookie.DRAIN, Cookie.END, Cookie.RESUME)),
            *(rule for of in others for rule in self.member_rules(*of)),
            *self._end_connections(service, member),
        ]

    def drain(self, service: Service, member: Member) -> list[Command]:
        if not member.mac:
            return []  # no connection ever got to it
        self._draining.add(member.id)
        return self.member_rules(service, member)

    def drained(self, member: Member) -> bool:
        return member.id not in self._draining

    def end_drain(self, member: Member) -> list[Command]:
        if member.id not in self._draining:
            return []
        self._draining.discard(member.id)
        return [*self.member_rules(self._owner(member.id)[0].service, member), _delete(Cookie.DRAIN, member)]

    def forget_member(self, service: Service, member: Member) -> list[Command]:
        """Packets of its connections come to the controller from now on: see `to_member`."""
        rules = self.member_rules(service, member) if member.mac else []
        return [*rules, *self._end_connections(service, member)] if member.down else rules

    def to_service(self, assignment: Assignment, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """A packet the tracker knows no connection for."""
        self._counters.packet_ins += 1
        service, client = assignment.service, asking(assignment.service, packet)
        begins = service.udp or (packet.flags & SYN and not packet.flags & ACK)
        if service.udp:
            member = self._flow(assignment, client, packet.eth_src)
        elif begins:
            member = assignment.assign(client, packet.seq, packet.eth_src)
        else:  # the switch has been restarted, and its tracker has forgotten what we haven't
            member = assignment.find(client)
        if member is None:
            return self._refuse(Drop.NO_SERVER if begins else Drop.NO_CONNECTION, packet)
        itself, zone = packet.ip_src == member.ip, self._zones[service.name]
        actions = tracked_rules.commit(service.mac, service.ip, member.mac, member.ip, itself, zone)
        return [SendPacket(data=data, actions=actions, in_port=in_port)]

    def _flow(self, assignment: Assignment, client: int, mac: int) -> Member | None:
        """The server for a datagram."""
        now, emptied = int(self._now), self._lost or self._now < self._lost_until
        since = 0 if emptied else max(0, now - REMEMBERED_S)
        member = assignment.assign_datagram(client, mac, now=now, since=since)
        if member is not None and assignment.watches_live:
            self._flows.begin(assignment, client, member, self._now)
        return member

    def to_member(
        self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int, now: float
    ) -> list[Command]:
        """A packet of a connection that the tracker has translated already: a SYN again, or its server is down."""
        if packet.flags & RST:  # a copy: see `tracked_rules.abort_rules`
            self._ended(service, asking(service, packet))
            return []
        self._counters.packet_ins += 1
        if not member.down and member.mac:
            return [SendPacket(data=data, actions=(SetField("eth_dst", member.mac), *ON), in_port=in_port)]
        return self._still_known(packet) if service.udp else self._reset(packet)

    def stray(self, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """The copy of a connection's end; a server's packet that the tracker doesn't know; or a client's packet of a
        connection whose server has left."""
        answering = self._by_address.find(packet.ip_src, packet.proto, packet.src_port)
        if answering is not None:
            self._ended(answering.service, asked(answering.service, packet))
            return []
        for assignment in self._assignments:
            service = assignment.service
            if service.proto == packet.proto and service.port <= packet.src_port <= service.last_port:
                for member in service.members:
                    if member.ip == packet.ip_src:
                        return self._resume(assignment, member, packet, data, in_port)
        return self._reset(packet) if packet.kind is Kind.TCP else self._still_known(packet)

    def _resume(
        self, assignment: Assignment, member: Member, packet: Packet, data: bytes, in_port: int
    ) -> list[Command]:
        """A server's packet that the tracker doesn't know: it takes the connection up again from this side; and one of
        a direct call goes on as it is."""
        service = assignment.service
        self._counters.packet_ins += 1
        if member.down:
            return []
        client = asked(service, packet)
        ours = assignment.find(client) is member
        if ours and service.udp and assignment.watches_live:
            self._flows.begin(assignment, client, member, self._now)
        actions = tracked_rules.resume(service, self._zones[service.name]) if ours else ON
        return [SendPacket(data=data, actions=actions, in_port=in_port)]

    def _reset(self, packet: Packet) -> list[Command]:
        self._counters.drops[Drop.NO_CONNECTION] += 1
        if packet.flags & RST:
            return []
        # from the server's side through the tracker: it gives the reset the service's address, and ends the connection
        return [SendPacket(data=packets.reset(packet), actions=(Track(ZONE, Table.REPLY_TRACKED),))]

    def flow_removed(self, cookie: int, deleted: bool) -> list[Command]:
        """A draining server's connections have been silent for the idle time-out: they count as ended."""
        if cookie_kind(cookie) != Cookie.DRAIN or deleted or cookie_member(cookie) not in self._draining:
            return []
        assignment, member = self._owner(cookie_member(cookie))
        assignment.end_live(member)
        return self.end_drain(member)

    def tick(self, now: float) -> list[Command]:
        self._now = now
        done: list[Command] = []
        if self._resuming_until is not None and now >= self._resuming_until:
            self._resuming_until = None
            done = [DeleteRules(cookie=Cookie.RESUME << COOKIE_KIND_SHIFT, cookie_mask=COOKIE_KIND_MASK)]
        if self._lost:
            self._lost, self._lost_until = False, now + LOST_S
        self._flows.tick(now)
        return [*done, *self._nudges()]

    def host_found(self, service_ip: int, address: int, mac: int) -> list[Command]:
        return []  # nobody is asked for: what is nudged was begun here, by a SYN that told its client's MAC

    def _nudges(self) -> list[Command]:
        """The next of the clients that are to be made to speak; the tracker lets only those through it knows."""
        waiting = [self._waiting.popleft() for _ in range(min(NUDGES_PER_TICK, len(self._waiting)))]
        through = (Track(ZONE, Table.REPLY_TRACKED),)
        still = [row for row in waiting if row[1].down]  # where the server is back, its connections go on
        return [nudge_through(service, member.ip, client, mac, through) for service, member, client, mac in still]

    def _end_connections(self, service: Service, member: Member) -> list[Command]:
        """Those of a server that is gone: clients that wait for its answer are made to speak, by and by (see `tick`),
        since the switch may be away now; flows begin anew, with another server."""
        if member.id in self._over:
            return []  # only a switch that is back is told again
        self._over.add(member.id)
        ended = self._assignment(service).end_live(member)
        if service.udp:
            return self._forget_flows(service, member)
        self._waiting += [(service, member, client, mac) for client, mac in ended]
        return []

    def _forget_flows(self, service: Service, member: Member) -> list[Command]:
        """And what the server should say of them later, nobody is to hear."""
        zone = self._zones[service.name]
        self._forgotten.add((zone, member.ip))
        if self._forgets_all:
            return self._forget_all(service)
        self._lost, self._told = True, self._now
        late = [member] if member in service.members else []
        return [*_forget(zone, member.ip), *self._resuming(service, late, self._now)]

    def _forget_all(self, service: Service) -> list[Command]:
        self._lost, self._told = True, self._now
        return [
            FlushTracked(zone=self._zones[service.name]),
            *self._resuming(service, service.members, self._now),
        ]

    def _still_known(self, packet: Packet) -> list[Command]:
        """A datagram that the tracker has translated to a server that is gone."""
        self._counters.drops[Drop.NO_CONNECTION] += 1
        if self._now < self._told + FORGOTTEN_S:
            return []
        self._forgets_all = True
        asked_for = [a.service for a in self._assignments if a.service.proto == packet.proto]
        found = [service for service in asked_for if service.port <= packet.dst_port <= service.last_port]
        return [command for service in found for command in self._forget_all(service)]

    def _abort_rules(self, service: Service, member: Member) -> list[AddRule]:
        wanted = self._assignment(service).watches_live and not service.udp
        return list(tracked_rules.abort_rules(service, member)) if wanted else []

    def start_clean(self) -> list[Command]:
        return [FlushTracked(zone=zone) for zone in sorted({ZONE, HAIRPIN_ZONE, *self._zones.values()})]

    def adopt(self, cookies: Sequence[int], senders: Senders) -> list[Command]:
        """The tracker has kept the connections; of rules there are only the servers', renewed as they answer."""
        return []

    def _ended(self, service: Service, client: int) -> None:
        self._counters.packet_ins += 1
        assignment = self._assignment(service)
        member = assignment.server_of(client)
        if member is not None:
            assignment.rest(client, member)

    def _owner(self, member_id: int) -> tuple[Assignment, Member]:
        return next((a, m) for a in self._assignments for m in a.service.members if m.id == member_id)

    def _assignment(self, service: Service) -> Assignment:
        return next(assignment for assignment in self._assignments if assignment.service is service)

    def _refuse(self, drop: Drop, packet: Packet) -> list[Command]:
        self._counters.drops[drop] += 1
        answered = packet.kind is Kind.TCP and not packet.flags & RST
        return [SendPacket(data=packets.reset(packet), actions=ON)] if answered else []


def _delete(kind: Cookie, member: Member) -> DeleteRules:
    return DeleteRules(cookie=member_cookie(kind, member.id), cookie_mask=COOKIE_MEMBER_MASK)


def _forget(zone: int, server: int) -> list[Command]:
    """The flows that a server answers, and those that were taken up again from its side."""
    return [FlushTracked(zone=zone, server=server, began=began) for began in (False, True)]
