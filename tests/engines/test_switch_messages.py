"""Packet-ins and flow-removed messages, read from bytes: known ones, cut ones, and whatever else may come."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.engines.openflow import OF10, OF13, OF15
from lab.engines.switch_messages import BadMessage, flow_removed, packet_in, whole

FRAME = bytes(range(60))
# a SYN's copy as Open vSwitch 3.1 sent it: the tracker's fields make its match 69 bytes, padded to 72
TRACKED = bytes.fromhex(
    "040a00ac00000000ffffffff004a0104107b7074e442538500010045800000040000000680000a0208000001d30800000021000000ff"
    "0001d402000a0001f0040a0000060001f2040a0001010001ee01060001f802d5f20001fa020050000000000002010a00010102000a00"
    "000608004500003cc945400040065c700a0000060a000101d5f200509c33742300000000a002faf0bafb0000020405b40402080a5b06"
    "3b6a000000000103030a"
)


def message(version: int, kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", version, kind, 8 + len(body), 0) + body


def packet_in_10(port: int, frame: bytes, buffer: int = 0xFFFFFFFF, total: int | None = None) -> bytes:
    whole_frame = len(frame) if total is None else total
    return message(OF10, 10, struct.pack("!IHHBx", buffer, whole_frame, port, 1) + frame)


def packet_in_13(fields: bytes, frame: bytes, buffer: int = 0xFFFFFFFF, total: int | None = None) -> bytes:
    match = struct.pack("!HH", 1, 4 + len(fields)) + fields
    head = struct.pack("!IHBBQ", buffer, len(frame) if total is None else total, 1, 3, 7)
    return message(OF13, 10, head + match + bytes(-len(match) % 8) + bytes(2) + frame)


def in_port(port: int) -> bytes:
    return struct.pack("!II", 0x80000004, port)


def test_packet_in_that_open_vswitch_sent() -> None:
    port, reason, frame = packet_in(OF13, TRACKED)
    assert (port, reason) == (6, 1)
    assert len(frame) == 74
    assert frame == TRACKED[-74:]


@pytest.mark.parametrize("buffer", [0, 77, 0xFFFFFFFF])
def test_packet_in_is_read_whatever_its_buffer_is(buffer: int) -> None:
    assert packet_in(OF10, packet_in_10(3, FRAME, buffer)) == (3, 1, FRAME)
    assert packet_in(OF13, packet_in_13(in_port(3), FRAME, buffer)) == (3, 1, FRAME)


def test_only_the_packets_own_bytes_are_its_frame() -> None:
    assert packet_in(OF10, packet_in_10(3, FRAME, total=14)) == (3, 1, FRAME[:14])
    assert packet_in(OF13, packet_in_13(in_port(3), FRAME, total=14)) == (3, 1, FRAME[:14])


def test_frame_that_was_cut_by_the_switch_is_read_as_it_is() -> None:
    assert packet_in(OF10, packet_in_10(3, FRAME, total=1500)) == (3, 1, FRAME)
    assert packet_in(OF13, packet_in_13(in_port(3), FRAME, total=1500)) == (3, 1, FRAME)


def test_messages_are_read_where_they_are_and_no_further() -> None:
    first, second = packet_in_10(1, FRAME), packet_in_10(2, FRAME[:20])
    stream = bytearray(first + second + b"rest")
    assert packet_in(OF10, stream) == (1, 1, FRAME)
    assert packet_in(OF10, stream, len(first)) == (2, 1, FRAME[:20])
    assert whole(stream, len(first)) == 10
    assert whole(stream, len(first) + len(second)) == -1


@pytest.mark.parametrize("before", range(12))
def test_port_is_found_behind_fields_of_any_length(before: int) -> None:
    other = struct.pack("!HBB", 0x0001, 34 << 1, before) + bytes(range(before))
    assert packet_in(OF13, packet_in_13(other + in_port(9), FRAME)) == (9, 1, FRAME)
    assert packet_in(OF13, packet_in_13(in_port(9) + other, FRAME)) == (9, 1, FRAME)


@pytest.mark.parametrize(
    "wrong",
    [
        packet_in_13(b"", FRAME),
        packet_in_13(struct.pack("!II", 0x80000204, 3), FRAME),
        packet_in_13(in_port(3)[:6], FRAME),
        packet_in_13(in_port(3), FRAME).replace(b"\0\1\0\x0c", b"\0\0\0\x0c", 1),
        packet_in_13(in_port(3), b"").replace(b"\0\1\0\x0c", b"\0\1\xff\xff", 1),
        packet_in_13(in_port(3), FRAME).replace(b"\0\1\0\x0c", b"\0\1\0\2", 1),
    ],
    ids=[
        "no field",
        "another port's field",
        "half a field",
        "no OXM",
        "longer than its message",
        "shorter than itself",
    ],
)
def test_match_that_contradicts_itself_is_refused(wrong: bytes) -> None:
    with pytest.raises(BadMessage):
        packet_in(OF13, wrong)


@pytest.mark.parametrize(
    ("version", "raw"), [(OF10, packet_in_10(3, b"")), (OF13, packet_in_13(in_port(3), b"")), (OF15, TRACKED)]
)
def test_packet_in_that_is_cut_short_is_refused_at_every_byte(version: int, raw: bytes) -> None:
    packet_in(version, raw)
    for size in range(len(raw)):
        with pytest.raises(BadMessage):
            packet_in(version, raw[:size])
    with pytest.raises(BadMessage):  # whose header gives a length that is none
        packet_in(version, raw[:2] + b"\0\x09" + raw[4:])


FLOW_REMOVED_10 = message(OF10, 11, struct.pack("!40xQHBxIIH2xQQ", 0x40010A0000039C41, 200, 2, 1, 0, 10, 6, 400))
FLOW_REMOVED_13 = message(
    OF13, 11, struct.pack("!QHBBIIHHQQHH4x", 0x40010A0000039C41, 200, 2, 1, 1, 0, 10, 0, 6, 400, 1, 4)
)
FLOW_REMOVED_15 = message(OF15, 11, struct.pack("!BBHHHQHH4xHH4x", 1, 2, 200, 10, 0, 0x40010A0000039C41, 1, 4, 1, 4))


@pytest.mark.parametrize(
    ("version", "raw"), [(OF10, FLOW_REMOVED_10), (OF13, FLOW_REMOVED_13), (OF15, FLOW_REMOVED_15)]
)
def test_flow_removed_gives_cookie_and_reason(version: int, raw: bytes) -> None:
    assert flow_removed(version, raw) == (0x40010A0000039C41, 2)
    assert flow_removed(version, b"before" + raw + b"after", 6) == (0x40010A0000039C41, 2)
    for size in range(len(raw)):
        with pytest.raises(BadMessage):
            flow_removed(version, raw[:size])


@given(st.sampled_from([OF10, OF13, OF15]), st.binary(max_size=200), st.integers(0, 210), st.booleans())
def test_nothing_but_bad_message_is_raised(version: int, body: bytes, at: int, honest: bool) -> None:
    """Whatever the bytes; `honest`: with a header that fits them."""
    raw = message(version, 10, body) if honest else body
    for read in (packet_in, flow_removed):
        try:
            read(version, raw, 0 if honest else at)
        except BadMessage:
            continue


@given(st.binary(max_size=80), st.integers(0, 100))
def test_no_message_is_whole_that_reaches_beyond_the_data(data: bytes, at: int) -> None:
    if whole(data, at) >= 0:
        assert 8 <= int.from_bytes(data[at + 2 : at + 4], "big") <= len(data) - at
