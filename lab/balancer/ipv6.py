"""IPv6: where the protocol behind the extension headers begins, and neighbour discovery (NDP), read and built.

A solicitation is what a question is in ARP, an advertisement what an answer is, and they are read into the same fields.
Rule: as for `packets.parse`: nothing is read past the buffer, and PacketError alone is raised. At most MAX_EXTENSIONS
headers are walked, so a packet can't make us walk for long.
Sources: RFC 8200 (IPv6), RFC 4861 and 7.1 there (NDP and what makes it valid), RFC 6946 (atomic fragments).
"""

from __future__ import annotations

import struct
from typing import Final

from lab.balancer.packet import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    ETH_IPV6,
    PROTO_ICMPV6,
    Drop,
    Kind,
    Packet,
    PacketError,
    checksum,
)

ECHO_REQUEST, ECHO_REPLY = 128, 129
SOLICITATION, ADVERTISEMENT = 135, 136
ALL_NODES: Final = 0xFF02 << 112 | 1
MAX_EXTENSIONS: Final = 8

_ETHERNET_BYTES: Final = 14
_HEADER: Final = struct.Struct("!IHBB16s16s")
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
_EXTENSIONS: Final = frozenset((0, 43, _FRAGMENT, _AUTHENTICATION, 60))  # by-hop, routing …, destination options
_NDP: Final = struct.Struct("!BBHI16s")
_SOLICITED, _OVERRIDE = 0x40000000, 0x20000000
_SOURCE_MAC, _TARGET_MAC = 1, 2  # NDP options
_SOLICITED_NODE: Final = 0xFF02 << 112 | 0x1FF << 24  # and the address's last 24 bits
_LOW_24: Final = 0xFFFFFF


def read(data: bytes, packet: Packet) -> tuple[int, int] | None:
    """Protocol and where it begins, of a frame that says it is IPv6; addresses and end go to `packet`. None: it is a
    fragment, which `packet.kind` says."""
    if len(data) < _ETHERNET_BYTES + _HEADER.size:
        raise PacketError(Drop.TRUNCATED)
    version, length, proto, _, source, target = _HEADER.unpack_from(data, _ETHERNET_BYTES)
    if version >> 28 != 6:
        raise PacketError(Drop.MALFORMED)
    packet.ip_src, packet.ip_dst = int.from_bytes(source, "big"), int.from_bytes(target, "big")
    packet.end = _ETHERNET_BYTES + _HEADER.size + length
    if packet.end > len(data):
        raise PacketError(Drop.TRUNCATED)
    return _behind_extensions(data, packet, proto, _ETHERNET_BYTES + _HEADER.size)


def _behind_extensions(data: bytes, packet: Packet, proto: int, at: int) -> tuple[int, int] | None:
    for _ in range(MAX_EXTENSIONS):
        if proto not in _EXTENSIONS:
            return proto, at
        if at + 8 > packet.end:
            raise PacketError(Drop.TRUNCATED)
        if proto == _FRAGMENT and data[at + 2] << 8 | data[at + 3] & 0xF9:  # offset, or more to come
            packet.kind = Kind.FRAGMENT
            return None
        at, proto = at + _extension_bytes(proto, data[at + 1]), data[at]
        if at > packet.end:
            raise PacketError(Drop.TRUNCATED)
    raise PacketError(Drop.MALFORMED)


def _extension_bytes(proto: int, length: int) -> int:
    if proto == _FRAGMENT:
        return 8
    return (length + 2) * 4 if proto == _AUTHENTICATION else (length + 1) * 8


def read_icmp(data: bytes, packet: Packet, at: int) -> None:
    """ICMPv6 that begins at `at`: its kind, and of NDP the fields as ARP has them."""
    if packet.end < at + 8:
        raise PacketError(Drop.TRUNCATED)
    packet.kind, packet.payload = Kind.ICMP, at
    if data[at] in (SOLICITATION, ADVERTISEMENT):
        _read_ndp(data, packet, at)


def _read_ndp(data: bytes, packet: Packet, at: int) -> None:
    if packet.end < at + _NDP.size:
        raise PacketError(Drop.TRUNCATED)
    hops = data[_ETHERNET_BYTES + 7]
    if hops != 255 or data[at + 1] or _checksum(packet.ip_src, packet.ip_dst, bytes(data[at : packet.end])):
        raise PacketError(Drop.MALFORMED)
    target = int.from_bytes(data[at + 8 : at + 24], "big")
    packet.kind = Kind.NDP
    asks = data[at] == SOLICITATION
    packet.arp_op = ARP_REQUEST if asks else ARP_REPLY
    packet.arp_mac = _option(data, at + _NDP.size, packet.end, _SOURCE_MAC if asks else _TARGET_MAC) or packet.eth_src
    if asks:
        packet.ip_dst = target
    else:
        packet.ip_src = target


def _option(data: bytes, at: int, end: int, wanted: int) -> int:
    """The MAC of an NDP option; 0: there is none."""
    while at < end:
        if at + 2 > end:
            raise PacketError(Drop.TRUNCATED)
        size = data[at + 1] * 8
        if not size:
            raise PacketError(Drop.MALFORMED)
        if at + size > end:
            raise PacketError(Drop.TRUNCATED)
        if data[at] == wanted:
            return int.from_bytes(data[at + 2 : at + 8], "big")
        at += size
    return 0


def claimed(data: bytes) -> int | None:
    """The address in whose name an advertisement speaks; None for any other frame, also one cut too short to tell."""
    at = _ETHERNET_BYTES + _HEADER.size
    if len(data) < at + _NDP.size or int.from_bytes(data[12:14], "big") != ETH_IPV6:
        return None
    if data[_ETHERNET_BYTES + 6] != PROTO_ICMPV6 or data[at] != ADVERTISEMENT:
        return None
    return int.from_bytes(data[at + 8 : at + 24], "big")


def neighbour(op: int, eth_src: int, eth_dst: int, sender: tuple[int, int], target: tuple[int, int]) -> bytes:
    """A solicitation or an advertisement; arguments as for ARP: `sender` and `target` are (MAC, address).

    A question to BROADCAST goes to those that the address may be of; an answer to nobody's address to all."""
    source, asker = sender[1], target[1]
    if op == ARP_REQUEST:
        to, mac = (asker, eth_dst) if eth_dst != BROADCAST else solicited_node(asker)
        return _message((eth_src, mac), (source, to), SOLICITATION, 0, asker, _SOURCE_MAC, sender[0])
    flags = _OVERRIDE | (_SOLICITED if asker else 0)
    to, mac = (asker, eth_dst) if asker else (ALL_NODES, 0x333300000001)
    return _message((eth_src, mac), (source, to), ADVERTISEMENT, flags, source, _TARGET_MAC, sender[0])


def solicited_node(address: int) -> tuple[int, int]:
    """The multicast address of those whose address may be `address`, and its MAC."""
    return _SOLICITED_NODE | address & _LOW_24, 0x3333FF000000 | address & _LOW_24


def _message(
    macs: tuple[int, int], ips: tuple[int, int], kind: int, flags: int, about: int, option: int, mac: int
) -> bytes:
    body = _NDP.pack(kind, 0, 0, flags, about.to_bytes(16, "big")) + bytes((option, 1)) + mac.to_bytes(6, "big")
    return icmp(macs, ips, body)


def icmp(macs: tuple[int, int], ips: tuple[int, int], body: bytes) -> bytes:
    """An ICMPv6 message, whose checksum is filled in; `macs`, `ips`: (from, to)."""
    blank = body[:2] + b"\0\0" + body[4:]
    return packet(macs, ips, PROTO_ICMPV6, blank[:2] + _checksum(*ips, blank).to_bytes(2, "big") + blank[4:])


def packet(macs: tuple[int, int], ips: tuple[int, int], proto: int, body: bytes) -> bytes:
    """`macs`, `ips`: (from, to)."""
    frame = macs[1].to_bytes(6, "big") + macs[0].to_bytes(6, "big") + ETH_IPV6.to_bytes(2, "big")
    return frame + _HEADER.pack(6 << 28, len(body), proto, 255, *(ip.to_bytes(16, "big") for ip in ips)) + body


def pseudo_header(source: int, target: int, proto: int, length: int) -> bytes:
    """What a checksum of TCP, UDP or ICMPv6 covers beside the body (RFC 8200, 8.1)."""
    return source.to_bytes(16, "big") + target.to_bytes(16, "big") + struct.pack("!II", length, proto)


def _checksum(source: int, target: int, body: bytes) -> int:
    """0 over a message that contains its own right checksum."""
    return checksum(pseudo_header(source, target, PROTO_ICMPV6, len(body)) + body)
