"""A switch in memory: takes the balancer's commands, or their OpenFlow bytes, and says where a packet leaves.

It does what Open vSwitch does with the few things our rules use (OpenFlow 1.3.5 section 6.4; ovs-actions(7)): tables
walked by resubmission, priorities, masks, set-field, idle time-outs, fin_timeout, copies to the controller, ct, groups.
Rule: what a switch would refuse or decide by chance (equal priorities that overlap and differ) raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from helpers import frames
from helpers.openflow_reader import NEEDS, Reader
from helpers.tracker import Tracked, Tracker
from lab.balancer import rules
from lab.balancer.rules import (
    AddRule,
    AskRules,
    Command,
    DeleteGroups,
    DeleteRules,
    FlushTracked,
    Note,
    SendPacket,
    SetGroup,
)
from lab.engines import openflow

TABLES = len(rules.Table)
IDLE, DELETED = 0, 2  # reasons of a flow-removed
VERSIONS: Mapping[str, int | None] = {
    "command": None,
    "1.0": openflow.OF10,
    "1.3": openflow.OF13,
    "1.5": openflow.OF15,
}

MatchKey = frozenset[tuple[str, int, int]]  # field, value, mask


class Refused(AssertionError):
    """The switch would not take this command, or not know what it means."""


@dataclass
class Rule:
    table: int
    priority: int
    match: MatchKey
    actions: rules.Actions
    cookie: int
    idle: int
    notify: bool
    used: float
    packets: int = 0

    def covers(self, key: Mapping[str, int]) -> bool:
        return all(name in key and key[name] & mask == value for name, value, mask in self.match)

    def sender(self) -> tuple[int, int, int] | None:
        """Source address, source and destination port, of a rule for one sender's packets."""
        exact = {name: value for name, value, mask in self.match if mask == -1}
        for protocol in ("tcp", "udp"):
            for address in ("ip_src", "ipv6_src"):
                names = (address, f"{protocol}_src", f"{protocol}_dst")
                if all(name in exact for name in names):
                    sender, source, target = (exact[name] for name in names)
                    return sender, source, target
        return None

    def said(self) -> tuple[object, ...]:
        """All but what traffic changes."""
        return (self.table, self.priority, self.match, repr(self.actions), self.cookie, self.notify)


@dataclass
class PacketIn:
    in_port: int
    reason: int
    data: bytes


@dataclass
class Removed:
    cookie: int
    reason: int


@dataclass
class Found:
    """The answer to AskRules."""

    cookies: list[int]
    senders: dict[int, tuple[int, int, int]] = field(default_factory=dict)


@dataclass
class Way:
    """A packet on its way through the tables; `out` is what has left by it, shared with its copies."""

    in_port: int
    frame: bytes
    state: int = 0  # ct_state: not tracked
    note: int = 0  # reg0
    depth: int = 0
    out: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass
class ModelSwitch:
    """`speaks`: a key of VERSIONS. What it has to tell the controller waits in `messages`."""

    ports: Sequence[int]
    speaks: str = "command"
    now: float = 0.0
    messages: list[PacketIn | Removed | Found] = field(default_factory=list)
    down: set[int] = field(default_factory=set)
    flow_mods: int = 0
    full: bool = False  # no place for another rule that idles out; the switch refuses it with an error
    refused: int = 0
    old: bool = False  # Open vSwitch before 3.1: a tracker's zone is emptied whole, or not at all
    tracker: Tracker = field(default_factory=Tracker)
    groups: dict[int, SetGroup] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tables: list[dict[tuple[int, MatchKey], Rule]] = [{} for _ in range(TABLES)]
        self._reader: Reader | None = None
        self.reconnect()

    # the controller's side

    def reconnect(self, wiped: bool = False) -> None:
        """A new connection to the controller; `wiped`: the switch has lost its rules and its tracker as well."""
        version = VERSIONS[self.speaks]
        self._reader = None if version is None else Reader(version)
        if self._reader is not None and version is not None and (greeting := openflow.greeting(version)):
            assert self._reader.read(greeting) is None
        if wiped:
            self._tables = [{} for _ in range(TABLES)]
            self.groups.clear()
            self.tracker.flush()

    def do(self, command: Command) -> list[tuple[int, bytes]]:
        """Carry out a command; what leaves at which port by it."""
        if isinstance(command, Note):
            return []
        version = VERSIONS[self.speaks]
        if version is not None and self._reader is not None:
            read = self._reader.read(openflow.encode(command, version))
            assert read is not None
            command = read
        if isinstance(command, SendPacket):
            return self._execute(command.actions, command.in_port, command.data)
        if isinstance(command, AskRules):
            found = self.rules(command.table)
            senders = {rule.cookie: sender for rule in found if (sender := rule.sender())}
            self.messages.append(Found([rule.cookie for rule in found], senders))
        elif isinstance(command, FlushTracked):
            if command.server is not None and self.old:
                self.refused += 1
            else:
                self.tracker.flush(command.zone, command.server, command.began)
        elif isinstance(command, SetGroup):
            self._set_group(command)
        elif isinstance(command, DeleteGroups):
            self._delete_groups()
        elif isinstance(command, AddRule):
            self.flow_mods += 1
            self._add(command)
        else:
            self.flow_mods += 1
            self._delete(command)
        return []

    # the network's side

    def receive(self, in_port: int, frame: bytes) -> list[tuple[int, bytes]]:
        """A frame comes in at a port; what leaves at which port by the rules alone."""
        assert in_port in self.ports
        way = Way(in_port, frame)
        if in_port not in self.down:
            self._lookup(0, way)
        return way.out

    def pass_time(self, now: float) -> None:
        self.now = now
        for table in self._tables:
            for key, rule in list(table.items()):
                if rule.idle and now - rule.used >= rule.idle:
                    self._remove(table, key, IDLE)

    # for assertions

    def rules(self, table: int | None = None) -> list[Rule]:
        chosen = self._tables if table is None else [self._tables[table]]
        return [rule for rows in chosen for rule in rows.values()]

    def state(self) -> set[tuple[object, ...]]:
        """What the rules say; two switches with the same state treat every packet alike."""
        return {rule.said() for rule in self.rules()}

    def of_kind(self, kind: rules.Cookie) -> list[Rule]:
        return [rule for rule in self.rules() if rule.cookie >> rules.COOKIE_KIND_SHIFT == kind]

    # insides

    def _add(self, command: AddRule) -> None:
        match = _key(command.match)
        _check(command)
        for action in command.actions:
            if isinstance(action, rules.ToGroup) and action.group not in self.groups:
                raise Refused(f"a rule that leads to group {action.group}, which isn't there")
        table = self._tables[command.table]
        for (priority, other), rule in table.items():
            same_place = priority == command.priority and other != match
            if same_place and repr(rule.actions) != repr(command.actions) and _overlap(match, other):
                raise Refused(f"rules of priority {priority} overlap: {sorted(match)} and {sorted(other)}")
        if self.full and command.idle_timeout and (command.priority, match) not in table:
            self.refused += 1
            return
        table[command.priority, match] = Rule(
            table=command.table,
            priority=command.priority,
            match=match,
            actions=command.actions,
            cookie=command.cookie,
            idle=command.idle_timeout,
            notify=command.notify,
            used=self.now,
        )

    def _delete(self, command: DeleteRules) -> None:
        match = _key(command.match or {})
        tables = self._tables if command.table is None else [self._tables[command.table]]
        for table in tables:
            for key, rule in list(table.items()):
                exact = command.priority is None or key == (command.priority, match)
                owned = rule.cookie & command.cookie_mask == command.cookie & command.cookie_mask
                if exact and owned and _within(rule.match, match):
                    self._remove(table, key, DELETED)

    def _set_group(self, command: SetGroup) -> None:
        for bucket in command.buckets:
            if len(bucket) > 1 and any(isinstance(action, rules.Track) for action in bucket):
                raise Refused("a bucket with a ct and another action: one of them would be dropped")
        self.groups[command.group] = command

    def _delete_groups(self) -> None:
        self.groups.clear()
        for table in self._tables:
            for key, rule in list(table.items()):
                if any(isinstance(action, rules.ToGroup) for action in rule.actions):
                    self._remove(table, key, DELETED)

    def _bucket(self, group: int, frame: bytes) -> rules.Actions:
        """Which bucket a packet gets; the same one for every packet with the same hashed fields."""
        chosen, seen = self.groups[group], frames.fields(frame)
        if not chosen.buckets:
            return ()
        kind = "udp" if "udp_src" in seen else "tcp"
        names = (chosen.by,) if chosen.by else ("ip_src", "ip_dst", f"{kind}_src", f"{kind}_dst")
        text = repr([seen.get(name) for name in names]).encode()
        return chosen.buckets[int.from_bytes(blake2b(text, digest_size=4).digest(), "big") % len(chosen.buckets)]

    def _remove(self, table: dict[tuple[int, MatchKey], Rule], key: tuple[int, MatchKey], reason: int) -> None:
        rule = table.pop(key)
        if rule.notify:
            self.messages.append(Removed(rule.cookie, reason))

    def _lookup(self, table: int, way: Way) -> None:
        if way.depth > TABLES:
            raise Refused("resubmission without end")
        key = {**frames.fields(way.frame), "in_port": way.in_port, "ct_state": way.state, "reg0": way.note}
        hit = max((r for r in self._tables[table].values() if r.covers(key)), key=lambda r: r.priority, default=None)
        if hit is None:
            return  # a table without a rule for missing packets drops them
        hit.used = self.now
        hit.packets += 1
        if key.get("tcp_flags", 0) & (frames.FIN | frames.RST):
            for action in hit.actions:
                if isinstance(action, rules.FinTimeout):
                    hit.idle = min(hit.idle or action.idle, action.idle)
        self._run(hit.actions, way)

    def _execute(self, actions: rules.Actions, in_port: int, frame: bytes) -> list[tuple[int, bytes]]:
        way = Way(in_port, frame)
        self._run(actions, way)
        return way.out

    def _run(self, actions: rules.Actions, way: Way) -> None:
        """Actions in turn, as resubmission does: what a called table has changed stays changed."""
        for action in actions:
            if isinstance(action, rules.SetField) and action.name == "reg0":
                way.note = action.value
            elif isinstance(action, rules.SetField):
                way.frame = frames.changed(way.frame, action.name, action.value)
            elif isinstance(action, rules.GoTo):
                way.depth += 1
                self._lookup(action.table, way)
                way.depth -= 1
            elif isinstance(action, rules.Output):
                ports = [port for port in self._targets(action.port, way.in_port) if port not in self.down]
                way.out += [(port, way.frame) for port in ports]
            elif isinstance(action, rules.ToController):
                self.messages.append(PacketIn(way.in_port, 0 if action.learn else 1, way.frame[: action.max_len]))
            elif isinstance(action, rules.Track):
                self._track(action, way)
            elif isinstance(action, rules.ToGroup):
                self._run(self._bucket(action.group, way.frame), replace(way))  # what a bucket changes stays in it
            elif not isinstance(action, (rules.FinTimeout, rules.Examine)):
                raise Refused(f"unknown action {action!r}")

    def _track(self, action: rules.Track, way: Way) -> None:
        """Without a table the packet itself is translated; with one, a copy goes on there, and what it becomes there
        does not come back."""
        tracked = self._tracked(action, way.frame)
        if action.table is None:
            way.frame = tracked.frame
        else:
            self._lookup(action.table, replace(way, frame=tracked.frame, state=tracked.state, depth=way.depth + 1))

    def _tracked(self, action: rules.Track, frame: bytes) -> Tracked:
        if action.commit:
            return self.tracker.commit(action.zone, frame, action.dst, action.src)
        return self.tracker.track(action.zone, frame)

    def _targets(self, port: int, in_port: int) -> list[int]:
        if port == rules.IN_PORT:
            if in_port not in self.ports:
                raise Refused("output to the port of origin, of a packet that came from none")
            return [in_port]
        if port == rules.FLOOD:
            return [p for p in self.ports if p != in_port]
        return [port] if port != in_port and port in self.ports else []


def _key(match: rules.Match) -> MatchKey:
    key = set()
    for name, wanted in match.items():
        value, mask = wanted if isinstance(wanted, tuple) else (wanted, -1)
        if value & ~mask:
            raise Refused(f"bits of {name} outside of its mask")
        for needed, values in NEEDS.get(name, {}).items():
            if match.get(needed) not in values:
                raise Refused(f"{name} without the {needed} it needs")
        key.add((name, value, mask))
    return frozenset(key)


def _check(command: AddRule) -> None:
    """What Open vSwitch asks of a rule's actions: that the match makes sure of the protocol they change."""
    for action in command.actions:
        if isinstance(action, rules.SetField) and action.name.startswith("ip_"):
            allowed = command.match.get("eth_type") == frames.IPV4
        elif isinstance(action, rules.SetField) and action.name.startswith("ipv6_"):
            allowed = command.match.get("eth_type") == frames.IPV6
        elif isinstance(action, rules.FinTimeout):
            allowed = command.match.get("ip_proto") == frames.TCP
        elif isinstance(action, rules.Examine):
            needed = {"tcp": (frames.TCP,), "udp": (frames.UDP,), "ip_": (frames.TCP, frames.UDP)}[action.field[:3]]
            allowed = command.match.get("ip_proto") in needed
        elif isinstance(action, rules.Track):
            allowed = command.match.get("eth_type") in (frames.IPV4, frames.IPV6)
        elif isinstance(action, rules.GoTo):
            allowed = action.table < TABLES and action.table != command.table
        else:
            continue
        if not allowed:
            raise Refused(f"{action} does not fit {command.match}")


def _overlap(one: MatchKey, other: MatchKey) -> bool:
    """Whether a packet can match both."""
    theirs = {name: (value, mask) for name, value, mask in other}
    for name, value, mask in one:
        if name in theirs:
            other_value, other_mask = theirs[name]
            if (value ^ other_value) & mask & other_mask:
                return False
    return True


def _within(rule: MatchKey, wanted: MatchKey) -> bool:
    """Whether all packets of `rule` are ones of `wanted`."""
    has = {name: (value, mask) for name, value, mask in rule}
    return all(n in has and has[n][1] & m == m and has[n][0] & m == v for n, v, m in wanted)
