"""Tracked mode's rules: the tables that a packet of a service walks, and what stands in them; see `tracked`.

The tracker keeps connections apart by zones: one for all TCP services, one for each UDP service (so that the flows of
one can be forgotten alone), and one for the second translation of a server that calls itself.
A draining server's packets are counted on their way by one rule with an idle time-out, in a table of its own: what a
flow does next, be it answered or only answers from now on, may hit another rule of other tables, but always that one.
Rule: a table looks at ports of one direction only, so that no cached flow carries a client's port.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Final

from lab.balancer.matching import Fields, blocks, eth_type_of, from_port, packets_of, to_port
from lab.balancer.packets import FIN, RST
from lab.balancer.pool import Member, Service
from lab.balancer.rules import (
    IN_PORT,
    Actions,
    AddRule,
    Cookie,
    GoTo,
    Match,
    Output,
    SetField,
    Table,
    ToController,
    Track,
    fixed_cookie,
    member_cookie,
)

ZONE: Final = 10  # client to TCP service: the destination is translated
HAIRPIN_ZONE: Final = 11  # a server's request to itself: the source is translated as well
FIRST_UDP_ZONE: Final = 100  # of the first service; the next one's is one more
NEW: Final = (0x21, 0x21)  # ct_state=+trk+new
KNOWN: Final = (0x22, 0x32)  # ct_state=+trk+est-inv
ON: Final = (GoTo(Table.DESTINATION),)
TO_CONTROLLER: Final = (ToController(),)
AGAIN: Final = Track(HAIRPIN_ZONE, Table.HAIRPIN_TRACKED)
BACKWARDS: Final = (
    Table.CLIENT_TRACKED,
    Table.REPLY_TRACKED,
    Table.CLIENT,
    Table.REPLY,
    Table.HAIRPIN,
    Table.SERVICE,
)  # of a packet's way


def common_rules(services: Iterable[Service]) -> list[AddRule]:
    """Of all services together."""
    kinds = sorted({eth_type_of(service) for service in services})
    return [
        rule(Table.CLIENT, 0, {}, TO_CONTROLLER),
        *(rule(Table.CLIENT_TRACKED, 30, {"eth_type": kind, "ct_state": NEW}, TO_CONTROLLER) for kind in kinds),
        rule(Table.CLIENT_TRACKED, 0, {}, ()),
        *(rule(Table.CLIENT_TRACKED, 5, {"eth_type": kind, "ct_state": KNOWN}, TO_CONTROLLER) for kind in kinds),
        rule(Table.REPLY, 0, {}, ON),
        rule(Table.REPLY_TRACKED, 0, {}, ON),
        rule(Table.HAIRPIN, 0, {}, (GoTo(Table.CLIENT),)),
    ]


def service_rules(service: Service, zone: int) -> Iterator[AddRule]:
    to_service = packets_of(service, destination=service.ip)
    from_service = packets_of(service, source=service.ip)
    yield rule(Table.SERVICE, 105, to_service, (GoTo(Table.CLIENT),))
    yield rule(Table.REPLY_TRACKED, 10, from_service, (SetField("eth_src", service.mac), *ON))
    # our own packet (a reset, a nudge) of a connection that the tracker doesn't know: it bears the server's address
    yield rule(Table.REPLY_TRACKED, 7, {"eth_src": service.mac}, ())
    for match in to_ports(service, to_service):
        yield rule(Table.CLIENT, 10, match, (Track(zone, Table.CLIENT_TRACKED),))


def backwards(rules: Iterable[AddRule]) -> list[AddRule]:
    """The rules of services in the order in which to add them. A switch that the tracker keeps connections in works on
    while it gets them: no packet may come to the controller because the rule that would take it isn't there yet."""
    return sorted(rules, key=lambda rule: (BACKWARDS.index(Table(rule.table)), -rule.priority))


def end_rules(service: Service) -> Iterator[AddRule]:
    """A server's FIN or RST goes on, and a copy to the controller: whole, since one that is cut can't be read."""
    on = (*TO_CONTROLLER, SetField("eth_src", service.mac), *ON)
    for answer in from_ports(service, packets_of(service, source=service.ip)):
        for flag in (FIN, RST):
            yield rule(Table.REPLY_TRACKED, 20 + flag, {**answer, "tcp_flags": (flag, flag)}, on)


def member_rules(service: Service, member: Member, zone: int, draining: bool = False) -> Iterator[AddRule]:
    cookie = member_cookie(Cookie.MEMBER, member.id, member.mac)
    to_itself = (SetField("eth_src", service.mac), SetField("eth_dst", member.mac), Output(IN_PORT))
    answers = draining and service.udp
    marked, counted = (_mark(member), _counted(member)) if answers else ((), ())
    calls = packets_of(service, source=member.ip, destination=service.ip)
    seen_by_itself = packets_of(service, source=service.ip, destination=member.ip)
    yield rule(Table.SERVICE, 110, calls, (GoTo(Table.HAIRPIN),), cookie)
    yield rule(Table.SERVICE, 95, packets_of(service, source=member.ip), (GoTo(Table.REPLY),), cookie)
    yield rule(Table.HAIRPIN_OUT, 10, seen_by_itself, to_itself, cookie)
    for answer in from_ports(service, packets_of(service, source=member.ip)):
        yield rule(Table.REPLY, 10, answer, (*marked, Track(zone, Table.REPLY_TRACKED)), cookie)
        yield rule(Table.HAIRPIN, 10, answer, (Track(HAIRPIN_ZONE, Table.HAIRPIN_BACK),), cookie)
        yield rule(Table.HAIRPIN_BACK, 10, answer, (*counted, Track(zone, Table.HAIRPIN_OUT)), cookie)
    for match in to_ports(service, packets_of(service, destination=member.ip)):
        yield rule(Table.HAIRPIN_TRACKED, 10, match, to_itself, cookie)
        yield from _tracked_rules(service, member, match, cookie, draining)


def _tracked_rules(service: Service, member: Member, match: Fields, cookie: int, draining: bool) -> Iterator[AddRule]:
    """Behind the tracker, `match`: translated to the member."""
    there, again = to_server(member, draining)
    itself = {**match, **packets_of(service, source=member.ip)}
    yield rule(Table.CLIENT_TRACKED, 10, match, there, cookie)
    yield rule(Table.CLIENT_TRACKED, 20, itself, again, cookie)
    if service.udp:  # a flow that nobody has answered yet is new to the tracker with each datagram
        yield rule(Table.CLIENT_TRACKED, 35, {**match, "ct_state": NEW}, there, cookie)
        yield rule(Table.CLIENT_TRACKED, 36, {**itself, "ct_state": NEW}, again, cookie)


def abort_rules(service: Service, member: Member) -> Iterator[AddRule]:
    """A client's RST goes on, and a copy to the controller."""
    there, _ = to_server(member)
    ending = (*TO_CONTROLLER, *there) if not member.down else TO_CONTROLLER
    for match in to_ports(service, packets_of(service, destination=member.ip)):
        aborted = {**match, "tcp_flags": (RST, RST)}
        yield rule(Table.CLIENT_TRACKED, 15, aborted, ending, member_cookie(Cookie.END, member.id))


def drain_rules(service: Service, member: Member, idle_timeout: int) -> Iterator[AddRule]:
    """What tells that a draining server's connections have been silent; its packets come by `member_rules`.

    Of TCP, those of clients, since all that an end says the other one acknowledges, and behind the tracker it is known
    by the translated address whose they are. Over UDP one end may be all that speaks, so answers count too: `reg0` says
    whose they are once they bear the service's address. What was called past the service keeps its own, and counts not.
    """
    yield AddRule(
        table=Table.DRAIN,
        priority=10,
        match={"reg0": member.id},
        actions=(),
        cookie=member_cookie(Cookie.DRAIN, member.id),
        idle_timeout=idle_timeout,
        notify=True,
    )
    if service.udp:
        answer = {**packets_of(service, source=service.ip), "reg0": member.id}
        on = (GoTo(Table.DRAIN), SetField("eth_src", service.mac), *ON)
        yield rule(Table.REPLY_TRACKED, 12, answer, on, member_cookie(Cookie.DRAIN, member.id))


def resume_rules(service: Service, member: Member) -> Iterator[AddRule]:
    """A server's answers that the tracker doesn't know are shown to the controller."""
    for answer in from_ports(service, packets_of(service, source=member.ip)):
        cookie = member_cookie(Cookie.RESUME, member.id)
        yield rule(Table.REPLY_TRACKED, 5, {**answer, "ct_state": NEW}, TO_CONTROLLER, cookie)


def resume(service: Service, zone: int) -> Actions:
    """A connection's packet from its server's side: tell the tracker, and send it on its way."""
    return (Track(zone, commit=True, src=service.ip), SetField("eth_src", service.mac), *ON)


def to_server(member: Member, draining: bool = False, again: Track = AGAIN) -> tuple[Actions, Actions]:
    """A tracked packet's way to a server from others, and from itself, which goes through the tracker `again`."""
    if member.down:
        return TO_CONTROLLER, TO_CONTROLLER
    counted = _counted(member) if draining else ()
    return (*counted, SetField("eth_dst", member.mac), *ON), (*counted, again)


def _mark(member: Member) -> Actions:
    return (SetField("reg0", member.id),)


def _counted(member: Member) -> Actions:
    return (*_mark(member), GoTo(Table.DRAIN))


@functools.lru_cache(4096)
def commit(service_mac: int, service_ip: int, mac: int, ip: int, itself: bool, zone: int) -> Actions:
    """A connection's first packet: tell the tracker, and send it on its way to the server at `mac` and `ip`. `itself`:
    the server was chosen for its own request."""
    remember = Track(zone, commit=True, dst=ip)
    there = SetField("eth_dst", mac)
    if not itself:
        return (remember, there, *ON)
    as_service = Track(HAIRPIN_ZONE, commit=True, src=service_ip)
    return (remember, as_service, SetField("eth_src", service_mac), there, Output(IN_PORT))


def to_ports(service: Service, match: Fields) -> list[Fields]:
    return [{**match, **to_port(service, port)} for port in blocks(service)]


def from_ports(service: Service, match: Fields) -> list[Fields]:
    return [{**match, **from_port(service, port)} for port in blocks(service)]


def rule(table: Table, priority: int, match: Match, actions: Actions, cookie: int | None = None) -> AddRule:
    own = fixed_cookie() if cookie is None else cookie
    return AddRule(table=table, priority=priority, match=match, actions=actions, cookie=own)
