"""The rules of the services' addresses that every mode has, in the SERVICE table; what a mode adds is below them.

    VLAN      a tagged frame: switched as it is, never balanced. One to a service's address is shown to us, to count it
    CLAIM     ARP in the name of a service's address: ours are sent past the tables, so it is somebody else's. Dropped
    ARP       a question for a service's address, or an answer to it: to the controller
              (of an IPv6 address, both are those of neighbour discovery)
    ADDRESS   anything else to a service's address that no mode has a rule for: to the controller

Rule: only addresses here, no ports; those are the modes' and the checks'.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lab.balancer import ipv6
from lab.balancer.matching import to_address
from lab.balancer.packet import ARP_REQUEST, ETH_ARP, ETH_IPV6, PROTO_ICMPV6, is_ipv6
from lab.balancer.pool import Service
from lab.balancer.rules import IN_VLAN, Action, AddRule, GoTo, Match, Table, ToController, fixed_cookie

VLAN_PRIORITY: Final = 500
CLAIM_PRIORITY: Final = 450
ARP_PRIORITY: Final = 400
ADDRESS_PRIORITY: Final = 40
_TAGGED_BYTES: Final = 64  # of a tagged frame: it is only counted
_ON: Final = GoTo(Table.DESTINATION)
_COPY: Final = ToController(_TAGGED_BYTES)


def address_rules(services: Iterable[Service]) -> list[AddRule]:
    """`services`: one of each address."""
    rules = [_rule(VLAN_PRIORITY, {"vlan_tci": IN_VLAN}, _ON)]
    for service in services:
        to_it: Match = to_address(service.ip)
        question, claims, ours = _ndp(service) if is_ipv6(service.ip) else _arp(service)
        rules += [
            _rule(VLAN_PRIORITY + 1, {**to_it, "vlan_tci": IN_VLAN}, _COPY, _ON),
            _rule(VLAN_PRIORITY + 1, {**question, "vlan_tci": IN_VLAN}, _COPY, _ON),
            *(_rule(CLAIM_PRIORITY, claim) for claim in claims),
            # not by the MAC it is sent to: the switch's cached flows of all other packets would look at theirs as well
            *(_rule(ARP_PRIORITY, match, ToController()) for match in ours),
            _rule(ADDRESS_PRIORITY, to_it, ToController()),
        ]
    return rules


def _arp(service: Service) -> tuple[Match, list[Match], list[Match]]:
    """A question for the service's address; what speaks in its name; what is for us."""
    arp: Match = {"eth_type": ETH_ARP}
    ours: Match = {**arp, "arp_tpa": service.ip}
    return {**ours, "arp_op": ARP_REQUEST}, [{**arp, "arp_spa": service.ip}], [ours]


def _ndp(service: Service) -> tuple[Match, list[Match], list[Match]]:
    """The same of neighbour discovery. A question from the service's address speaks in its name as well."""
    icmp: Match = {"eth_type": ETH_IPV6, "ip_proto": PROTO_ICMPV6, "icmpv6_code": 0}
    asks: Match = {**icmp, "icmpv6_type": ipv6.SOLICITATION}
    tells: Match = {**icmp, "icmpv6_type": ipv6.ADVERTISEMENT}
    question: Match = {**asks, "nd_target": service.ip}
    claims: list[Match] = [{**tells, "nd_target": service.ip}, {**asks, "ipv6_src": service.ip}]
    return question, claims, [question, {**tells, "ipv6_dst": service.ip}]


def _rule(priority: int, match: Match, *actions: Action) -> AddRule:
    return AddRule(table=Table.SERVICE, priority=priority, match=match, actions=actions, cookie=fixed_cookie())
