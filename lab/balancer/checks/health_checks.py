"""All servers' checks: sends probes when they are due, hears the answers, tells the pools what has changed.

Rule: a server's state is changed here and nowhere else, and whoever keeps the pools (`Pools`) hears of every change.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from random import Random
from typing import Any, Final, Protocol

from lab.balancer.assignment import Assignment
from lab.balancer.checks.check import FIRST_PORT, PORT_MASK, Check
from lab.balancer.checks.neighbour import Claim
from lab.balancer.health import RAMP_FULL
from lab.balancer.learning import LearningSwitch
from lab.balancer.packets import Drop, Kind, Packet, address, mac_text
from lab.balancer.pool import Member
from lab.balancer.rules import Command, DeleteRules, Note

LINK_DOWN: Final = "its link is down"


class Pools(Protocol):
    """Whoever acts on what checks find. All calls return commands for the balancing switch."""

    def located(self, assignment: Assignment, member: Member, former: int) -> list[Command]:
        """The member's MAC is sure now; before, it was taken to be `former` (0: not known)."""

    def went_up(self, assignment: Assignment, member: Member, now: float) -> list[Command]: ...
    def went_down(self, assignment: Assignment, member: Member, why: str, now: float) -> list[Command]: ...

    def share_changed(self, assignment: Assignment, member: Member) -> list[Command]:
        """A step of its slow start: `member.ramp` has changed."""


class HealthChecks:
    def __init__(self, pools: Pools, switch: LearningSwitch, drops: Counter[Drop], rng: Random) -> None:
        self._pools = pools
        self._switch = switch
        self._drops = drops
        self._rng = rng
        self._checks: dict[int, Check] = {}  # by the member's id
        self._ended: dict[int, DeleteRules] = {}  # of removed members: a switch that was away has their rules
        self._by_end: dict[tuple[int, int, int], Check] = {}  # that connect: by service's address, server's, its port

    # which servers

    def add(self, assignment: Assignment, member: Member) -> list[Command]:
        """Check a server from now on. Returns the rule its answers need, if any."""
        check = self._checks[member.id] = Check(assignment, member, self._rng)
        if not check.connects:
            return []
        self._by_end[_end(check)] = check
        return [check.rule()]

    def remove(self, member: Member) -> list[Command]:
        """The server is no longer checked; its answers' rule goes with it."""
        check = self._checks.pop(member.id)
        if not check.connects:
            return []
        del self._by_end[_end(check)]
        end = self._ended[member.id] = check.end_rule()
        return [*check.drop_exchange(), end]

    def switch_up(self) -> list[Command]:
        """The switch has (re)connected: the rules, and every server is asked at once."""
        for check in self._checks.values():
            _start_over(check)
        return [*self._ended.values(), *(check.rule() for check in self._checks.values() if check.connects)]

    # events

    def tick(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for check in list(self._checks.values()):
            check.neighbour.expire(now)
            if check.health.overdue(now):
                commands += self._timed_out(check, now)
            if check.health.probe_due(now):
                commands += check.begin(now)
            if check.member.ramp != RAMP_FULL:
                commands += self._ramp(check, now)
        return commands

    def next_timer(self) -> float:
        """When `tick` has something to do next (s)."""
        return min((check.health.next_timer() for check in self._checks.values()), default=float("inf"))

    def behind(self, port: int) -> list[Check]:
        """The servers behind a port of the balancing switch."""
        return [c for c in self._checks.values() if c.member.mac and self._switch.port_of(c.member.mac) == port]

    def link_down(self, behind: list[Check], now: float) -> list[Command]:
        commands: list[Command] = []
        for check in behind:
            check.neighbour.forget()
            check.drop_exchange()  # what it would send has no way
            if check.health.link_down(now):
                commands += self._went_down(check, LINK_DOWN, now)
        return commands

    def link_up(self) -> None:
        """Some port is up: whoever is missing may be behind it."""
        for check in self._checks.values():
            if not check.member.up:
                _start_over(check)

    def arp_answer(self, packet: Packet, in_port: int, now: float, expected: bool = False) -> list[Command]:
        """An ARP reply to a service's address. `expected`: somebody else has asked for it."""
        asked = [c for c in self._checks.values() if (c.member.ip, c.service.ip) == (packet.ip_src, packet.ip_dst)]
        if not asked and not expected:
            self._drops[Drop.UNEXPECTED_ARP] += 1
        claims = [(check, check.neighbour.claimed(packet.arp_mac, now)) for check in asked]
        if any(claim is Claim.FOREIGN for _, claim in claims):
            return self._spoofed(asked, packet.arp_mac, in_port, now)
        proved = [check for check, _ in claims if packet.arp_mac == check.member.mac and check.neighbour.proved()]
        notes = [note for check in proved for note in self._warn(check, "its MAC was used at another port", now)]
        if any(claim is Claim.LATE and packet.arp_mac != check.neighbour.mac for check, claim in claims):
            self._drops[Drop.UNEXPECTED_ARP] += 1
        found = [c for check, claim in claims if claim is not Claim.LATE for c in self._found(check, claim, now)]
        return [*notes, *found]

    def answers(self, packet: Packet) -> Check | None:
        """The check whose connection a TCP packet belongs to; None: it is ordinary traffic."""
        if packet.kind is not Kind.TCP or packet.dst_port & PORT_MASK != FIRST_PORT:
            return None
        return self._by_end.get((packet.ip_dst, packet.ip_src, packet.src_port))

    def tcp(self, check: Check, packet: Packet, data: bytes, in_port: int, now: float) -> list[Command]:
        """A server's segment to a check's port."""
        if packet.eth_src != check.member.mac:
            return self._spoofed([check], packet.eth_src, in_port, now)
        over = self._timed_out(check, now) if check.health.overdue(now) else []
        sent, verdict, drop = check.segment(packet, data)
        commands = [*over, *sent]
        if drop is not None:
            check.health.probes.late += 1
            self._drops[drop] += 1
        if verdict is None:
            return commands
        return [*commands, *(self._passed(check, now) if verdict.passed else self._failed(check, verdict.why, now))]

    def moved(self, mac: int, port: int, now: float) -> list[Command] | None:
        """A frame from `mac` at `port`. None: believe it. Else a server that was at another port speaks there, or
        somebody in its name: the frame is to be ignored, and the old port is asked who is there."""
        before = self._switch.port_of(mac)
        if before is None or before == port:
            return None
        pinned = [c for c in self._checks.values() if c.member.mac == mac and not c.neighbour.lost]
        if not pinned:
            return None
        self._drops[Drop.SPOOF] += 1
        return [command for check in pinned for command in check.challenge(before, now)]

    def statistics(self, member: Member, now: float) -> dict[str, Any]:
        """One server's probes, as the control API gives them."""
        health = member.health
        since = None if health.changed_at is None else round(now - health.changed_at, 3)
        probes = dataclasses.asdict(health.probes)
        return {"check": health.settings.kind.value, "probes": probes, "flaps": health.flaps, "changed_s_ago": since}

    # what follows

    def _found(self, check: Check, claim: Claim, now: float) -> list[Command]:
        """The server's MAC is sure: what was asked, or what the question was for."""
        commands: list[Command] = []
        if claim is Claim.LEARNED:
            former, check.member.mac = check.member.mac, check.neighbour.mac
            commands += self._pools.located(check.assignment, check.member, former)
        if not check.connects:
            return [*commands, *self._passed(check, now)]
        return [*commands, *(check.connect() if check.health.asked(now) else [])]

    def _passed(self, check: Check, now: float) -> list[Command]:
        if not check.health.answered(now):
            return []
        check.member.ramp = check.health.ramp(now)
        return self._pools.went_up(check.assignment, check.member, now)

    def _failed(self, check: Check, why: str, now: float) -> list[Command]:
        return self._went_down(check, why, now) if check.health.failed(now) else []

    def _timed_out(self, check: Check, now: float) -> list[Command]:
        commands, why = check.give_up()
        return [*commands, *(self._went_down(check, why, now) if check.health.timed_out(now) else [])]

    def _went_down(self, check: Check, why: str, now: float) -> list[Command]:
        check.member.ramp = RAMP_FULL
        return self._pools.went_down(check.assignment, check.member, why, now)

    def _ramp(self, check: Check, now: float) -> list[Command]:
        ramp = check.health.ramp(now)
        if ramp == check.member.ramp:
            return []
        check.member.ramp = ramp
        return self._pools.share_changed(check.assignment, check.member)

    def _spoofed(self, named: list[Check], mac: int, port: int, now: float) -> list[Command]:
        """Another MAC spoke in a server's name."""
        self._drops[Drop.SPOOF] += 1
        what = f"{mac_text(mac)} at port {port} speaks in its name"
        return [note for check in named for note in self._warn(check, what, now)]

    def _warn(self, check: Check, what: str, now: float) -> list[Command]:
        """Said once per interval, however often it happens."""
        if now < check.warned_until:
            return []
        check.warned_until = now + check.health.settings.interval
        where = f"{mac_text(check.member.mac)} at port {self._switch.port_of(check.member.mac)}"
        who = f"{check.member.name} ({address(check.member.ip)}, {where})"
        return [Note(f"{check.service.name}: {who}: {what}; not believed", warning=True)]


def _end(check: Check) -> tuple[int, int, int]:
    return check.service.ip, check.member.ip, check.service.port


def _start_over(check: Check) -> None:
    check.drop_exchange()
    check.neighbour.forget()
    check.health.probe_now()
