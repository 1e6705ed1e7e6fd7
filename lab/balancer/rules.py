"""The commands a switch is given, as plain data: add or delete rules, send a packet; and notes for the log.

Every value is an integer (addresses too), so building and comparing them is cheap; engines turn them into bytes, and
remember those of a tuple of actions: an action never changes, and modes make the same ones once.
Rule: nothing here knows an OpenFlow version. A packet walks three tables, in this order:

    SOURCE       who sent it? a known (port, MAC) goes on, an unknown one is shown to the controller and goes on
    SERVICE      is it a service's? ARP, connections, replies; all else goes on (empty on switches that don't balance)
    DESTINATION  where is its receiver? a known MAC has a port, all else is flooded
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

FLOOD: Final = -1  # Output: every port but the one it came from
IN_PORT: Final = -2  # Output: back where it came from
NO_PORT: Final = 0  # SendPacket.in_port: the controller made this packet


class Table(IntEnum):
    SOURCE = 0
    SERVICE = 1
    DESTINATION = 2
    # tracked mode's own, each looked at in one direction only, so that no cached flow carries a client's port
    CLIENT = 3
    CLIENT_TRACKED = 4
    REPLY = 5
    REPLY_TRACKED = 6
    HAIRPIN = 7
    HAIRPIN_TRACKED = 8
    HAIRPIN_BACK = 9
    HAIRPIN_OUT = 10
    DRAIN = 11  # counts a draining server's packets, which go on where they were


class Cookie(IntEnum):
    """What a rule is, in the upper 4 bits of its cookie; the other 60 say whose it is."""

    FIXED = 1  # 60 bits: the configuration's fingerprint
    SOURCE = 2  # 48 bits: MAC
    DESTINATION = 3  # 48 bits: MAC
    DRAIN = 4  # 12 bits: member
    END = 5  # 12 bits: member
    RESUME = 6  # 12 bits: member
    # from here on (bit 63 set): what a new controller of the same configuration takes over from the switch
    CONNECTION = 8  # 12 bits: member; 48 bits: the client's mark (`lab.balancer.client`)
    DIRECT = 9  # 12 bits: member; 48 bits: the client's mark
    MEMBER = 10  # 12 bits: member; 48 bits: its MAC


COOKIE_KIND_SHIFT: Final = 60
COOKIE_MEMBER_SHIFT: Final = 48
COOKIE_LOW_60: Final = (1 << COOKIE_KIND_SHIFT) - 1
COOKIE_KEPT: Final = 1 << 63
COOKIE_LOW_48: Final = (1 << 48) - 1
COOKIE_KIND_MASK: Final = 0xF << COOKIE_KIND_SHIFT
COOKIE_MEMBER_MASK: Final = 0xFFFF << COOKIE_MEMBER_SHIFT  # kind and member
COOKIE_WHOLE: Final = (1 << 64) - 1

# Field -> value, or (value, mask). Fields: in_port, eth_src, eth_dst, eth_type, ip_proto, ip_src, ip_dst, tcp_src,
# tcp_dst, tcp_flags, udp_src, udp_dst, arp_op, arp_spa, arp_tpa, ipv6_src, ipv6_dst, icmpv6_type, icmpv6_code,
# nd_target, ct_state, reg0 (nothing of the packet's: a note on its way), vlan_tci (0: no tag; IN_VLAN: any tag).
IN_VLAN: Final = (0x1000, 0x1000)  # vlan_tci of every tagged packet; other fields are those behind the tag
Match = Mapping[str, "int | tuple[int, int]"]
Senders = Mapping[int, "tuple[int, int, int]"]  # by a found rule's cookie: source address, source and destination port


@dataclass(frozen=True, slots=True)
class Output:
    port: int


@dataclass(frozen=True, slots=True)
class ToController:
    """Show the packet to the controller. `learn`: a copy whose source is not known; the switch forwards it itself."""

    max_len: int = 0xFFFF  # bytes; whole, so that a first packet that carries data is forwarded whole
    learn: bool = False


@dataclass(frozen=True, slots=True)
class GoTo:
    table: int


@dataclass(frozen=True, slots=True)
class SetField:
    name: str
    value: int


@dataclass(frozen=True, slots=True)
class FinTimeout:
    """From the first FIN or RST on, the rule's idle time-out is `idle` (s): rules leave soon after their connection."""

    idle: int


@dataclass(frozen=True, slots=True)
class Examine:
    """Changes nothing, but makes the switch's cached flows tell the values of `field` apart, so that a rule added later
    for one value acts at once: a cached flow for all values would carry its packets until it is checked again. And when
    a rule leaves, its cached flow leaves too, if the rule that is next looks at more; else it stays, for that one."""

    field: str


@dataclass(frozen=True, slots=True)
class Track:
    """Through the connection tracker: translate as the connection's first packet was told to, then go on in `table`
    (None: with the next action). `commit`: remember this connection, translated to `dst` or from `src` (addresses)."""

    zone: int
    table: int | None = None
    commit: bool = False
    dst: int | None = None
    src: int | None = None


@dataclass(frozen=True, slots=True)
class ToGroup:
    """The switch chooses one of the group's buckets, and does what that says."""

    group: int


Action = Examine | Output | ToController | GoTo | SetField | FinTimeout | Track | ToGroup
Actions = tuple[Action, ...]


@dataclass(slots=True, kw_only=True)
class AddRule:
    """Add a rule; one with the same table, match and priority is replaced. No actions: drop."""

    table: int
    priority: int
    match: Match
    actions: Actions
    cookie: int
    idle_timeout: int = 0  # s, 0 = never
    notify: bool = False  # tell when it has idled out


@dataclass(slots=True, kw_only=True)
class DeleteRules:
    """Delete what `match` covers; with `priority`, exactly that rule. `cookie_mask` 0: any cookie. Table None: all."""

    table: int | None = None
    match: Match | None = None
    priority: int | None = None
    cookie: int = 0
    cookie_mask: int = 0


@dataclass(slots=True, kw_only=True)
class SendPacket:
    data: bytes
    actions: Actions
    in_port: int = NO_PORT


@dataclass(slots=True, kw_only=True)
class AskRules:
    """Ask for the cookies of all rules in `table`, and whose packets they are for; they come back by `rules_found`."""

    table: int


@dataclass(slots=True, kw_only=True)
class FlushTracked:
    """Forget the tracked connections of `zone`; with `server`, those alone that this address answers, or, with `began`,
    that it began. Open vSwitch before 3.1 refuses to do so for one server."""

    zone: int
    server: int | None = None
    began: bool = False


@dataclass(slots=True, kw_only=True)
class SetGroup:
    """Add or change a select group: the switch hashes a packet and chooses a bucket by the hash, all being equal.

    `by`: the one field that is hashed; None: both addresses and ports (dp_hash). A bucket with a Track holds nothing
    else: Open vSwitch would drop one of the two without a word."""

    group: int
    buckets: tuple[Actions, ...]
    by: str | None = None


@dataclass(slots=True, kw_only=True)
class DeleteGroups:
    """Delete all groups, and with them the rules that lead to them."""


@dataclass(slots=True)
class Note:
    """A line for the controller's log. `detail`: per decision, wanted only when asked for; `warning`: worth a look."""

    text: str
    detail: bool = False
    warning: bool = False


Command = AddRule | DeleteRules | SendPacket | AskRules | FlushTracked | SetGroup | DeleteGroups | Note


def fixed_cookie(fingerprint: int = 0) -> int:
    return Cookie.FIXED << COOKIE_KIND_SHIFT | fingerprint & COOKIE_LOW_60


def cookie_kind(cookie: int) -> int:
    return cookie >> COOKIE_KIND_SHIFT


def cookie_member(cookie: int) -> int:
    return cookie >> COOKIE_MEMBER_SHIFT & 0xFFF


def mac_cookie(kind: Cookie, mac: int) -> int:
    return kind << COOKIE_KIND_SHIFT | mac


def member_cookie(kind: Cookie, member: int, whose: int = 0) -> int:
    """`whose`: a client's mark, or the member's MAC."""
    return kind << COOKIE_KIND_SHIFT | member << COOKIE_MEMBER_SHIFT | whose
