"""How rules name a service's packets: the fields of its protocol, its addresses and its ports.

A range of ports is told by masks, a rule for each block of a power of two: 8000-8010 takes three. OpenFlow 1.0 has no
masks of ports itself; our rules are in Open vSwitch's extended form under every version, which has (see
`lab.engines.openflow`). Rule: a mode says what is to match, and never how a field is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from lab.balancer.packets import ETH_IPV4, ETH_IPV6, PROTO_TCP, PROTO_UDP, is_ipv6
from lab.balancer.pool import Service
from lab.balancer.rules import SetField

Ports = int | tuple[int, int]  # a port, or value and mask
Fields = dict[str, Ports]
_ALL_BITS: Final = 0xFFFF


class Names(NamedTuple):
    """Of a protocol's port fields."""

    source: str
    destination: str


class Family(NamedTuple):
    """Of addresses, and the names of their fields."""

    eth_type: int
    source: str
    destination: str


IPV4: Final = Family(ETH_IPV4, "ip_src", "ip_dst")
IPV6: Final = Family(ETH_IPV6, "ipv6_src", "ipv6_dst")
PORT_NAMES: Final[Mapping[int, Names]] = {
    PROTO_TCP: Names("tcp_src", "tcp_dst"),
    PROTO_UDP: Names("udp_src", "udp_dst"),
}


def eth_type_of(service: Service) -> int:
    return _family(service.ip).eth_type


def packets_of(service: Service, *, source: int | None = None, destination: int | None = None) -> Fields:
    """All packets of the service's protocol between these addresses."""
    family = _family(service.ip)
    fields: Fields = {"eth_type": family.eth_type, "ip_proto": service.proto}
    if source is not None:
        fields[family.source] = source
    if destination is not None:
        fields[family.destination] = destination
    return fields


def from_port(service: Service, port: Ports) -> Fields:
    return {PORT_NAMES[service.proto].source: port}


def to_port(service: Service, port: Ports) -> Fields:
    return {PORT_NAMES[service.proto].destination: port}


def blocks(service: Service) -> list[Ports]:
    """The service's ports: a match each, none of which overlap."""
    found: list[Ports] = []
    first, end = service.port, service.last_port + 1
    while first < end:
        size = first & -first or 1 << 16
        while first + size > end:
            size >>= 1
        found.append(first if size == 1 else (first, _ALL_BITS & ~(size - 1)))
        first += size
    return found


def to_address(address: int) -> Fields:
    """All packets to an address."""
    family = _family(address)
    return {"eth_type": family.eth_type, family.destination: address}


def set_source(address: int) -> SetField:
    return SetField(_family(address).source, address)


def set_destination(address: int) -> SetField:
    return SetField(_family(address).destination, address)


def _family(address: int) -> Family:
    return IPV6 if is_ipv6(address) else IPV4
