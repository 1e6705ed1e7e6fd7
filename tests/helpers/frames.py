"""Frames for tests: built, read and checked here, by none of the code under test.

Rule: nothing is imported from `lab`, so a mistake in the balancer's own packets can't hide behind itself.
"""

from __future__ import annotations

import ipaddress
import struct

IPV4, ARP, IPV6, VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
SOLICITATION, ADVERTISEMENT = 135, 136
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
BROADCAST = 0xFFFFFFFFFFFF
IP_START, MIN_HEADER, IPV6_HEADER = 14, 20, 40


def ip(text: str) -> int:
    return int(ipaddress.ip_address(text))


def mac(text: str) -> int:
    return int(text.replace(":", ""), 16)


def ones_complement_sum(data: bytes) -> int:
    """0xFFFF over data that contains its own right checksum (RFC 1071)."""
    total = 0
    for i in range(0, len(data), 2):
        total += int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big")
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total


def ethernet(dst: int, src: int, kind: int, payload: bytes) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + struct.pack("!H", kind) + payload


def arp(op: int, src: int, dst: int, sender: tuple[int, int], target: tuple[int, int]) -> bytes:
    """`sender`, `target`: (MAC, address)."""
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, op)
    for hardware, address in (sender, target):
        body += hardware.to_bytes(6, "big") + address.to_bytes(4, "big")
    return ethernet(dst, src, ARP, body)


def ipv4(macs: tuple[int, int], ips: tuple[int, int], proto: int, payload: bytes, fragment: int = 0) -> bytes:
    """`macs`, `ips`: (source, destination)."""
    length = MIN_HEADER + len(payload)
    header = struct.pack("!BBHHHBBHII", 0x45, 0, length, 7, fragment, 63, proto, 0, *ips)
    frame = ethernet(macs[1], macs[0], IPV4, header + payload)
    return with_checksums(frame)


def ipv6(macs: tuple[int, int], ips: tuple[int, int], proto: int, payload: bytes, hops: int = 63) -> bytes:
    """`macs`, `ips`: (source, destination). `payload` may begin with extension headers, the first of kind `proto`."""
    header = struct.pack("!IHBB", 6 << 28, len(payload), proto, hops)
    addresses = b"".join(address.to_bytes(16, "big") for address in ips)
    return with_checksums(ethernet(macs[1], macs[0], IPV6, header + addresses + payload))


def between(macs: tuple[int, int], ips: tuple[int, int], proto: int, payload: bytes) -> bytes:
    """A packet of the IP version that the addresses are of."""
    return (ipv6 if ips[1] >> 32 else ipv4)(macs, ips, proto, payload)


def ndp(
    kind: int,
    macs: tuple[int, int],
    ips: tuple[int, int],
    target: int,
    mac: int | None = None,
    *,
    flags: int = 0,
    code: int = 0,
    hops: int = 255,
) -> bytes:
    """A neighbour solicitation or advertisement about `target`; `mac`: in the option that goes with it."""
    body = struct.pack("!BBHI", kind, code, 0, flags) + target.to_bytes(16, "big")
    if mac is not None:
        body += bytes((1 if kind == SOLICITATION else 2, 1)) + mac.to_bytes(6, "big")
    return ipv6(macs, ips, ICMPV6, body, hops)


def ndp_mac(frame: bytes) -> int:
    """What the first option of an NDP message says."""
    assert frame[79] == 1
    return int.from_bytes(frame[80:86], "big")


def tcp(
    macs: tuple[int, int],
    ips: tuple[int, int],
    ports: tuple[int, int],
    flags: int,
    seq: int = 0,
    ack: int = 0,
    data: bytes = b"",
    options: bytes = b"",
) -> bytes:
    offset = (MIN_HEADER + len(options)) // 4
    segment = struct.pack("!HHIIBBHHH", *ports, seq, ack, offset << 4, flags, 64240, 0, 0) + options + data
    return between(macs, ips, TCP, segment)


def udp(macs: tuple[int, int], ips: tuple[int, int], ports: tuple[int, int], data: bytes = b"?") -> bytes:
    return between(macs, ips, UDP, struct.pack("!HHHH", *ports, 8 + len(data), 1) + data)


def tagged(frame: bytes, vlan: int = 5) -> bytes:
    return frame[:12] + struct.pack("!HH", VLAN, vlan) + frame[12:]


def echo(macs: tuple[int, int], ips: tuple[int, int], kind: int = 8, data: bytes = b"abc") -> bytes:
    """`kind`: IPv4's number, 8 or 0; of IPv6 it is 128 or 129."""
    six = ips[1] >> 32
    number = {8: 128, 0: 129}.get(kind, kind) if six else kind
    return between(macs, ips, ICMPV6 if six else ICMP, struct.pack("!BBHHH", number, 0, 0, 77, 1) + data)


def with_checksums(frame: bytes) -> bytes:
    """An IP frame with right checksums of IPv4 and, in whole packets, of TCP, UDP or ICMP."""
    parts = _parts(frame)
    if parts is None:
        return frame
    header, body, proto, pseudo, rest = parts
    if len(header) < IPV6_HEADER:
        header = header[:10] + _filled(header[:10] + b"\0\0" + header[12:]) + header[12:]
    at = _CHECKSUM_AT.get(proto)
    if at is not None and len(body) >= at + 2 and (proto != UDP or body[6:8] != b"\0\0"):  # 0 in UDP: none
        body = body[:at] + _filled(pseudo + body[:at] + b"\0\0" + body[at + 2 :]) + body[at + 2 :]
    return frame[:IP_START] + header + body + rest


def has_right_checksums(frame: bytes) -> bool:
    """Of IPv4's header and, in whole packets, of TCP, UDP or ICMP; other frames have none to be wrong."""
    parts = _parts(frame)
    if parts is None:
        return True
    header, body, proto, pseudo, _ = parts
    if len(header) < IPV6_HEADER and ones_complement_sum(header) != 0xFFFF:
        return False
    none = proto not in _CHECKSUM_AT or (proto == UDP and body[6:8] == b"\0\0" and len(header) < IPV6_HEADER)
    return none or ones_complement_sum(pseudo + body) == 0xFFFF


_CHECKSUM_AT = {TCP: 16, ICMP: 2, UDP: 6, ICMPV6: 2}


def _filled(data: bytes) -> bytes:
    return struct.pack("!H", ~ones_complement_sum(data) & 0xFFFF)


def _parts(frame: bytes) -> tuple[bytes, bytes, int, bytes, bytes] | None:
    """Header, body, protocol (-1: a fragment, or behind extensions), pseudo header, what is behind the packet."""
    if frame[12:14] == b"\x86\xdd" and len(frame) >= IP_START + IPV6_HEADER:
        header = frame[IP_START : IP_START + IPV6_HEADER]
        end = IP_START + IPV6_HEADER + int.from_bytes(header[4:6], "big")
        body = frame[IP_START + IPV6_HEADER : end]
        proto = header[6] if header[6] in (TCP, UDP, ICMPV6) else -1
        return header, body, proto, header[8:40] + struct.pack("!II", len(body), proto & 0xFF), frame[end:]
    if frame[12:14] != b"\x08\x00" or len(frame) < IP_START + MIN_HEADER:
        return None
    size = (frame[IP_START] & 0xF) * 4
    end = IP_START + int.from_bytes(frame[16:18], "big")
    header, body = frame[IP_START : IP_START + size], frame[IP_START + size : end]
    proto = header[9] if not int.from_bytes(header[6:8], "big") & 0x3FFF else -1
    pseudo = header[12:20] + struct.pack("!BBH", 0, proto, len(body)) if proto in (TCP, UDP) else b""
    return header, body, proto, pseudo, frame[end:]


def fields(frame: bytes) -> dict[str, int]:
    """The frame's fields by the names that rules use, and its addresses of either IP version as src and dst. As in Open
    vSwitch, a fragment's ports and flags are 0, and a tagged frame's type and all that follows are those behind the tag
    (bit 0x1000 of vlan_tci: there is one)."""
    found = {"eth_dst": int.from_bytes(frame[0:6], "big"), "eth_src": int.from_bytes(frame[6:12], "big"), "vlan_tci": 0}
    if frame[12:14] == b"\x81\x00":
        found["vlan_tci"] = int.from_bytes(frame[14:16], "big") | 0x1000
        frame = frame[:12] + frame[16:]
    eth_type = int.from_bytes(frame[12:14], "big")
    found["eth_type"] = eth_type
    if eth_type == ARP and len(frame) >= 42:
        _, _, _, _, op, sha, spa, _, tpa = struct.unpack("!HHBBH6s4s6s4s", frame[14:42])
        found.update(arp_op=op, arp_spa=int.from_bytes(spa, "big"), arp_tpa=int.from_bytes(tpa, "big"))
        found["arp_sha"] = int.from_bytes(sha, "big")
    if eth_type in (IPV4, IPV6) and (parts := _parts(frame)) is not None:
        header, body, proto, _, _ = parts
        at, names, size = (12, ("ip_src", "ip_dst"), 4) if eth_type == IPV4 else (8, ("ipv6_src", "ipv6_dst"), 16)
        found["ip_proto"] = header[9] if eth_type == IPV4 else header[6]
        found["src"] = found[names[0]] = int.from_bytes(header[at : at + size], "big")
        found["dst"] = found[names[1]] = int.from_bytes(header[at + size : at + 2 * size], "big")
        if proto == ICMPV6 and len(body) >= 8:
            found.update(icmpv6_type=body[0], icmpv6_code=body[1])
            if body[0] in (SOLICITATION, ADVERTISEMENT) and len(body) >= 24:
                found["nd_target"] = int.from_bytes(body[8:24], "big")
        if found["ip_proto"] == TCP:
            found.update(tcp_src=0, tcp_dst=0, tcp_flags=0)
        if proto == TCP and len(body) >= MIN_HEADER:
            source, destination, seq, ack, offset = struct.unpack("!HHIIH", body[:14])
            found.update(tcp_src=source, tcp_dst=destination, tcp_flags=offset & 0xFFF, seq=seq, ack=ack)
        if found["ip_proto"] == UDP:
            source, destination = struct.unpack("!HH", body[:4]) if proto == UDP and len(body) >= 8 else (0, 0)
            found.update(udp_src=source, udp_dst=destination)
    return found


def tcp_data(frame: bytes) -> bytes:
    parts = _parts(frame)
    assert parts is not None
    body = parts[1]
    return body[(body[12] >> 4) * 4 :]


def udp_data(frame: bytes) -> bytes:
    parts = _parts(frame)
    assert parts is not None
    return parts[1][8:]


_AT = {
    "eth_dst": (0, 6),
    "eth_src": (6, 6),
    "ip_src": (26, 4),
    "ip_dst": (30, 4),
    "ipv6_src": (22, 16),
    "ipv6_dst": (38, 16),
}


def changed(frame: bytes, field: str, value: int) -> bytes:
    """The frame with one field set and its checksums right again."""
    at, size = _AT[field]
    return with_checksums(frame[:at] + value.to_bytes(size, "big") + frame[at + size :])
