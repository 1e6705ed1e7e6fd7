"""Packets as the balancer needs them: read from raw bytes by struct, and the few it sends itself, built.

Rule: `parse` never reads past the buffer and raises nothing but PacketError, whose `drop` names and counts the reason.
What the balancer has no use for (VLAN tags, fragments, other protocols) is said by the `kind` of the Packet that
`parse` returns; such packets are switched normally. IPv6 is in `ipv6`, the vocabulary in `packet`.
"""

from __future__ import annotations

import struct
from typing import Final

from lab.balancer import ipv6
from lab.balancer.packet import (
    ACK,
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_VLANS,
    FIN,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    PSH,
    RST,
    SYN,
    Drop,
    Kind,
    Packet,
    PacketError,
    address,
    checksum,
    host_and_port,
    is_ipv6,
    mac_text,
)

__all__ = [
    "ACK",
    "ARP_REPLY",
    "ARP_REQUEST",
    "BROADCAST",
    "ETH_ARP",
    "ETH_IPV4",
    "ETH_IPV6",
    "FIN",
    "PROTO_ICMP",
    "PROTO_TCP",
    "PROTO_UDP",
    "PSH",
    "RST",
    "SYN",
    "Drop",
    "Kind",
    "Packet",
    "PacketError",
    "address",
    "checksum",
    "claimed",
    "echo_reply",
    "host_and_port",
    "is_ipv6",
    "mac_text",
    "neighbour",
    "nudge",
    "parse",
    "reset",
    "source_mac",
    "tcp",
]

_ETHERNET: Final = struct.Struct("!6s6sH")
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_IPV4: Final = struct.Struct("!BBHHHBBHII")
_TCP: Final = struct.Struct("!HHIIBBHHH")
_UDP: Final = struct.Struct("!HHHH")
_PLAIN: Final = struct.Struct("!HIHIHBxHxxHxBxxIIHHIIBB6x")  # of Ethernet, IPv4 and TCP, what `Packet` has
_NO_OPTIONS: Final = 0x45  # version 4, header of 5 words
_PLAIN_ETHERNET, _PLAIN_IP, _PLAIN_TCP = 14, 34, 54  # where each of these headers ends
_ARP_ETHERNET_IPV4: Final = (1, ETH_IPV4, 6, 4)
_FRAGMENT: Final = 0x3FFF  # more of them, or an offset


def source_mac(data: bytes) -> int:
    """The sender's MAC of any frame. Raises PacketError when it is too short to have one."""
    if len(data) < _ETHERNET.size:
        raise PacketError(Drop.TRUNCATED)
    return int.from_bytes(data[6:12], "big")


def claimed(data: bytes) -> int | None:
    """The address in whose name a frame of ARP, or an advertisement of NDP, speaks; None for any other frame, also one
    cut too short to tell."""
    if len(data) < _ETHERNET.size + _ARP.size or int.from_bytes(data[12:14], "big") != ETH_ARP:
        return ipv6.claimed(data)
    return int.from_bytes(data[28:32], "big")


def parse(data: bytes) -> Packet:
    """Read an Ethernet frame. Raises PacketError, and nothing else.

    Nearly all packets are whole TCP over IPv4 without options: those are read at once, in half the time."""
    if len(data) >= _PLAIN_TCP:
        (
            dst, dst_low, src, src_low, eth_type, version_ihl, length, fragment, proto,
            ip_src, ip_dst, src_port, dst_port, seq, ack, offset, flags,
        ) = _PLAIN.unpack_from(data)  # fmt: skip
        if eth_type == ETH_IPV4 and version_ihl == _NO_OPTIONS and proto == PROTO_TCP and not fragment & _FRAGMENT:
            payload, end = _PLAIN_IP + (offset >> 4) * 4, _PLAIN_ETHERNET + length
            if _PLAIN_TCP <= payload <= end <= len(data):
                return Packet(
                    Kind.TCP, src << 32 | src_low, dst << 32 | dst_low, ip_src, ip_dst, 0, 0,
                    proto, src_port, dst_port, flags, seq, ack, payload, end,
                )  # fmt: skip
    return parse_by_layers(data)


def parse_by_layers(data: bytes) -> Packet:
    """Any frame, header by header. Raises as `parse` does."""
    if len(data) < _ETHERNET.size:
        raise PacketError(Drop.TRUNCATED)
    dst, src, eth_type = _ETHERNET.unpack_from(data)
    packet = Packet(Kind.OTHER, int.from_bytes(src, "big"), int.from_bytes(dst, "big"))
    if eth_type == ETH_IPV4:
        _parse_ipv4(data, packet)
    elif eth_type == ETH_ARP:
        _parse_arp(data, packet)
    elif eth_type == ETH_IPV6:
        _parse_ipv6(data, packet)
    elif eth_type in ETH_VLANS:
        packet.kind = Kind.VLAN
    return packet


def _parse_arp(data: bytes, packet: Packet) -> None:
    if len(data) < _ETHERNET.size + _ARP.size:
        raise PacketError(Drop.TRUNCATED)
    *kind, op, mac, sender, _, target = _ARP.unpack_from(data, _ETHERNET.size)
    if tuple(kind) != _ARP_ETHERNET_IPV4 or op not in (ARP_REQUEST, ARP_REPLY):
        return
    packet.kind = Kind.ARP
    packet.arp_op = op
    packet.arp_mac = int.from_bytes(mac, "big")
    packet.ip_src = int.from_bytes(sender, "big")
    packet.ip_dst = int.from_bytes(target, "big")


def _parse_ipv4(data: bytes, packet: Packet) -> None:
    start = _ETHERNET.size
    if len(data) < start + _IPV4.size:
        raise PacketError(Drop.TRUNCATED)
    version_ihl, _, length, _, fragment, _, proto, _, packet.ip_src, packet.ip_dst = _IPV4.unpack_from(data, start)
    header = (version_ihl & 0xF) * 4
    if version_ihl >> 4 != 4 or header < _IPV4.size or length < header:
        raise PacketError(Drop.MALFORMED)
    packet.end = start + length
    if packet.end > len(data):
        raise PacketError(Drop.TRUNCATED)
    if fragment & _FRAGMENT:
        packet.kind = Kind.FRAGMENT
    elif proto == PROTO_TCP:
        _parse_tcp(data, packet, start + header)
    elif proto == PROTO_UDP:
        _parse_udp(data, packet, start + header)
    elif proto == PROTO_ICMP:
        packet.kind = Kind.ICMP
        packet.payload = start + header


def _parse_ipv6(data: bytes, packet: Packet) -> None:
    found = ipv6.read(data, packet)
    if found is None:
        return
    proto, start = found
    if proto == PROTO_ICMPV6:
        ipv6.read_icmp(data, packet, start)
    elif proto in (PROTO_TCP, PROTO_UDP) and not (is_ipv6(packet.ip_src) and is_ipv6(packet.ip_dst)):
        raise PacketError(Drop.MALFORMED)  # the unspecified address, or a deprecated one
    elif proto == PROTO_TCP:
        _parse_tcp(data, packet, start)
    elif proto == PROTO_UDP:
        _parse_udp(data, packet, start)


def _parse_tcp(data: bytes, packet: Packet, start: int) -> None:
    if packet.end < start + _TCP.size:
        raise PacketError(Drop.TRUNCATED)
    fields = _TCP.unpack_from(data, start)
    packet.src_port, packet.dst_port, packet.seq, packet.ack, offset, packet.flags = fields[:6]
    packet.payload = start + (offset >> 4) * 4
    if packet.payload < start + _TCP.size or packet.payload > packet.end:
        raise PacketError(Drop.MALFORMED)
    packet.kind, packet.proto = Kind.TCP, PROTO_TCP


def _parse_udp(data: bytes, packet: Packet, start: int) -> None:
    if packet.end < start + _UDP.size:
        raise PacketError(Drop.TRUNCATED)
    packet.src_port, packet.dst_port, length, _ = _UDP.unpack_from(data, start)
    if not _UDP.size <= length <= packet.end - start:
        raise PacketError(Drop.MALFORMED)
    packet.kind, packet.proto, packet.payload = Kind.UDP, PROTO_UDP, start + _UDP.size


def neighbour(op: int, eth_src: int, eth_dst: int, sender: tuple[int, int], target: tuple[int, int]) -> bytes:
    """An ARP frame, or for IPv6 addresses NDP's; `sender` and `target` are (MAC, address)."""
    if is_ipv6(sender[1]):
        return ipv6.neighbour(op, eth_src, eth_dst, sender, target)
    body = _ARP.pack(*_ARP_ETHERNET_IPV4, op, _mac(sender[0]), _ip(sender[1]), _mac(target[0]), _ip(target[1]))
    return _ETHERNET.pack(_mac(eth_dst), _mac(eth_src), ETH_ARP) + body


def reset(packet: Packet) -> bytes:
    """The RST that answers TCP `packet`, from its receiver to its sender, as RFC 9293 section 3.10.7.1 says."""
    length = packet.end - packet.payload + bool(packet.flags & SYN) + bool(packet.flags & FIN)
    if packet.flags & ACK:
        seq, ack, flags = packet.ack, 0, RST
    else:
        seq, ack, flags = 0, (packet.seq + length) & 0xFFFFFFFF, RST | ACK
    return _tcp_reply(packet, seq, ack, flags)


def nudge(packet: Packet) -> bytes:
    """An ACK of nothing, from TCP `packet`'s receiver to its sender. Whoever has an open connection there answers it by
    the ACK that it has sent last (RFC 9293 section 3.10.7.4), so that one who only waits speaks."""
    return _tcp_reply(packet, 0, 0, ACK)


def _tcp_reply(packet: Packet, seq: int, ack: int, flags: int) -> bytes:
    macs, ips = (packet.eth_dst, packet.eth_src), (packet.ip_dst, packet.ip_src)
    return tcp(macs, ips, (packet.dst_port, packet.src_port), flags=flags, seq=seq, ack=ack)


def tcp(
    macs: tuple[int, int],
    ips: tuple[int, int],
    ports: tuple[int, int],
    *,
    flags: int,
    seq: int,
    ack: int = 0,
    window: int = 0,
    data: bytes = b"",
) -> bytes:
    """A TCP frame without options; `macs`, `ips`, `ports` are (from, to)."""
    segment = _TCP.pack(*ports, seq, ack, 5 << 4, flags, window, 0, 0) + data
    six = is_ipv6(ips[0])
    pseudo = (
        ipv6.pseudo_header(*ips, PROTO_TCP, len(segment))
        if six
        else struct.pack("!IIBBH", *ips, 0, PROTO_TCP, len(segment))
    )
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    return ipv6.packet(macs, ips, PROTO_TCP, segment) if six else _ipv4(macs, ips, PROTO_TCP, segment)


def echo_reply(data: bytes, packet: Packet) -> bytes | None:
    """The answer to an ICMP echo request; None when `packet` isn't one."""
    message = data[packet.payload : packet.end]
    macs, ips = (packet.eth_dst, packet.eth_src), (packet.ip_dst, packet.ip_src)
    if is_ipv6(packet.ip_dst):
        echo = message[:2] == bytes((ipv6.ECHO_REQUEST, 0))
        return ipv6.icmp(macs, ips, bytes((ipv6.ECHO_REPLY, 0)) + message[2:]) if echo else None
    if len(message) < 8 or message[:2] != b"\x08\x00":
        return None
    body = b"\x00\x00\x00\x00" + message[4:]
    return _ipv4(macs, ips, PROTO_ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def _ipv4(macs: tuple[int, int], ips: tuple[int, int], proto: int, body: bytes) -> bytes:
    """`macs`, `ips`: (from, to)."""
    header = _IPV4.pack(0x45, 0, 20 + len(body), 0, 0x4000, 64, proto, 0, *ips)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return _ETHERNET.pack(_mac(macs[1]), _mac(macs[0]), ETH_IPV4) + header + body


def _mac(value: int) -> bytes:
    return value.to_bytes(6, "big")


def _ip(value: int) -> bytes:
    return value.to_bytes(4, "big")
