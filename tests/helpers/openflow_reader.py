"""Reads what `lab.engines.openflow` writes: OpenFlow 1.0, 1.3 and 1.5 bytes back into commands, as a switch would.

Written from the specifications and Open vSwitch's nicira-ext.h, not from the encoder. Rule: a message that a switch
would refuse raises BadMessage; nothing is skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from lab.balancer import rules
from lab.balancer.rules import AddRule, AskRules, DeleteGroups, DeleteRules, FlushTracked, SendPacket, SetGroup

Read = AddRule | DeleteRules | SendPacket | AskRules | FlushTracked | SetGroup | DeleteGroups

NICIRA = 0x2320
FIELDS: Mapping[tuple[int, int], tuple[str, int]] = {
    (0, 0): ("in_port", 2),
    (0, 1): ("eth_dst", 6),
    (0, 2): ("eth_src", 6),
    (0, 3): ("eth_type", 2),
    (0, 4): ("vlan_tci", 2),
    (0, 6): ("ip_proto", 1),
    (0, 7): ("ip_src", 4),
    (0, 8): ("ip_dst", 4),
    (0, 9): ("tcp_src", 2),
    (0, 10): ("tcp_dst", 2),
    (0, 11): ("udp_src", 2),
    (0, 12): ("udp_dst", 2),
    (0, 15): ("arp_op", 2),
    (0, 16): ("arp_spa", 4),
    (0, 17): ("arp_tpa", 4),
    (1, 0): ("reg0", 4),
    (1, 19): ("ipv6_src", 16),
    (1, 20): ("ipv6_dst", 16),
    (1, 21): ("icmpv6_type", 1),
    (1, 22): ("icmpv6_code", 1),
    (1, 23): ("nd_target", 16),
    (1, 29): ("ip_ttl", 1),
    (1, 30): ("cookie", 8),
    (1, 34): ("tcp_flags", 2),
    (1, 105): ("ct_state", 4),
}
IP, IPV4, IPV6, ARP = (0x0800, 0x86DD), (0x0800,), (0x86DD,), (0x0806,)
NEEDS: Mapping[str, dict[str, tuple[int, ...]]] = {  # a field -> what another must be, one of these
    "ip_proto": {"eth_type": IP},
    "ip_ttl": {"eth_type": IP},
    "ip_src": {"eth_type": IPV4},
    "ip_dst": {"eth_type": IPV4},
    "ipv6_src": {"eth_type": IPV6},
    "ipv6_dst": {"eth_type": IPV6},
    "tcp_src": {"ip_proto": (6,)},
    "tcp_dst": {"ip_proto": (6,)},
    "udp_src": {"ip_proto": (17,)},
    "udp_dst": {"ip_proto": (17,)},
    "tcp_flags": {"ip_proto": (6,)},
    "icmpv6_type": {"eth_type": IPV6, "ip_proto": (58,)},
    "icmpv6_code": {"eth_type": IPV6, "ip_proto": (58,)},
    "nd_target": {"icmpv6_type": (135, 136), "icmpv6_code": (0,)},
    "arp_op": {"eth_type": ARP},
    "arp_spa": {"eth_type": ARP},
    "arp_tpa": {"eth_type": ARP},
}


class BadMessage(AssertionError):
    """A message no switch would take."""


def need(true: bool, what: str) -> None:
    if not true:
        raise BadMessage(what)


def messages(stream: bytes) -> Iterator[bytes]:
    """The messages in what came over a connection."""
    while stream:
        size = int.from_bytes(stream[2:4], "big")
        need(8 <= size <= len(stream), f"a message of {size} bytes")
        yield stream[:size]
        stream = stream[size:]


class Reader:
    """One connection's messages. Under 1.0, flow-mods name their table only once that has been switched on."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._tables = version != 1

    def read(self, message: bytes) -> Read | None:
        """One whole message; None: it changes nothing in the tables."""
        version, kind, length, _ = struct.unpack_from("!BBHI", message)
        need(version == self._version, f"version {version}")
        need(length == len(message), f"length {length}, but {len(message)} bytes")
        body = message[8:]
        if version == 1:
            return {4: self._vendor, 13: self._packet_out_10, 16: ask_rules_10}[kind](body)
        packet_out = self._packet_out_13 if version == 4 else self._packet_out_15
        known = {4: self._vendor, 14: self._flow_mod_13, 13: packet_out, 18: ask_rules_13}
        return {**known, **({15: self._group_mod} if version == 6 else {})}[kind](body)

    def _vendor(self, body: bytes) -> Read | None:
        vendor, subtype = struct.unpack_from("!II", body)
        need(vendor == NICIRA, f"vendor {vendor:#x}")
        if subtype == 29:  # NXT_CT_FLUSH_ZONE
            need(len(body) == 16 and not any(body[8:14]), "zeros before the zone")
            return FlushTracked(zone=int.from_bytes(body[14:], "big"))
        if subtype == 32:  # NXT_CT_FLUSH
            return read_flush(body[8:])
        need(self._version == 1, f"vendor message {subtype}")
        if subtype == 31:  # NXT_GROUP_MOD
            return self._group_mod(body[8:])
        if subtype == 15:  # NXT_FLOW_MOD_TABLE_ID
            need(len(body) == 16, "size of flow_mod_table_id")
            self._tables = body[8] == 1
            return None
        need(subtype == 13 and self._tables, "a flow-mod that names a table, before that was switched on")
        cookie, command, idle, hard, priority, buffer, out, flags, size = struct.unpack_from("!QHHHHIHHH", body, 8)
        need((buffer, out, hard) == (0xFFFFFFFF, 0xFFFF, 0), "buffer, out_port or hard time-out")
        match = read_match(body[40 : 40 + size])
        start = 40 + (size + 7) // 8 * 8
        cookie_match = match.pop("cookie", (0, 0))
        need(isinstance(cookie_match, tuple), "an exact cookie match")
        actions = read_actions(body[start:], 1)
        mask = cookie_match[1]  # type: ignore[index]
        head = (command >> 8, command & 0xFF, cookie, mask, idle, priority, flags)
        return flow_mod(head, match, actions)

    def _flow_mod_13(self, body: bytes) -> AddRule | DeleteRules:
        head = struct.unpack_from("!QQBBHHHIIIH2x", body)
        cookie, mask, table, command, idle, hard, priority, buffer, out_port, out_group, flags = head
        need((buffer, out_port, out_group, hard) == (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0), "buffer or out port")
        kind, size = struct.unpack_from("!HH", body, 40)
        need(kind == 1, "an OXM match")
        match = read_match(body[44 : 40 + size])
        rest = body[40 + (size + 7) // 8 * 8 :]
        actions: rules.Actions = ()
        if rest:
            instruction, length = struct.unpack_from("!HH", rest)
            need((instruction, length) == (4, len(rest)), "exactly one instruction, apply-actions")
            actions = read_actions(rest[8:], self._version)
        return flow_mod((table, command, cookie, mask, idle, priority, flags), match, actions)

    def _packet_out_10(self, body: bytes) -> SendPacket:
        buffer, in_port, size = struct.unpack_from("!IHH", body)
        return self._packet_out(body, 8, buffer, 0 if in_port == 0xFFFF else in_port, size)

    def _packet_out_13(self, body: bytes) -> SendPacket:
        buffer, in_port, size = struct.unpack_from("!IIH6x", body)
        return self._packet_out(body, 16, buffer, 0 if in_port == 0xFFFFFFFD else in_port, size)

    def _packet_out_15(self, body: bytes) -> SendPacket:
        buffer, size, kind, length, oxm, in_port = struct.unpack_from("!IHxxHHII4x", body)
        need((kind, length, oxm) == (1, 12, 0x80000004), "a match of the port alone")
        return self._packet_out(body, 24, buffer, 0 if in_port == 0xFFFFFFFD else in_port, size)

    def _group_mod(self, body: bytes) -> SetGroup | DeleteGroups:
        command, kind, group, size, bucket = struct.unpack_from("!HBxIHxxI", body)
        need((kind, bucket) == (1, 0xFFFFFFFF), "a select group, all its buckets")
        if command == 2:
            need((group, size, len(body)) == (0xFFFFFFFC, 0, 16), "all groups")
            return DeleteGroups()
        need(command == 0x8000 and group < 0xFFFFFF00, "a group to add or to change")
        buckets = read_buckets(body[16 : 16 + size], self._version)
        return SetGroup(group=group, buckets=buckets, by=read_selection(body[16 + size :]))

    def _packet_out(self, body: bytes, start: int, buffer: int, in_port: int, size: int) -> SendPacket:
        need(buffer == 0xFFFFFFFF and in_port < 0xFF00, "buffer or port")
        actions = read_actions(body[start : start + size], self._version)
        return SendPacket(data=body[start + size :], actions=actions, in_port=in_port)


def read_flush(body: bytes) -> FlushTracked:
    """Of one zone, by the source of one direction."""
    protocol, direction, size, kind, length, source, zone_kind, zone_size, zone = struct.unpack(
        "!B7xHH4xHH16s4xHHH2x", body
    )
    need((protocol, size, kind, length, zone_kind, zone_size) == (0, 32, 0, 20, 2, 6), "a tuple's source, and a zone")
    need(direction in (0, 1), "the original direction or the answers'")
    mapped = source[:12] == bytes(10) + bytes([0xFF, 0xFF])
    server = int.from_bytes(source[12:] if mapped else source, "big")
    return FlushTracked(zone=zone, server=server, began=direction == 0)


def ask_rules_10(body: bytes) -> AskRules:
    """OFPST_FLOW; an ofp_match of 40 bytes with everything wildcarded."""
    kind, flags, wildcards, table, out_port = struct.unpack("!HHI36xBxH", body)
    need((kind, flags, wildcards, out_port) == (1, 0, 0x3FFFFF, 0xFFFF), "a request for all rules of a table")
    return AskRules(table=table)


def ask_rules_13(body: bytes) -> AskRules:
    """OFPMP_FLOW; an empty OXM match, padded to 8 bytes."""
    head = struct.unpack("!HH4xB3xII4xQQHH4x", body)
    kind, flags, table, out_port, out_group, cookie, mask, match, size = head
    need((kind, flags, cookie, mask, match, size) == (1, 0, 0, 0, 1, 4), "a request for all rules of a table")
    need((out_port, out_group) == (0xFFFFFFFF, 0xFFFFFFFF), "any port and group")
    return AskRules(table=table)


def flow_mod(head: tuple[int, ...], match: rules.Match, actions: rules.Actions) -> AddRule | DeleteRules:
    table, command, cookie, mask, idle, priority, flags = head
    if command == 0:
        need(table < 255 and flags in (0, 1), "table or flags of an addition")
        return AddRule(
            table=table,
            priority=priority,
            match=match,
            actions=actions,
            cookie=cookie,
            idle_timeout=idle,
            notify=bool(flags),
        )
    need(command in (3, 4) and not actions, "a deletion")
    return DeleteRules(
        table=None if table == 255 else table,
        match=match,
        priority=priority if command == 4 else None,
        cookie=cookie,
        cookie_mask=mask,
    )


def read_match(data: bytes) -> dict[str, int | tuple[int, int]]:
    match: dict[str, int | tuple[int, int]] = {}
    while data:
        nxm_class, field, length = struct.unpack_from("!HBB", data)
        name, size = FIELDS[nxm_class, field >> 1]
        masked = field & 1
        need(length == size * (1 + masked), f"length of {name}")
        need(name not in match, f"{name} twice")
        for required, values in NEEDS.get(name, {}).items():
            need(match.get(required) in values, f"{name} without the {required} it needs before it")
        values = [int.from_bytes(data[4 + i : 4 + i + size], "big") for i in range(0, length, size)]
        need(not masked or not values[0] & ~values[1], f"bits of {name} outside of its mask")
        match[name] = (values[0], values[1]) if masked else values[0]
        data = data[4 + length :]
    return match


def read_buckets(data: bytes, version: int) -> tuple[rules.Actions, ...]:
    """Numbered from 0, each of weight 1."""
    buckets: list[rules.Actions] = []
    while data:
        size, actions_size, number = struct.unpack_from("!HHI", data)
        need(number == len(buckets) and size == 16 + actions_size, "a bucket's number or size")
        need(data[8 + actions_size : size] == bytes.fromhex("0000000800010000"), "a weight of 1")
        buckets.append(read_actions(data[8 : 8 + actions_size], version))
        data = data[size:]
    return tuple(buckets)


def read_selection(data: bytes) -> str | None:
    """Netronome's property: the field that is hashed, or None for dp_hash."""
    kind, size, vendor, what, zero, method, parameter = struct.unpack_from("!HHIII16sQ", data)
    need((kind, vendor, what, zero) == (0xFFFF, 0x154D, 1, 0), "a selection method")
    need(len(data) == (size + 7) // 8 * 8 and not any(data[size:]), "a padded property")
    fields = list(whole_fields(data[40:size]))
    if method.rstrip(b"\0") == b"dp_hash":
        need(parameter == 1 << 32 and not fields, "a symmetric hash, of no fields")
        return None
    need(method.rstrip(b"\0") == b"hash" and not parameter, "a method")
    need(len(fields) == 2 and fields[0] == "eth_type", "one field, and what it needs")
    return fields[1]


def whole_fields(data: bytes) -> Iterator[str]:
    while data:
        name, size = _whole_field(int.from_bytes(data[:4], "big"))
        need(data[4 : 4 + size] == bytes([0xFF]) * size, f"all of {name}")
        yield name
        data = data[4 + size :]


def read_actions(data: bytes, version: int) -> rules.Actions:
    actions: list[rules.Action] = []
    while data:
        kind, length = struct.unpack_from("!HH", data)
        need(length >= 8 and length % 8 == 0 and length <= len(data), f"an action of {length} bytes")
        body, data = data[4:length], data[length:]
        actions.append(_action(kind, body, version))
    return tuple(actions)


def _action(kind: int, body: bytes, version: int) -> rules.Action:
    if kind == 0:
        return _output(body, version)
    if kind == 22 and version != 1:
        need(len(body) == 4, "size of group")
        return rules.ToGroup(int.from_bytes(body, "big"))
    if kind == 25 and version != 1:
        name, size = _whole_field(int.from_bytes(body[:4], "big"))
        need(version == 6 or size > 8, f"set-field of {name} where there is a shorter action")
        need(not any(body[4 + size :]), "padding of set-field")
        return rules.SetField(name, int.from_bytes(body[4 : 4 + size], "big"))
    if kind == 28 and version == 6:
        bits, from_bit, to_bit, source, target, padding = struct.unpack("!HHH2xIII", body)
        return _examine(bits, from_bit, to_bit, source, target + padding)
    return _nicira(kind, body, version)


def _output(body: bytes, version: int) -> rules.Output:
    if version == 1:
        need(len(body) == 4, "size of output")
        port, special = struct.unpack("!HH", body)[0], {0xFFFB: rules.FLOOD, 0xFFF8: rules.IN_PORT}
    else:
        need(len(body) == 12, "size of output")
        port, special = struct.unpack("!IH6x", body)[0], {0xFFFFFFFB: rules.FLOOD, 0xFFFFFFF8: rules.IN_PORT}
    need(port in special or 0 < port < 0xFF00, f"port {port:#x}")
    return rules.Output(special.get(port, port))


def _nicira(kind: int, body: bytes, version: int) -> rules.Action:
    need(kind == 0xFFFF, f"action {kind}")
    vendor, subtype = struct.unpack_from("!IH", body)
    need(vendor == NICIRA, f"vendor {vendor:#x}")
    rest = body[6:]
    if subtype == 40 and version == 1:
        need(len(rest) == 6 and not any(rest[:2]), "size of group")
        return rules.ToGroup(int.from_bytes(rest[2:], "big"))
    if subtype == 7 and version != 6:  # NXAST_REG_LOAD
        offset_bits, header, value = struct.unpack("!HIQ", rest)
        name, size = _whole_field(header)
        need(offset_bits == size * 8 - 1, f"all bits of {name}")
        return rules.SetField(name, value)
    if subtype == 14:  # NXAST_RESUBMIT_TABLE
        in_port, table = struct.unpack("!HB3x", rest)
        need(in_port == 0xFFF8, "resubmission as if from the same port")
        return rules.GoTo(table)
    if subtype == 20:  # NXAST_CONTROLLER
        max_len, controller, reason = struct.unpack("!HHBx", rest)
        need(controller == 0 and reason in (0, 1), "controller or reason")
        return rules.ToController(max_len, learn=reason == 0)
    if subtype == 19:  # NXAST_FIN_TIMEOUT
        idle, hard = struct.unpack("!HH2x", rest)
        need(hard == 0, "hard time-out")
        return rules.FinTimeout(idle)
    if subtype == 35:  # NXAST_CT
        return _track(rest)
    need(subtype == 6 and version != 6, f"subtype {subtype}")  # NXAST_REG_MOVE
    return _examine(*struct.unpack("!HHHII", rest))


def _examine(bits: int, from_bit: int, to_bit: int, source: int, target: int) -> rules.Examine:
    name, size = _whole_field(source)
    need((bits, from_bit, to_bit, _whole_field(target)) == (size * 8, 0, 0, ("reg0", 4)), "a move into reg0")
    return rules.Examine(name)


def _track(body: bytes) -> rules.Track:
    """One nested action: NXAST_NAT."""
    flags, zone_field, zone, table, algorithm = struct.unpack_from("!HIHB3xH", body)
    need(flags in (0, 1) and not zone_field and not algorithm, "flags, zone or algorithm of ct")
    need(len(body) >= 30, "a nat in ct")
    kind, length, vendor, subtype, how, present = struct.unpack_from("!HHIH2xHH", body, 14)
    need((kind, vendor, subtype, length) == (0xFFFF, NICIRA, 36, len(body) - 14), "exactly one nat in ct")
    direction, address = _translation(body[30:], how, present)
    where = None if table == 0xFF else table
    return rules.Track(zone, where, bool(flags), **({direction: address} if direction else {}))


def _translation(data: bytes, how: int, present: int) -> tuple[str, int]:
    """("dst" or "src", address), or ("", 0) for a bare nat."""
    if not how:
        need(not present and not data, "nothing more in a bare nat")
        return "", 0
    need(how in (1, 2) and present in (1, 4), "one address, of source or destination")
    size = 4 if present == 1 else 16
    need(len(data) == (size + 14) // 8 * 8 - 8 and not any(data[size:]), "an address, padded")
    return ("src", "dst")[how - 1], int.from_bytes(data[:size], "big")


def _whole_field(header: int) -> tuple[str, int]:
    name, size = FIELDS[header >> 16, header >> 9 & 0x7F]
    need(not header >> 8 & 1 and header & 0xFF == size, f"header of {name}")
    return name, size
