"""The rules of the services' addresses that every mode has, in the SERVICE table; what a mode adds is below them.

    VLAN      a tagged frame: switched as it is, never balanced. One to a service's address is shown to us, to count it
    CLAIM     ARP in the name of a service's address: ours are sent past the tables, so it is somebody else's. Dropped
    ARP       a question for a service's address, or an answer to it: to the controller
    ADDRESS   anything else to a service's address that no mode has a rule for: to the controller

Rule: only addresses here, no ports; those are the modes' and the checks'.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lab.balancer.packets import ARP_REQUEST, ETH_ARP, ETH_IPV4
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
        to_it: Match = {"eth_type": ETH_IPV4, "ip_dst": service.ip}
        question: Match = {"eth_type": ETH_ARP, "arp_op": ARP_REQUEST, "arp_tpa": service.ip}
        rules += [
            _rule(VLAN_PRIORITY + 1, {**to_it, "vlan_tci": IN_VLAN}, _COPY, _ON),
            _rule(VLAN_PRIORITY + 1, {**question, "vlan_tci": IN_VLAN}, _COPY, _ON),
            _rule(CLAIM_PRIORITY, {"eth_type": ETH_ARP, "arp_spa": service.ip}),
            # not by the MAC it is sent to: the switch's cached flows of all other packets would look at theirs as well
            _rule(ARP_PRIORITY, {"eth_type": ETH_ARP, "arp_tpa": service.ip}, ToController()),
            _rule(ADDRESS_PRIORITY, to_it, ToController()),
        ]
    return rules


def _rule(priority: int, match: Match, *actions: Action) -> AddRule:
    return AddRule(table=Table.SERVICE, priority=priority, match=match, actions=actions, cookie=fixed_cookie())
