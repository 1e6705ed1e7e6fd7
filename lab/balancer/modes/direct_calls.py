"""Reactive mode's direct calls: a server called at its own address and the service's port, past the service.

One reply rule per server can't tell an answer to the service's client from one to a client that called the server
directly. So the opening of a direct call is shown to the controller (OPEN), which adds a rule (DIRECT) for that call's
answers. UDP has no opening: any datagram to a server's own address is shown, until a second rule of the same cookie
lets the call's datagrams pass.

The switch caches flows by what the rules looked at. From a server's first direct call on, its reply rule looks at the
client's port as well, and that call's first packet is held until older cached flows are gone; and so is that of a port
which turns from the service to its server's own address, or back.
Rule: a call is known by its cookie alone, and what is remembered of calls is bounded.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Final

from lab.balancer.client import asking, mark
from lab.balancer.matching import PORT_NAMES, blocks, from_port, packets_of, to_port
from lab.balancer.packets import ACK, SYN, Drop, Packet
from lab.balancer.pool import Member, Service
from lab.balancer.rules import (
    COOKIE_WHOLE,
    Actions,
    AddRule,
    Command,
    Cookie,
    DeleteRules,
    Examine,
    FinTimeout,
    GoTo,
    Match,
    SendPacket,
    Table,
    ToController,
    cookie_member,
    fixed_cookie,
    member_cookie,
)

DIRECT_PRIORITY: Final = 250
OPEN_PRIORITY: Final = 150
SYN_ALONE: Final = (SYN, SYN | ACK)  # tcp_flags=+syn-ack
DIRECT_IDLE_S: Final = 300
DIRECT_FIN_IDLE_S: Final = 5
DIRECT_BOUND: Final = 10_000  # calls remembered
HELD_S: Final = 0.2  # in which the switch has checked its cached flows against a changed rule
HELD_BOUND: Final = 100  # packets
_ON: Final = (GoTo(Table.DESTINATION),)


class DirectCalls:
    def __init__(self, drops: Counter[Drop]) -> None:
        self._drops = drops
        self._calls: OrderedDict[int, None] = OrderedDict()  # cookies of the DIRECT rules
        self._examined: set[int] = set()  # ids of members that were called directly
        self._held: deque[tuple[float, SendPacket]] = deque()

    def opening_rules(self, service: Service, member: Member) -> list[AddRule]:
        begins: Match = {} if service.udp else {"tcp_flags": SYN_ALONE}
        to_member = {**packets_of(service, destination=member.ip), **begins}
        return [
            AddRule(
                table=Table.SERVICE,
                priority=OPEN_PRIORITY,
                match={**to_member, **to_port(service, port)},
                actions=(ToController(),),
                cookie=fixed_cookie(),
            )
            for port in blocks(service)
        ]

    def apart(self, service: Service, member: Member) -> Actions:
        """What the member's reply rule begins with, so that calls can be told apart."""
        return (Examine(PORT_NAMES[service.proto].destination),) if member.id in self._examined else ()

    def call(
        self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int, now: float, *, turns: bool
    ) -> tuple[list[Command], bool]:
        """A packet that opens a call; and whether the member's reply rule must be sent anew. `turns`: its port has
        called the service, and got this member."""
        cookie = member_cookie(Cookie.DIRECT, member.id, mark(asking(service, packet)))
        rules = _rules(service, packet, cookie)
        forward = SendPacket(data=data, actions=_ON, in_port=in_port)
        if cookie in self._calls:
            return [*rules, forward], False  # again: a switch that restarted has lost it
        self._calls[cookie] = None
        oldest = self._end_oldest() if len(self._calls) > DIRECT_BOUND else []
        first = member.id not in self._examined
        self._examined.add(member.id)
        # a cached flow may still give its replies to the service: all, before its first direct call, or this port's
        sent = self.hold(forward, now) if first or turns else [forward]
        return [*oldest, *rules, *sent], first

    def hold(self, packet: SendPacket, now: float) -> list[Command]:
        """Send it when cached flows are gone that would give its answer another name."""
        if len(self._held) < HELD_BOUND:
            self._held.append((now + HELD_S, packet))
        else:
            self._drops[Drop.HELD_FULL] += 1
        return []

    def end(self, member: Member, client: int) -> list[Command]:
        """The client's port, once used to call the server directly, now belongs to a connection of the service."""
        cookie = member_cookie(Cookie.DIRECT, member.id, mark(client))
        if cookie not in self._calls:
            return []
        del self._calls[cookie]
        return [_delete(cookie)]

    def idle(self, cookie: int) -> list[Command]:
        """A call's answers have ceased, and their rule is gone: so is what else there was."""
        if cookie not in self._calls:
            return []
        del self._calls[cookie]
        return [_delete(cookie)]

    def adopt(self, cookie: int) -> None:
        """A call's rule was found in the switch."""
        self._calls[cookie] = None
        self._examined.add(cookie_member(cookie))

    def forget(self, service: Service, member: Member) -> list[Command]:
        """The member has left; its calls' rules are deleted with all others of it."""
        self._examined.discard(member.id)
        for cookie in [c for c in self._calls if cookie_member(c) == member.id]:
            del self._calls[cookie]
        openings = self.opening_rules(service, member)
        return [DeleteRules(table=rule.table, match=rule.match, priority=rule.priority) for rule in openings]

    def tick(self, now: float) -> list[Command]:
        """The held packets whose time has come."""
        due: list[Command] = []
        while self._held and self._held[0][0] <= now:
            due.append(self._held.popleft()[1])
        return due

    def _end_oldest(self) -> list[Command]:
        cookie, _ = self._calls.popitem(last=False)
        return [_delete(cookie)]


def _rules(service: Service, packet: Packet, cookie: int) -> list[AddRule]:
    """The server's answers to the sender of `packet`, as they are; of UDP, the call's own datagrams as well."""
    there = {
        **packets_of(service, source=packet.ip_src, destination=packet.ip_dst),
        **from_port(service, packet.src_port),
        **to_port(service, packet.dst_port),
    }
    back = {
        **packets_of(service, source=packet.ip_dst, destination=packet.ip_src),
        **from_port(service, packet.dst_port),
        **to_port(service, packet.src_port),
    }
    if service.udp:
        return [_rule(back, _ON, cookie, notify=True), _rule(there, _ON, cookie)]
    return [_rule(back, (FinTimeout(DIRECT_FIN_IDLE_S), *_ON), cookie, notify=True)]


def _rule(match: Match, actions: Actions, cookie: int, *, notify: bool = False) -> AddRule:
    return AddRule(
        table=Table.SERVICE,
        priority=DIRECT_PRIORITY,
        match=match,
        actions=actions,
        cookie=cookie,
        idle_timeout=DIRECT_IDLE_S,
        notify=notify,
    )


def _delete(cookie: int) -> DeleteRules:
    return DeleteRules(table=Table.SERVICE, cookie=cookie, cookie_mask=COOKIE_WHOLE)
