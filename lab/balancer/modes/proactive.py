"""Proactive mode: the switch itself chooses, by hash, from a select group per service; no connection costs a packet-in.

The controller keeps the groups: their places lead to the live servers, as the weights say, and move when health or the
pool changes. Two ways to remember who got what:

    Stateful   a place commits the connection to its server in the connection tracker, so it stays there whatever
               becomes of the places. All else is tracked mode's: tables, replies, hairpins, what a dead server leaves.
    Stateless  a place rewrites the packet, and nobody remembers: every packet is hashed. Faster, but a change of the
               places breaks the connections of those that move. All else is reactive mode's; what a server itself asks
               of the service is left to the controller, since the switch could not tell it from the server's answers.

Rule: what comes to the controller all the same (no server is up, or none was when the switch asked) is sent through the
switch's own tables again, so that there is one place where connections are given to servers.
Source: Open vSwitch 3.1, ovs-ofctl(8), "Group Syntax"; a bucket is an action set, which keeps but one of ct and output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lab.balancer.assignment import Assignment
from lab.balancer.matching import Fields, packets_of, set_destination
from lab.balancer.modes.places import Places
from lab.balancer.modes.reactive import MISS_PRIORITY, SYN_ALONE, SYN_PRIORITY, Reactive
from lab.balancer.modes.tracked import Tracked
from lab.balancer.modes.tracked_rules import HAIRPIN_ZONE, NEW, ON, TO_CONTROLLER, rule, to_ports, to_server
from lab.balancer.packets import ACK, SYN, Drop, Packet
from lab.balancer.pool import Member, Service
from lab.balancer.rules import (
    Actions,
    Command,
    Cookie,
    DeleteGroups,
    GoTo,
    SendPacket,
    SetField,
    Table,
    Track,
    member_cookie,
)
from lab.balancer.statistics import Counters

CHOOSE_PRIORITY: Final = 40  # in CLIENT_TRACKED, above all that is known


class Stateful(Tracked):
    """Tracked mode, but for who chooses."""

    def __init__(self, assignments: Sequence[Assignment], counters: Counters, idle_timeout: int) -> None:
        super().__init__(assignments, counters, idle_timeout)
        for assignment in assignments:
            assignment.service.hits_known = False
        self._places = [Places(a, n, self._bucket, _pinning_entry) for n, a in enumerate(assignments, 1)]

    def fixed_rules(self) -> list[Command]:
        return [*super().fixed_rules(), *_again(self._places)]

    def member_rules(self, service: Service, member: Member) -> list[Command]:
        """A connection just pinned is still new to the tracker; one of a server to itself is pinned twice (HAIRPIN)."""
        cookie = member_cookie(Cookie.MEMBER, member.id, member.mac)
        hairpin = Track(HAIRPIN_ZONE, Table.HAIRPIN_TRACKED, commit=True, src=service.ip)
        there, again = to_server(member, member.id in self._draining, hairpin)
        pinned = []
        for match in to_ports(service, packets_of(service, destination=member.ip)):
            itself = {**match, **packets_of(service, source=member.ip)}
            pinned.append(rule(Table.CLIENT_TRACKED, 35, {**match, "ct_state": NEW}, there, cookie))
            pinned.append(rule(Table.CLIENT_TRACKED, 36, {**itself, "ct_state": NEW}, again, cookie))
        return [*super().member_rules(service, member), *pinned]

    def to_service(self, assignment: Assignment, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """No server was up, or this is no beginning."""
        self._counters.packet_ins += 1
        if not _begins(assignment.service, packet):
            return self._refuse(Drop.NO_CONNECTION, packet)
        if not assignment.any_live:
            return self._refuse(Drop.NO_SERVER, packet)
        return [*_renewed(self._places), SendPacket(data=data, actions=(GoTo(Table.CLIENT),), in_port=in_port)]

    def tick(self, now: float) -> list[Command]:
        return [*super().tick(now), *_renewed(self._places)]

    def start_clean(self) -> list[Command]:
        return [*super().start_clean(), DeleteGroups(), *_again(self._places)]

    def _resuming(self, service: Service, members: Sequence[Member], now: float) -> list[Command]:
        return []  # nobody knows whose connections they were

    def _bucket(self, service: Service, member: Member) -> Actions:
        return (Track(self._zones[service.name], Table.CLIENT_TRACKED, commit=True, dst=member.ip),)


class Stateless(Reactive):
    """Reactive mode, but for connections of all but the servers."""

    def __init__(self, assignments: Sequence[Assignment], counters: Counters, idle_timeout: int) -> None:
        super().__init__(assignments, counters, idle_timeout)
        for assignment in assignments:
            assignment.service.hits_known = assignment.service.live_known = False
        self._places = [Places(a, n, _rewriting_bucket, _rewriting_entry) for n, a in enumerate(assignments, 1)]

    def entry_rules(self, service: Service) -> list[Command]:
        return []  # the places' own

    def fixed_rules(self) -> list[Command]:
        return [*super().fixed_rules(), *_again(self._places)]

    def member_rules(self, service: Service, member: Member) -> list[Command]:
        for places in self._places:
            places.touch()  # a place holds its member's MAC
        cookie = member_cookie(Cookie.MEMBER, member.id, member.mac)
        calls: list[Command] = []
        for match in to_ports(service, packets_of(service, source=member.ip, destination=service.ip)):
            calls.append(rule(Table.SERVICE, MISS_PRIORITY + 1, match, TO_CONTROLLER, cookie))
            if not service.udp:
                begins = {**match, "tcp_flags": SYN_ALONE}
                calls.append(rule(Table.SERVICE, SYN_PRIORITY, begins, TO_CONTROLLER, cookie))
        return [*super().member_rules(service, member), *calls]

    def to_service(self, assignment: Assignment, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """A server calls, or no server was up when the switch asked."""
        if any(member.ip == packet.ip_src for member in assignment.service.members):
            return super().to_service(assignment, packet, data, in_port)
        self._counters.packet_ins += 1
        if not assignment.any_live:
            begins = _begins(assignment.service, packet)
            return self._refuse(Drop.NO_SERVER if begins else Drop.NO_CONNECTION, packet)
        return [*_renewed(self._places), SendPacket(data=data, actions=(GoTo(Table.SERVICE),), in_port=in_port)]

    def tick(self, now: float) -> list[Command]:
        return [*super().tick(now), *_renewed(self._places)]

    def start_clean(self) -> list[Command]:
        return [*super().start_clean(), DeleteGroups(), *_again(self._places)]


def _begins(service: Service, packet: Packet) -> bool:
    return service.udp or packet.flags & (SYN | ACK) == SYN


def _renewed(places: Sequence[Places]) -> list[Command]:
    return [command for each in places for command in each.renew()]


def _again(places: Sequence[Places]) -> list[Command]:
    return [command for each in places for command in each.again()]


def _pinning_entry(service: Service, actions: Actions) -> list[Command]:
    """Where the beginning of a connection goes that the tracker doesn't know."""
    begins: Fields = {"ct_state": NEW} if service.udp else {"ct_state": NEW, "tcp_flags": SYN_ALONE}
    matches = to_ports(service, packets_of(service, destination=service.ip))
    return [rule(Table.CLIENT_TRACKED, CHOOSE_PRIORITY, {**match, **begins}, actions) for match in matches]


def _rewriting_bucket(service: Service, member: Member) -> Actions:
    return (SetField("eth_dst", member.mac), set_destination(member.ip), *ON)


def _rewriting_entry(service: Service, actions: Actions) -> list[Command]:
    """Where every packet to the service goes."""
    matches = to_ports(service, packets_of(service, destination=service.ip))
    return [rule(Table.SERVICE, MISS_PRIORITY, match, actions) for match in matches]
