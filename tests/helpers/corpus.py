"""The frames that a lab with a few services sees, of each kind that it can see: what fuzzing begins with.

Rule: built by `helpers.frames` alone, so that no mistake of the code under test is in them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from helpers import frames
from helpers.frames import ACK, FIN, PSH, RST, SYN

SERVICE: Final = "10.0.1.1"
SERVICE_IP: Final = frames.ip(SERVICE)
SERVICE_MAC: Final = frames.mac("02:01:0a:00:01:01")  # as the balancer makes it from the address
SERVICE6: Final = "fd00::1:1"
SERVICE6_IP: Final = frames.ip(SERVICE6)
SERVICE6_MAC: Final = 0x0206 << 32 | int.from_bytes(
    blake2b(SERVICE6_IP.to_bytes(16, "big"), digest_size=4).digest(), "big"
)


@dataclass(frozen=True)
class Host:
    ip: int
    mac: int
    ip6: int


def _host(number: int) -> Host:
    mac = frames.mac(f"02:00:0a:00:00:{number:02x}")
    return Host(frames.ip(f"10.0.0.{number}"), mac, frames.ip(f"fd00::{number}"))


SERVERS: Final = {f"h{n}": _host(n) for n in (1, 2, 3)}
CLIENT: Final = _host(5)
SERVER: Final = SERVERS["h1"]
_OPTIONS: Final = bytes.fromhex("020405b40402080a000000010000000001030307")
_GET: Final = b"GET / HTTP/1.1\r\nHost: 10.0.1.1\r\n\r\n"
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1"


def port_of(frame: bytes) -> int:
    """The switch's port behind which a frame's sender is: its number, as hosts of this lab have."""
    return frame[11] % 8 + 1 if len(frame) > 11 else 1


def answer(frame: bytes) -> bytes | None:
    """What the lab's servers say to a frame of the balancer's: where they are."""
    got = frames.fields(frame)
    solicited = next((host for host in SERVERS.values() if host.ip6 == got.get("nd_target")), None)
    if solicited is not None and got["icmpv6_type"] == frames.SOLICITATION:
        back = ((solicited.mac, got["eth_src"]), (solicited.ip6, got["src"]))
        return frames.ndp(frames.ADVERTISEMENT, *back, solicited.ip6, solicited.mac, flags=3 << 29)
    asked = next((host for host in SERVERS.values() if host.ip == got.get("arp_tpa")), None)
    if asked is None or got.get("arp_op") != 1:
        return None
    return frames.arp(2, asked.mac, got["eth_src"], (asked.mac, asked.ip), (got["arp_sha"], got["arp_spa"]))


def _calls() -> list[bytes]:
    """A client and the service, its closed port and a server itself."""
    macs, ips = (CLIENT.mac, SERVICE_MAC), (CLIENT.ip, SERVICE_IP)
    whole = (40000, 80)
    return [
        frames.tcp(macs, ips, whole, SYN, seq=7, options=_OPTIONS),
        frames.tcp(macs, ips, whole, SYN | 0xC0, seq=8, options=_OPTIONS),
        frames.tcp(macs, ips, whole, ACK, 8, 9),
        frames.tcp(macs, ips, whole, ACK | PSH, 8, 9, _GET),
        frames.tcp(macs, ips, whole, FIN | ACK, 40, 90),
        frames.tcp(macs, ips, whole, RST, 40),
        frames.tcp(macs, ips, (40001, 8080), SYN, seq=1) + bytes(6),
        frames.tcp(macs, ips, (40002, 22), SYN, seq=1),
        frames.tcp((CLIENT.mac, SERVER.mac), (CLIENT.ip, SERVER.ip), (41000, 80), SYN, seq=1),
        frames.echo(macs, ips, data=bytes(range(56))),
        frames.udp(macs, ips, (5353, 53), b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\3lab\0\0\1\0\1"),
        frames.ipv4(macs, ips, frames.TCP, bytes(40), fragment=0x2000),
        frames.ipv4(macs, ips, frames.TCP, bytes(40), fragment=0x00B9),
        frames.tagged(frames.tcp(macs, ips, whole, SYN)),
    ]


def _answers() -> list[bytes]:
    """What servers and hosts send."""
    macs, ips = (SERVER.mac, CLIENT.mac), (SERVER.ip, CLIENT.ip)
    to_service = (SERVER.mac, SERVICE_MAC), (SERVER.ip, SERVICE_IP)
    quoted = frames.tcp((CLIENT.mac, SERVICE_MAC), (CLIENT.ip, SERVICE_IP), (40000, 80), SYN)[14:42]
    asker = (CLIENT.mac, CLIENT.ip)
    return [
        frames.tcp(macs, ips, (80, 40000), SYN | ACK, 100, 8, options=_OPTIONS),
        frames.tcp(macs, ips, (80, 40000), ACK | PSH, 101, 42, _ANSWER),
        frames.tcp(macs, ips, (80, 40000), FIN | ACK, 150, 42),
        frames.tcp(*to_service, (8080, 513), SYN | ACK, 100, 1),
        frames.tcp(*to_service, (8080, 513), RST | ACK, 0, 1),
        frames.udp(macs, ips, (53, 5353), b"\x12\x34\x81\x80\0\1\0\1"),
        frames.echo(*to_service, kind=3, data=quoted),
        frames.arp(1, CLIENT.mac, frames.BROADCAST, asker, (0, SERVICE_IP)),
        frames.arp(2, SERVER.mac, SERVICE_MAC, (SERVER.mac, SERVER.ip), (SERVICE_MAC, SERVICE_IP)),
        frames.arp(2, CLIENT.mac, SERVICE_MAC, (CLIENT.mac, SERVER.ip), (SERVICE_MAC, SERVICE_IP)),
        frames.arp(2, CLIENT.mac, frames.BROADCAST, (CLIENT.mac, SERVICE_IP), (0, SERVICE_IP)),
    ]


def _ipv6_frames() -> list[bytes]:
    macs, ips = (CLIENT.mac, SERVICE6_MAC), (CLIENT.ip6, SERVICE6_IP)
    to_service = (SERVER.mac, SERVICE6_MAC), (SERVER.ip6, SERVICE6_IP)
    segment = frames.tcp(macs, ips, (40000, 80), SYN, seq=7)[54:]
    return [
        frames.tcp(macs, ips, (40000, 80), SYN, seq=7, options=_OPTIONS),
        frames.tcp(macs, ips, (40000, 80), ACK | PSH, 8, 9, _GET),
        frames.udp(macs, ips, (5353, 53), b"ask?"),
        frames.ndp(frames.SOLICITATION, macs, ips, SERVICE6_IP, CLIENT.mac),
        frames.ndp(frames.ADVERTISEMENT, macs, ips, SERVICE6_IP, CLIENT.mac, flags=3 << 29),
        frames.ndp(frames.ADVERTISEMENT, *to_service, SERVER.ip6, SERVER.mac, flags=3 << 29),
        frames.tcp((SERVER.mac, CLIENT.mac), (SERVER.ip6, CLIENT.ip6), (80, 40000), FIN | ACK, 150, 42),
        frames.echo(macs, ips, data=bytes(16)),
        frames.ipv6(macs, ips, 44, struct.pack("!BBHI", frames.TCP, 0, 1, 9) + segment),
        frames.ipv6(macs, ips, 0, bytes([frames.TCP, 0, 5, 2, 0, 0, 1, 0]) + segment),
    ]


FRAMES: Final[Sequence[bytes]] = [*_calls(), *_answers(), *_ipv6_frames()]
