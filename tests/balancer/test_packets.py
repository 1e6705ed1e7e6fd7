"""Packets: what is read from raw bytes, what is refused and how that is named, and what we build ourselves."""

from __future__ import annotations

import contextlib
import struct

import pytest
from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from hypothesis import example, given
from hypothesis import strategies as st

from lab.balancer import packets
from lab.balancer.packets import Drop, Kind, PacketError, parse

MACS = (frames.mac("02:00:0a:00:00:03"), frames.mac("02:01:0a:00:01:01"))
IPS = (frames.ip("10.0.0.3"), frames.ip("10.0.1.1"))
PORTS = (40001, 80)
OPTIONS = bytes.fromhex("020405b40402080a0000000100000000")

GOOD = [
    frames.tcp(MACS, IPS, PORTS, SYN, seq=7, options=OPTIONS),
    frames.tcp(MACS, IPS, PORTS, ACK, seq=8, ack=9, data=b"GET / HTTP/1.1\r\n\r\n"),
    frames.udp(MACS, IPS, (53, 53)),
    frames.echo(MACS, IPS),
    frames.arp(1, MACS[0], frames.BROADCAST, (MACS[0], IPS[0]), (0, IPS[1])),
    frames.ipv4(MACS, IPS, frames.TCP, bytes(40), fragment=0x2000),
    frames.ipv6(MACS, (frames.ip("fd00::3"), frames.ip("fd00::1:1")), 132, bytes(20)),
    frames.ethernet(MACS[1], MACS[0], frames.VLAN, bytes(50)),
]
IDS = ["syn", "data", "udp", "echo", "arp", "fragment", "ipv6", "vlan"]


def test_tcp_is_read_with_its_options_and_data() -> None:
    packet = parse(GOOD[0])
    assert packet.kind is Kind.TCP
    assert (packet.eth_src, packet.eth_dst) == MACS
    assert (packet.ip_src, packet.ip_dst) == IPS
    assert (packet.src_port, packet.dst_port, packet.flags, packet.seq) == (*PORTS, SYN, 7)
    packet = parse(GOOD[1])
    assert GOOD[1][packet.payload : packet.end] == b"GET / HTTP/1.1\r\n\r\n"
    assert (packet.seq, packet.ack) == (8, 9)


def test_padding_behind_a_packet_is_not_its_data() -> None:
    packet = parse(frames.tcp(MACS, IPS, PORTS, SYN) + bytes(6))
    assert packet.payload == packet.end == 54


def test_ip_options_are_skipped() -> None:
    plain = frames.tcp(MACS, IPS, PORTS, SYN, seq=7)
    header = bytearray(plain[14:34] + bytes(4))
    header[0], header[3] = 0x46, 44
    packet = parse(plain[:14] + bytes(header) + plain[34:])
    assert (packet.kind, packet.src_port, packet.seq) == (Kind.TCP, 40001, 7)


def test_arp_is_read() -> None:
    packet = parse(frames.arp(2, MACS[0], MACS[1], (0xABC, IPS[0]), (MACS[1], IPS[1])))
    assert packet.kind is Kind.ARP
    assert (packet.arp_op, packet.arp_mac, packet.ip_src, packet.ip_dst) == (2, 0xABC, *IPS)


@pytest.mark.parametrize(("number", "kind"), [(2, Kind.UDP), (3, Kind.ICMP), (5, Kind.FRAGMENT), (6, Kind.OTHER)])
def test_other_packets_have_a_kind(number: int, kind: Kind) -> None:
    assert parse(GOOD[number]).kind is kind


@pytest.mark.parametrize("fragment", [0x2000, 0x2001, 0x0005])
def test_first_middle_and_last_fragments_are_fragments(fragment: int) -> None:
    assert parse(frames.ipv4(MACS, IPS, frames.TCP, bytes(40), fragment)).kind is Kind.FRAGMENT


def test_the_bit_that_forbids_fragments_makes_none() -> None:
    assert parse(frames.ipv4(MACS, IPS, frames.ICMP, bytes(8), fragment=0x4000)).kind is Kind.ICMP


def test_arp_of_other_networks_is_not_ours() -> None:
    frame = bytearray(GOOD[4])
    frame[15] = 6  # IEEE 802 instead of Ethernet
    assert parse(bytes(frame)).kind is Kind.OTHER


@pytest.mark.parametrize("kept", [0, 6, 13, 20, 33, 34, 53])
def test_cut_packets_are_refused_as_truncated(kept: int) -> None:
    with pytest.raises(PacketError) as refusal:
        parse(GOOD[0][:kept])
    assert refusal.value.drop is Drop.TRUNCATED


@pytest.mark.parametrize(
    ("at", "byte"),
    [(14, 0x65), (14, 0x44), (17, 19), (46, 0x40), (46, 0xF0)],
    ids=["version 6", "header of 16", "length 19", "tcp header of 16", "tcp header beyond the end"],
)
def test_headers_that_contradict_themselves_are_malformed(at: int, byte: int) -> None:
    frame = bytearray(GOOD[0])
    frame[at] = byte
    with pytest.raises(PacketError) as refusal:
        parse(bytes(frame))
    assert refusal.value.drop is Drop.MALFORMED


@pytest.mark.parametrize("frame", GOOD, ids=IDS)
def test_every_beginning_of_a_packet_is_read_or_refused(frame: bytes) -> None:
    whole = parse(frame)
    for kept in range(len(frame)):
        with contextlib.suppress(PacketError):
            part = parse(frame[:kept])
            assert part.end <= kept
            assert part.kind in (whole.kind, Kind.OTHER)


@given(st.binary(max_size=120))
@example(b"")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _only_packet_errors(data)


@given(st.sampled_from(GOOD), st.data())
def test_damaged_packets_are_read_or_refused(frame: bytes, data: st.DataObject) -> None:
    damaged = bytearray(frame)
    for at in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    _only_packet_errors(bytes(damaged[: data.draw(st.integers(0, len(frame)))]))


@given(st.sampled_from([frames.IPV4, frames.ARP]), st.binary(max_size=80))
def test_any_body_behind_a_good_header_is_read_or_refused(kind: int, body: bytes) -> None:
    _only_packet_errors(frames.ethernet(MACS[1], MACS[0], kind, body))


def _only_packet_errors(data: bytes) -> None:
    try:
        packet = parse(data)
    except PacketError as refusal:
        assert refusal.drop in (Drop.TRUNCATED, Drop.MALFORMED)  # noqa: PT017  what is refused, is named
        return
    assert packet.end <= len(data)
    assert packet.kind is not Kind.TCP or 54 <= packet.payload <= packet.end
    if packet.kind is Kind.TCP:
        assert frames.has_right_checksums(packets.reset(packet))
    if packet.kind is Kind.ICMP:
        reply = packets.echo_reply(data, packet)
        assert reply is None or frames.has_right_checksums(reply)


# packets of our own


@pytest.mark.parametrize(
    ("flags", "data", "expected"),
    [
        (SYN, b"", (0, 101, RST | ACK)),
        (SYN, b"early", (0, 106, RST | ACK)),
        (FIN, b"", (0, 101, RST | ACK)),
        (0, b"abc", (0, 103, RST | ACK)),
        (ACK, b"abc", (555, 0, RST)),
        (SYN | ACK, b"", (555, 0, RST)),
    ],
)
def test_reset_is_what_the_standard_says(flags: int, data: bytes, expected: tuple[int, int, int]) -> None:
    asked = frames.tcp(MACS, IPS, PORTS, flags, seq=100, ack=555, data=data)
    reset = packets.reset(parse(asked))
    got = frames.fields(reset)
    assert frames.has_right_checksums(reset)
    assert (got["seq"], got["ack"], got["tcp_flags"]) == expected
    assert (got["ip_src"], got["ip_dst"], got["tcp_src"], got["tcp_dst"]) == (IPS[1], IPS[0], 80, 40001)
    assert (got["eth_src"], got["eth_dst"]) == (MACS[1], MACS[0])


def test_reset_acknowledges_across_the_end_of_sequence_numbers() -> None:
    reset = packets.reset(parse(frames.tcp(MACS, IPS, PORTS, SYN, seq=0xFFFFFFFF)))
    assert frames.fields(reset)["ack"] == 0


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(56)), b"\xff" * 1471])
def test_echo_reply_carries_the_requests_data_back(data: bytes) -> None:
    request = frames.echo(MACS, IPS, data=data)
    reply = packets.echo_reply(request, parse(request))
    assert reply is not None
    assert frames.has_right_checksums(reply)
    assert reply[34:36] == b"\0\0"
    assert reply[38:] == request[38:]
    assert frames.fields(reply)["ip_dst"] == IPS[0]


def test_only_an_echo_request_is_replied_to() -> None:
    for message in (frames.echo(MACS, IPS, kind=0), frames.echo(MACS, IPS, kind=3), frames.ipv4(MACS, IPS, 1, b"\x08")):
        assert packets.echo_reply(message, parse(message)) is None


@given(st.binary(max_size=99))
def test_checksum_makes_data_sum_up(data: bytes) -> None:
    even = data + bytes(len(data) % 2)
    assert frames.ones_complement_sum(even + struct.pack("!H", packets.checksum(data))) == 0xFFFF


def test_arp_is_built_as_it_is_read() -> None:
    built = packets.neighbour(2, 1, 2, (3, IPS[0]), (4, IPS[1]))
    assert built == frames.arp(2, 1, 2, (3, IPS[0]), (4, IPS[1]))


def test_source_mac_is_read_of_any_frame_that_has_one() -> None:
    assert packets.source_mac(GOOD[7]) == MACS[0]
    with pytest.raises(PacketError):
        packets.source_mac(bytes(13))


# IPv6

IPS6 = (frames.ip("fd00::3"), frames.ip("fd00::1:1"))
BY_HOP, ROUTING, AUTHENTICATION = 0, 43, 51


def chain(*kinds: int) -> bytes:
    """Extension headers of 16 bytes each, in front of TCP; the first one's kind is in the IPv6 header."""
    lengths = {AUTHENTICATION: 2}
    nexts = [*kinds[1:], frames.TCP]
    return b"".join(bytes((n, lengths.get(kind, 1))) + bytes(14) for kind, n in zip(kinds, nexts))


def with_extensions(*kinds: int) -> bytes:
    plain = frames.tcp(MACS, IPS6, PORTS, SYN, seq=7)
    return frames.ipv6(MACS, IPS6, kinds[0] if kinds else frames.TCP, chain(*kinds) + plain[54:])


GOOD6 = [
    frames.tcp(MACS, IPS6, PORTS, SYN, seq=7, options=OPTIONS),
    frames.tcp(MACS, IPS6, PORTS, ACK, seq=8, ack=9, data=b"GET / HTTP/1.1\r\n\r\n"),
    frames.udp(MACS, IPS6, (53, 53)),
    frames.echo(MACS, IPS6),
    frames.ndp(frames.SOLICITATION, MACS, IPS6, IPS6[1], MACS[0]),
    frames.ndp(frames.ADVERTISEMENT, MACS, IPS6, IPS6[0], MACS[0], flags=0x60000000),
    with_extensions(BY_HOP, ROUTING, 60, AUTHENTICATION),
    frames.ipv6(MACS, IPS6, 44, bytes((6, 0, 0, 1, 0, 0, 0, 9)) + bytes(40)),
]
IDS6 = ["syn", "data", "udp", "echo", "solicitation", "advertisement", "extensions", "fragment"]


def test_tcp_and_udp_over_ipv6_are_read() -> None:
    packet = parse(GOOD6[1])
    assert (packet.kind, packet.ip_src, packet.ip_dst) == (Kind.TCP, *IPS6)
    assert (packet.src_port, packet.dst_port, packet.seq, packet.ack) == (*PORTS, 8, 9)
    assert GOOD6[1][packet.payload : packet.end] == b"GET / HTTP/1.1\r\n\r\n"
    packet = parse(GOOD6[2])
    assert (packet.kind, packet.src_port, packet.dst_port) == (Kind.UDP, 53, 53)
    assert GOOD6[2][packet.payload : packet.end] == b"?"


@pytest.mark.parametrize("kinds", [(BY_HOP,), (ROUTING, 60), (AUTHENTICATION,), (BY_HOP, 60, ROUTING, 60, 60, 60, 60)])
def test_extension_headers_are_walked(kinds: tuple[int, ...]) -> None:
    packet = parse(with_extensions(*kinds))
    assert (packet.kind, packet.src_port, packet.seq, packet.payload) == (Kind.TCP, 40001, 7, packet.end)


def test_a_chain_of_extension_headers_has_an_end() -> None:
    with pytest.raises(PacketError) as refusal:
        parse(with_extensions(*([60] * 8)))
    assert refusal.value.drop is Drop.MALFORMED


@pytest.mark.parametrize(("field", "kind"), [(0x0001, Kind.FRAGMENT), (0x0008, Kind.FRAGMENT), (0x0000, Kind.TCP)])
def test_fragments_are_told_from_packets_that_only_have_the_header(field: int, kind: Kind) -> None:
    header = struct.pack("!BBHI", frames.TCP, 0, field, 9)
    body = frames.tcp(MACS, IPS6, PORTS, SYN)[54:]
    assert parse(frames.ipv6(MACS, IPS6, 44, header + body)).kind is kind


@pytest.mark.parametrize("mac", [MACS[0], None])
def test_neighbour_discovery_is_read_into_the_fields_of_arp(mac: int | None) -> None:
    asked = parse(frames.ndp(frames.SOLICITATION, MACS, IPS6, 0xFD << 120 | 5, mac))
    assert (asked.kind, asked.arp_op, asked.arp_mac) == (Kind.NDP, packets.ARP_REQUEST, MACS[0])
    assert (asked.ip_src, asked.ip_dst) == (IPS6[0], 0xFD << 120 | 5)
    told = parse(frames.ndp(frames.ADVERTISEMENT, MACS, IPS6, 0xFD << 120 | 5, mac))
    assert (told.kind, told.arp_op, told.arp_mac) == (Kind.NDP, packets.ARP_REPLY, MACS[0])
    assert (told.ip_src, told.ip_dst) == (0xFD << 120 | 5, IPS6[1])


@pytest.mark.parametrize(
    "frame",
    [
        frames.ndp(frames.SOLICITATION, MACS, IPS6, IPS6[1], MACS[0], hops=254),  # it came over a router
        frames.ndp(frames.SOLICITATION, MACS, IPS6, IPS6[1], MACS[0], code=1),
        GOOD6[4][:56] + b"\0\0" + GOOD6[4][58:],  # a wrong checksum
        frames.ipv6(MACS, IPS6, frames.ICMPV6, GOOD6[4][54:78] + b"\x01\x00" + bytes(6), hops=255),  # option of 0 bytes
        frames.tcp(MACS, (5, IPS6[1]), PORTS, SYN),  # in ::/96, where no host is
        GOOD6[0][:14] + b"\x40" + GOOD6[0][15:],  # version 4
    ],
    ids=["hops", "code", "checksum", "option", "source", "version"],
)
def test_what_no_host_sends_over_ipv6_is_malformed(frame: bytes) -> None:
    with pytest.raises(PacketError) as refusal:
        parse(frame)
    assert refusal.value.drop is Drop.MALFORMED


@pytest.mark.parametrize("frame", GOOD6, ids=IDS6)
def test_every_beginning_of_an_ipv6_packet_is_refused_as_truncated(frame: bytes) -> None:
    for kept in range(14, len(frame)):
        with pytest.raises(PacketError) as refusal:
            parse(frame[:kept])
        assert refusal.value.drop is Drop.TRUNCATED


@given(st.sampled_from(GOOD6), st.data())
def test_damaged_ipv6_packets_are_read_or_refused(frame: bytes, data: st.DataObject) -> None:
    damaged = bytearray(frame)
    for at in data.draw(st.lists(st.integers(14, len(frame) - 1), max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    _only_packet_errors(bytes(damaged[: data.draw(st.integers(0, len(frame)))]))


@given(st.sampled_from([0, 43, 44, 51, 58, 60, 6, 17]), st.binary(max_size=80))
def test_any_body_behind_a_good_ipv6_header_is_read_or_refused(proto: int, body: bytes) -> None:
    frame = frames.ipv6(MACS, IPS6, proto, body, hops=255)
    _only_packet_errors(frame)


def test_neighbour_discovery_is_built_as_it_is_read() -> None:
    own, other = (0x0206AABBCCDD, IPS6[1]), (0, IPS6[0])
    group, group_mac = frames.ip("ff02::1:ff00:3"), 0x3333FF000003
    asks = packets.neighbour(packets.ARP_REQUEST, own[0], frames.BROADCAST, own, other)
    assert asks == frames.ndp(frames.SOLICITATION, (own[0], group_mac), (own[1], group), IPS6[0], own[0])
    one = packets.neighbour(packets.ARP_REQUEST, own[0], MACS[0], own, other)
    assert one == frames.ndp(frames.SOLICITATION, (own[0], MACS[0]), (own[1], IPS6[0]), IPS6[0], own[0])
    told = packets.neighbour(packets.ARP_REPLY, own[0], MACS[0], own, (MACS[0], IPS6[0]))
    to = ((own[0], MACS[0]), (own[1], IPS6[0]))
    assert told == frames.ndp(frames.ADVERTISEMENT, *to, own[1], own[0], flags=0x60000000)


@pytest.mark.parametrize(
    ("frame", "address"),
    [
        (frames.arp(2, MACS[0], MACS[1], (MACS[0], IPS[0]), (0, 1)), IPS[0]),
        (GOOD6[5], IPS6[0]),
        (GOOD6[5][:78], IPS6[0]),
        (GOOD6[5][:77], None),
        (GOOD6[4], None),
        (GOOD6[0], None),
        (GOOD[0], None),
        (b"", None),
    ],
)
def test_in_whose_name_a_frame_speaks(frame: bytes, address: int | None) -> None:
    assert packets.claimed(frame) == address


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(56)), b"\xff" * 1431])
def test_ipv6_echo_reply_carries_the_requests_data_back(data: bytes) -> None:
    request = frames.echo(MACS, IPS6, data=data)
    reply = packets.echo_reply(request, parse(request))
    assert reply is not None
    assert frames.has_right_checksums(reply)
    assert (reply[54], reply[58:]) == (129, request[58:])
    answer = frames.echo(MACS, IPS6, kind=0)
    assert packets.echo_reply(answer, parse(answer)) is None


def test_ipv6_reset_goes_back_with_a_right_checksum() -> None:
    reset = packets.reset(parse(GOOD6[0]))
    got = frames.fields(reset)
    assert frames.has_right_checksums(reset)
    assert (got["src"], got["dst"], got["tcp_src"], got["tcp_flags"]) == (IPS6[1], IPS6[0], 80, RST | ACK)


# UDP


@pytest.mark.parametrize(("length", "drop"), [(7, Drop.MALFORMED), (10, Drop.MALFORMED), (0, Drop.MALFORMED)])
def test_datagrams_whose_length_cannot_be_are_malformed(length: int, drop: Drop) -> None:
    frame = frames.udp(MACS, IPS, (53, 53))
    with pytest.raises(PacketError) as refusal:
        parse(frame[:38] + length.to_bytes(2, "big") + frame[40:])
    assert refusal.value.drop is drop
