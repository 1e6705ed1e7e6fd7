"""What a switch says once or more per connection, read from the raw bytes: packet-ins and flow-removed messages.

Frameworks build objects for a message and all it holds, which is most of what a packet-in costs them, while three
fields are all that is needed. Both engines hand their buffers in here (`lab.engines.direct`).
Rule: `data` is read from `at` to the end that the message's own header gives and no further; what contradicts itself
raises BadMessage, and nothing else is raised.
Source: OpenFlow 1.0.0, sections 5.4.1 and 5.4.3; 1.3.5, sections 7.2.2 (matches), 7.4.1 and 7.4.2; 1.5.1 likewise.
"""

from __future__ import annotations

import struct
from typing import Final

from lab.engines.openflow import OF10, OF13, OF15

PACKET_IN: Final = 10
FLOW_REMOVED: Final = 11
HEADER_BYTES: Final = 8

Buffer = bytes | bytearray

_PACKET_IN_10: Final = struct.Struct("!2xH8xHHBx")  # length; total length, port, reason
_PACKET_IN_13: Final = struct.Struct("!2xH8xHB9xHH")  # length; total length, reason; type and length of the match
_FLOW_REMOVED: Final = {  # by version: length, cookie and reason, where they are; and the smallest length
    OF10: (struct.Struct("!2xH44xQ2xB"), (0, 1, 2), 88),
    OF13: (struct.Struct("!2xH4xQ2xB"), (0, 1, 2), 56),
    OF15: (struct.Struct("!2xH5xB6xQ"), (0, 2, 1), 40),
}
_OXM_MATCH: Final = 1
_MATCH_AT: Final = 24  # in a 1.3 packet-in
_IN_PORT: Final = 0x80000004  # OXM header: basic class, field 0, 4 bytes
_FIELD: Final = struct.Struct("!II")
_OXM_HEADER: Final = struct.Struct("!I")


class BadMessage(Exception):
    """A message that can't be read; the text says why."""


def length_of(data: Buffer, at: int) -> int:
    """What the header at `at` says of its message's length."""
    return data[at + 2] << 8 | data[at + 3]


def whole(data: Buffer, at: int) -> int:
    """The type of the message that begins at `at`, if all of it is there; else -1."""
    left = len(data) - at
    if left < HEADER_BYTES:
        return -1
    return data[at + 1] if HEADER_BYTES <= length_of(data, at) <= left else -1


def packet_in(version: int, data: Buffer, at: int = 0) -> tuple[int, int, bytes]:
    """(port, reason, frame) of the packet-in at `at`; the frame as long as the switch sent it, which may be cut."""
    try:
        return _packet_in_10(data, at) if version == OF10 else _packet_in_13(data, at)
    except struct.error:
        raise BadMessage("a packet-in that is cut short") from None


def flow_removed(version: int, data: Buffer, at: int = 0) -> tuple[int, int]:
    """(cookie, reason) of the flow-removed message at `at`."""
    layout, order, smallest = _FLOW_REMOVED[version]
    try:
        fields = layout.unpack_from(data, at)
    except struct.error:
        raise BadMessage("a flow-removed that is cut short") from None
    length, cookie, reason = (fields[place] for place in order)
    if length < smallest or length > len(data) - at:
        raise BadMessage(f"a flow-removed of {length} bytes")
    return cookie, reason


def _packet_in_10(data: Buffer, at: int) -> tuple[int, int, bytes]:
    length, total, port, reason = _PACKET_IN_10.unpack_from(data, at)
    start, end = at + _PACKET_IN_10.size, at + length
    if end < start or end > len(data):
        raise BadMessage(f"a packet-in of {length} bytes")
    return port, reason, bytes(data[start : min(end, start + total)])


def _packet_in_13(data: Buffer, at: int) -> tuple[int, int, bytes]:
    length, total, reason, kind, match_length = _PACKET_IN_13.unpack_from(data, at)
    end, fields = at + length, at + _MATCH_AT + 4
    start = at + _MATCH_AT + (match_length + 7 & ~7) + 2  # the match is padded to 8 bytes, and 2 more follow
    if kind != _OXM_MATCH or match_length < 4 or start > end or end > len(data):
        raise BadMessage(f"a packet-in of {length} bytes, its match of {match_length}")
    port = _port(data, fields, fields + match_length - 4)
    return port, reason, bytes(data[start : min(end, start + total)])


def _port(data: Buffer, at: int, end: int) -> int:
    """in_port among the fields of a match; Open vSwitch puts it first."""
    while at + _FIELD.size <= end:
        header, value = _FIELD.unpack_from(data, at)
        if header == _IN_PORT:
            return int(value)
        at += 4 + (header & 0xFF)
    raise BadMessage("a packet-in without its port")
