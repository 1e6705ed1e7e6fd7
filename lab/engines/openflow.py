"""The balancer's commands as OpenFlow bytes, for versions 1.0, 1.3 and 1.5, with Open vSwitch's (Nicira) extensions.

One encoder for every engine, so that they can't differ, and because no framework at hand builds all of these messages
under 1.0: tables, TCP flags, re-submission and fin_timeout are extensions there. Matches and set-fields are the same
bytes (NXM) in all versions; Open vSwitch takes them in 1.3 and 1.5 as well. Groups that say how they hash are there in
1.5, and under 1.0 as an extension; 1.3 has no way to say it.
What connections share is encoded once: lists of actions, and how a match of some fields is laid out, are remembered.
Rule: no message is built anywhere else, and this module knows nothing of connections or servers.
Source: OpenFlow 1.0.0, 1.3.5 and 1.5.1 specifications; Open vSwitch 3.1 nicira-ext.h, netronome-ext.h (how a group
hashes), ofp-actions.c, ofp-group.c, ovs-fields(7).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from lab.balancer.packet import is_ipv6
from lab.balancer.rules import (
    FLOOD,
    IN_PORT,
    NO_PORT,
    Action,
    Actions,
    AddRule,
    AskRules,
    DeleteGroups,
    DeleteRules,
    Examine,
    FinTimeout,
    FlushTracked,
    GoTo,
    Match,
    Output,
    SendPacket,
    SetField,
    SetGroup,
    ToController,
    ToGroup,
    Track,
)

OF10: Final = 1
OF13: Final = 4
OF15: Final = 6

REASON_NO_MATCH: Final = 0  # in our packet-ins: a copy, to learn from (ToController.learn)
REASON_ACTION: Final = 1
FLOW_REMOVED_IDLE, FLOW_REMOVED_DELETED = 0, 2  # reasons of a flow-removed

_NICIRA: Final = 0x00002320
_NO_BUFFER: Final = 0xFFFFFFFF
_ALL_TABLES: Final = 0xFF
_NAT_SRC, _NAT_DST = 1, 2
_NAT_IPV4, _NAT_IPV6 = 1, 4
_ADD, _DELETE, _DELETE_STRICT = 0, 3, 4
_SEND_FLOW_REMOVED: Final = 1
_VENDOR_10, _PACKET_OUT = 4, 13
_FLOW_MOD, _GROUP_MOD_15 = 14, 15  # 1.5 has the numbers and, but for packet-outs, forms of 1.3
_NXT_FLOW_MOD, _NXT_FLOW_MOD_TABLE_ID, _NXT_CT_FLUSH_ZONE, _NXT_GROUP_MOD, _NXT_CT_FLUSH = 13, 15, 29, 31, 32
_CT_ORIG_TUPLE, _CT_REPLY_TUPLE, _CT_ZONE, _CT_TUPLE_SRC = 0, 1, 2, 0  # properties of the last, and of a tuple
_GROUP_ADD_OR_MOD, _GROUP_DELETE, _GROUP_SELECT = 0x8000, 2, 1  # the first one is Open vSwitch's own
_ALL_GROUPS, _ALL_BUCKETS = 0xFFFFFFFC, 0xFFFFFFFF
_NETRONOME: Final = 0x0000154D
_SYMMETRIC_L4: Final = 1 << 32  # dp_hash of both ends' addresses and ports, wherever the packet was hashed before
_STATS_REQUEST_10, _MULTIPART_REQUEST_13, _STATS_FLOW = 16, 18, 1
_WILDCARDS_ALL_10: Final = 0x3FFFFF
_PORTS: Final[Mapping[int, tuple[int, int]]] = {FLOOD: (0xFFFB, 0xFFFFFFFB), IN_PORT: (0xFFF8, 0xFFFFFFF8)}
_TO_CONTROLLER_PORT: Final = (0xFFFD, 0xFFFFFFFD)
_NONE_PORT: Final = (0xFFFF, 0xFFFFFFFF)

REMEMBERED: Final = 4096  # encodings of each kind; more than members and rules of a lab have

# whole messages up to what varies in length, their header first
_FLOW_MOD_10: Final = struct.Struct("!BBHIIIQHHHHIHHH6x")
_FLOW_MOD_13: Final = struct.Struct("!BBHIQQBBHHHIIIH2xHH")
_PACKET_OUT_HEAD_10: Final = struct.Struct("!BBHIIHH")
_PACKET_OUT_HEAD_13: Final = struct.Struct("!BBHIIIH6x")
_PACKET_OUT_HEAD_15: Final = struct.Struct("!BBHIIHxxHHHBBI4x")
_NUMBERS: Final[Mapping[int, str]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_Head = tuple[int, int, int, int, int, int, int]  # cookie, its mask, table, command, idle time-out, priority, flags

# name -> NXM class, field, bytes. In the order in which fields must stand: what a field needs comes before it.
_FIELDS: Final[Mapping[str, tuple[int, int, int]]] = {
    "in_port": (0, 0, 2),
    "eth_dst": (0, 1, 6),
    "eth_src": (0, 2, 6),
    "eth_type": (0, 3, 2),
    "vlan_tci": (0, 4, 2),
    "ip_proto": (0, 6, 1),
    "ip_src": (0, 7, 4),
    "ip_dst": (0, 8, 4),
    "tcp_src": (0, 9, 2),
    "tcp_dst": (0, 10, 2),
    "udp_src": (0, 11, 2),
    "udp_dst": (0, 12, 2),
    "arp_op": (0, 15, 2),
    "arp_spa": (0, 16, 4),
    "arp_tpa": (0, 17, 4),
    "ipv6_src": (1, 19, 16),
    "ipv6_dst": (1, 20, 16),
    "icmpv6_type": (1, 21, 1),
    "icmpv6_code": (1, 22, 1),
    "nd_target": (1, 23, 16),
    "reg0": (1, 0, 4),
    "ip_ttl": (1, 29, 1),
    "tcp_flags": (1, 34, 2),
    "cookie": (1, 30, 8),
    "ct_state": (1, 105, 4),
}


Sendable = AddRule | DeleteRules | SendPacket | AskRules | FlushTracked | SetGroup | DeleteGroups


def encode(command: Sendable, version: int) -> bytes:
    """One OpenFlow message, transaction id 0. `version`: OF10, OF13 (which has no groups) or OF15."""
    if isinstance(command, SendPacket):
        return _packet_out(command, version)
    if isinstance(command, (AddRule, DeleteRules)):
        return _flow_mod(command, version)
    if isinstance(command, AskRules):
        return _flow_stats_request(command.table, version)
    if isinstance(command, FlushTracked):
        return _message(version, _VENDOR_10, _flush(command))  # an experimenter message of 1.3 has the same number
    return _group_mod(command, version)


def greeting(version: int) -> bytes:
    """What a switch must be told once after it has connected, before any command."""
    if version != OF10:
        return b""
    body = struct.pack("!IIB7x", _NICIRA, _NXT_FLOW_MOD_TABLE_ID, 1)
    return _message(OF10, _VENDOR_10, body)


def _message(version: int, kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", version, kind, 8 + len(body), 0) + body


def _flow_mod(command: AddRule | DeleteRules, version: int) -> bytes:
    table = _ALL_TABLES if command.table is None else command.table
    if isinstance(command, AddRule):
        flags = _SEND_FLOW_REMOVED if command.notify else 0
        head = (command.cookie, 0, table, _ADD, command.idle_timeout, command.priority, flags)
        match, actions = command.match, command.actions
    else:
        what = _DELETE if command.priority is None else _DELETE_STRICT
        head = (command.cookie, command.cookie_mask, table, what, 0, command.priority or 0, 0)
        match, actions = command.match or {}, ()
    return _flow_mod_10(head, match, actions) if version == OF10 else _flow_mod_13(head, match, actions, version)


def _flow_mod_10(head: _Head, match: Match, actions: Actions) -> bytes:
    """NXT_FLOW_MOD, the table in the upper byte of the command (NXT_FLOW_MOD_TABLE_ID)."""
    cookie, mask, table, what, idle, priority, flags = head
    if mask:  # under 1.0 the cookie is matched like a field
        match = {**match, "cookie": (cookie, mask)}
    fields = _match(match)
    done, size, command = _actions(actions, OF10), len(fields), table << 8 | what
    rest = _pad(fields) + done
    return _FLOW_MOD_10.pack(
        OF10, _VENDOR_10, _FLOW_MOD_10.size + len(rest), 0, _NICIRA, _NXT_FLOW_MOD, cookie, command, idle, 0, priority,
        _NO_BUFFER, _NONE_PORT[0], flags, size,
    ) + rest  # fmt: skip


def _flow_mod_13(head: _Head, match: Match, actions: Actions, version: int) -> bytes:
    cookie, mask, table, what, idle, priority, flags = head
    fields = _match(match)
    rest = fields + bytes(-(4 + len(fields)) % 8) + _instruction(actions, version)
    return _FLOW_MOD_13.pack(
        version, _FLOW_MOD, _FLOW_MOD_13.size + len(rest), 0, cookie, mask, table, what, idle, 0, priority,
        _NO_BUFFER, _NONE_PORT[1], _NONE_PORT[1], flags, 1, 4 + len(fields),
    ) + rest  # fmt: skip


@functools.lru_cache(REMEMBERED)
def _instruction(actions: Actions, version: int) -> bytes:
    """Apply-actions; none for no actions."""
    done = _actions(actions, version)
    return struct.pack("!HH4x", 4, 8 + len(done)) + done if done else b""


def _packet_out(command: SendPacket, version: int) -> bytes:
    actions, data, in_port = _actions(command.actions, version), command.data, command.in_port
    size = len(actions)
    if version == OF10:
        port = in_port if in_port != NO_PORT else _NONE_PORT[0]
        length = _PACKET_OUT_HEAD_10.size + size + len(data)
        return _PACKET_OUT_HEAD_10.pack(OF10, _PACKET_OUT, length, 0, _NO_BUFFER, port, size) + actions + data
    port = in_port if in_port != NO_PORT else _TO_CONTROLLER_PORT[1]
    if version == OF13:
        length = _PACKET_OUT_HEAD_13.size + size + len(data)
        return _PACKET_OUT_HEAD_13.pack(OF13, _PACKET_OUT, length, 0, _NO_BUFFER, port, size) + actions + data
    # the port is a match
    length = _PACKET_OUT_HEAD_15.size + size + len(data)
    head = _PACKET_OUT_HEAD_15.pack(OF15, _PACKET_OUT, length, 0, _NO_BUFFER, size, 1, 12, 0x8000, 0, 4, port)
    return head + actions + data


def _flush(command: FlushTracked) -> bytes:
    """NXT_CT_FLUSH_ZONE; NXT_CT_FLUSH for one server, its address as IPv6 has it."""
    if command.server is None:
        return struct.pack("!II6xH", _NICIRA, _NXT_CT_FLUSH_ZONE, command.zone)
    direction = _CT_ORIG_TUPLE if command.began else _CT_REPLY_TUPLE
    address = command.server if is_ipv6(command.server) else 0xFFFF << 32 | command.server
    source = struct.pack("!HH16s4x", _CT_TUPLE_SRC, 20, address.to_bytes(16, "big"))
    tuple_ = struct.pack("!HH4x", direction, 8 + len(source)) + source
    return struct.pack("!IIB7x", _NICIRA, _NXT_CT_FLUSH, 0) + tuple_ + struct.pack("!HHH2x", _CT_ZONE, 6, command.zone)


def _group_mod(command: SetGroup | DeleteGroups, version: int) -> bytes:
    """ofp15_group_mod; under 1.0 inside NXT_GROUP_MOD."""
    if isinstance(command, DeleteGroups):
        body = struct.pack("!HBxIHxxI", _GROUP_DELETE, _GROUP_SELECT, _ALL_GROUPS, 0, _ALL_BUCKETS)
    else:
        buckets = b"".join(_bucket(number, actions, version) for number, actions in enumerate(command.buckets))
        body = struct.pack("!HBxIHxxI", _GROUP_ADD_OR_MOD, _GROUP_SELECT, command.group, len(buckets), _ALL_BUCKETS)
        body += buckets + _selection(command.by)
    if version == OF10:
        return _message(OF10, _VENDOR_10, struct.pack("!II", _NICIRA, _NXT_GROUP_MOD) + body)
    if version == OF15:
        return _message(OF15, _GROUP_MOD_15, body)
    raise TypeError("OpenFlow 1.3 has no group that says how it hashes")


def _bucket(number: int, actions: Actions, version: int) -> bytes:
    """Of weight 1, a property without which a bucket of a select group is never chosen."""
    done = _actions(actions, version)
    weight = struct.pack("!HHHxx", 0, 8, 1)
    return struct.pack("!HHI", 8 + len(done) + len(weight), len(done), number) + done + weight


def _selection(by: str | None) -> bytes:
    """Netronome's property, which Open vSwitch reads: how the group hashes."""
    if by is None:
        method, parameter, fields = b"dp_hash", _SYMMETRIC_L4, b""
    else:  # a field's needs come with it: eth_type of an address
        method, parameter = b"hash", 0
        fields = b"".join(_header(name) + bytes([0xFF]) * _FIELDS[name][2] for name in ("eth_type", by))
    head = struct.pack("!HHIII16sQ", 0xFFFF, 40 + len(fields), _NETRONOME, 1, 0, method, parameter)
    return _pad(head + fields)


def _flow_stats_request(table: int, version: int) -> bytes:
    """All rules of a table."""
    if version == OF10:
        match = struct.pack("!I36x", _WILDCARDS_ALL_10)
        return _message(
            OF10, _STATS_REQUEST_10, struct.pack("!HH", _STATS_FLOW, 0) + match + struct.pack("!BxH", table, 0xFFFF)
        )
    body = struct.pack("!B3xII4xQQ", table, _NONE_PORT[1], _NONE_PORT[1], 0, 0)
    return _message(
        version, _MULTIPART_REQUEST_13, struct.pack("!HH4x", _STATS_FLOW, 0) + body + _pad(struct.pack("!HH", 1, 4))
    )


def _match(match: Match) -> bytes:
    if tuple in map(type, match.values()):  # a masked one
        return b"".join(_field(name, match[name]) for name in _FIELDS if name in match)
    layout = _layout(tuple(match))
    values = layout.headers.copy()
    values[1::2] = [match[name] for name in layout.names]
    for place, size in layout.wide:
        values[place] = values[place].to_bytes(size, "big")
    return layout.struct.pack(*values)


class _Layout(NamedTuple):
    """How a match of some fields, none of them masked, is packed: `headers`, with values at its odd places."""

    struct: struct.Struct
    headers: list[Any]
    names: tuple[str, ...]
    wide: tuple[tuple[int, int], ...]  # places of values that struct has no number for, and their bytes


@functools.lru_cache(REMEMBERED)
def _layout(given: tuple[str, ...]) -> _Layout:
    names = tuple(name for name in _FIELDS if name in given)
    sizes = [_FIELDS[name][2] for name in names]
    forms = "".join("4s" + _NUMBERS.get(size, f"{size}s") for size in sizes)
    headers = [piece for name in names for piece in (_header(name), 0)]
    wide = tuple((2 * place + 1, size) for place, size in enumerate(sizes) if size not in _NUMBERS)
    return _Layout(struct.Struct("!" + forms), headers, names, wide)


def _field(name: str, value: int | tuple[int, int]) -> bytes:
    size = _FIELDS[name][2]
    if isinstance(value, tuple):
        return _header(name, masked=True) + value[0].to_bytes(size, "big") + value[1].to_bytes(size, "big")
    return _header(name) + value.to_bytes(size, "big")


def _header(name: str, masked: bool = False) -> bytes:
    nxm_class, field, size = _FIELDS[name]
    return struct.pack("!HBB", nxm_class, field << 1 | masked, size * (1 + masked))


@functools.lru_cache(REMEMBERED)
def _actions(actions: Actions, version: int) -> bytes:
    return b"".join(_action(action, version) for action in actions)


def _action(action: Action, version: int) -> bytes:
    if isinstance(action, SetField):
        return _set_field(action, version)
    if isinstance(action, GoTo):  # NXAST_RESUBMIT_TABLE
        return _nicira(14, struct.pack("!HB3x", _PORTS[IN_PORT][0], action.table))
    if isinstance(action, Output):
        return _output(action.port, version)
    if isinstance(action, ToController):  # NXAST_CONTROLLER, which can tell its reason
        reason = REASON_NO_MATCH if action.learn else REASON_ACTION
        return _nicira(20, struct.pack("!HHBx", action.max_len, 0, reason))
    if isinstance(action, FinTimeout):  # NXAST_FIN_TIMEOUT
        return _nicira(19, struct.pack("!HH2x", action.idle, 0))
    if isinstance(action, Track):
        return _track(action)
    if isinstance(action, ToGroup):  # a Nicira action under 1.0
        number = struct.pack("!I", action.group)
        return _nicira(40, b"\0\0" + number) if version == OF10 else struct.pack("!HH", 22, 8) + number
    if isinstance(action, Examine):
        return _examine(action, version)
    raise TypeError(f"no encoding for {action!r}")


def _set_field(action: SetField, version: int) -> bytes:
    """NXAST_REG_LOAD of the whole field; set-field in 1.5, which has no other, and for a field too wide for that."""
    wide = _FIELDS[action.name][2] > 8
    if wide and version == OF10:
        raise TypeError(f"OpenFlow 1.0 can't set {action.name}")
    if wide or version == OF15:
        field = _pad(bytes(4) + _field(action.name, action.value))
        return struct.pack("!HH", 25, len(field)) + field[4:]
    bits = _FIELDS[action.name][2] * 8
    return _nicira(7, struct.pack("!H", bits - 1) + _header(action.name) + struct.pack("!Q", action.value))


def _examine(action: Examine, version: int) -> bytes:
    """A move to a register nobody reads: NXAST_REG_MOVE; copy-field in 1.5."""
    bits, ends = _FIELDS[action.field][2] * 8, _header(action.field) + _header("reg0")
    if version == OF15:
        return struct.pack("!HHHHHxx", 28, 24, bits, 0, 0) + ends + bytes(4)
    return _nicira(6, struct.pack("!HHH", bits, 0, 0) + ends)


def _track(action: Track) -> bytes:
    """NXAST_CT with a nested NXAST_NAT."""
    address = action.dst if action.dst is not None else action.src
    how = 0 if address is None else _NAT_DST if action.dst is not None else _NAT_SRC
    six = address is not None and is_ipv6(address)
    present = 0 if address is None else _NAT_IPV6 if six else _NAT_IPV4
    translated = b"" if address is None else address.to_bytes(16 if six else 4, "big")
    nat = _nicira(36, _fill(struct.pack("!2xHH", how, present) + translated))
    table = 0xFF if action.table is None else action.table
    return _nicira(35, struct.pack("!HIHB3xH", int(action.commit), 0, action.zone, table, 0) + nat)


def _fill(body: bytes) -> bytes:
    """Pad an action's body so that the whole, with its header of 10 bytes, is a multiple of 8."""
    return body + bytes(-(len(body) + 10) % 8)


def _output(port: int, version: int) -> bytes:
    short, long = _PORTS.get(port, (port, port))
    if version == OF10:
        return struct.pack("!HHHH", 0, 8, short, 0)
    return struct.pack("!HHIH6x", 0, 16, long, 0)


def _nicira(subtype: int, body: bytes) -> bytes:
    return struct.pack("!HHIH", 0xFFFF, 10 + len(body), _NICIRA, subtype) + body


def _pad(data: bytes) -> bytes:
    """To a multiple of 8 bytes."""
    return data + bytes(-len(data) % 8)
