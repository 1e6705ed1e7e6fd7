"""What a packet is to the balancer, once read: its kind, its fields, and why one is refused.

Addresses and MACs are integers. An address below 2^32 is IPv4's, any other IPv6's; those of IPv6 that are below (the
deprecated ::/96) are no host's. Rule: no bytes are read or built here, but for the checksum of both.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

ETH_IPV4: Final = 0x0800
ETH_ARP: Final = 0x0806
ETH_IPV6: Final = 0x86DD
ETH_VLANS: Final = (0x8100, 0x88A8)
PROTO_ICMP: Final = 1
PROTO_TCP: Final = 6
PROTO_UDP: Final = 17
PROTO_ICMPV6: Final = 58

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10

MAX_FRAME: Final = 65_000  # bytes; an OpenFlow message has 65,535 at most, and our actions stand in it as well

ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2
BROADCAST: Final = 0xFFFFFFFFFFFF


class Drop(str, Enum):
    """Why a packet was refused: each has a counter."""

    TRUNCATED = "truncated"  # shorter than its headers say
    MALFORMED = "malformed"  # headers that contradict themselves
    FRAGMENT = "fragment"  # to a service: an IP fragment has no ports to go by
    NO_SERVER = "no_server"  # a new connection while no server is up
    NO_CONNECTION = "no_connection"  # not a SYN, and no connection is known for it
    NOT_SERVED = "not_served"  # to a service address, but no service's port
    UNEXPECTED_ARP = "unexpected_arp"  # an ARP reply (or NDP advertisement) to the balancer that nobody asked for
    SPOOF = "spoof"  # in the name of a service, or of a server that is known to be elsewhere
    LATE = "late"  # a server's answer to a health check that is over
    VLAN = "vlan"  # tagged, to a service: switched as it is, never balanced
    MACS_FULL = "macs_full"  # the learning table's bound is reached
    HELD_FULL = "held_full"  # would wait until the switch's cached flows are gone, as too many do already
    TOO_LARGE = "too_large"  # beyond MAX_FRAME: it would fit no message back to the switch


class PacketError(Exception):
    """A packet that can't be read; `drop` says why."""

    def __init__(self, drop: Drop) -> None:
        super().__init__(drop.value)
        self.drop = drop


class Kind(Enum):
    ARP = 1
    TCP = 2
    ICMP = 3
    FRAGMENT = 4
    OTHER = 5
    VLAN = 6
    UDP = 7
    NDP = 8


@dataclass(slots=True)
class Packet:
    """One parsed packet. Fields its kind doesn't have are 0; `payload` is where the data of TCP, UDP or ICMP
    begins."""

    kind: Kind
    eth_src: int = 0
    eth_dst: int = 0
    ip_src: int = 0  # ARP: sender's address; of NDP's advertisement: the address that it is about
    ip_dst: int = 0  # ARP: target's address; of NDP's solicitation: the address that it asks for
    arp_op: int = 0  # of NDP too: a solicitation is a request, an advertisement a reply
    arp_mac: int = 0  # ARP and NDP: sender's MAC
    proto: int = 0  # TCP and UDP: the protocol's number
    src_port: int = 0
    dst_port: int = 0
    flags: int = 0
    seq: int = 0
    ack: int = 0
    payload: int = 0  # offset into data, bytes
    end: int = 0  # offset behind the IP packet, bytes (frames may be padded)


def is_ipv6(address: int) -> bool:
    return address >> 32 != 0


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\x00"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(ip: int) -> str:
    """As people write it."""
    return str(ipaddress.IPv6Address(ip) if is_ipv6(ip) else ipaddress.IPv4Address(ip))


def number_of(ip: str) -> int:
    """An address as a number. Raises ValueError: it is none, or one that no host has."""
    found = ipaddress.ip_address(ip)
    if found.version == 6 and not is_ipv6(int(found)):
        raise ValueError(f"{ip} is no address that a host has")
    return int(found)


def host_and_port(ip: int, port: int) -> str:
    """As a URL has it."""
    return f"[{address(ip)}]:{port}" if is_ipv6(ip) else f"{address(ip)}:{port}"


def mac_text(mac: int) -> str:
    return mac.to_bytes(6, "big").hex(":")
