"""The modes: who decides about a new connection, and who remembers it. One module each: a few fixed rules, and what to
do about a packet to a service. What all modes share (ARP, health, learning) is in `lab.balancer.balancer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from lab.balancer.assignment import Assignment
from lab.balancer.modes.places import HASHED_BY
from lab.balancer.modes.proactive import Stateful, Stateless
from lab.balancer.modes.reactive import Reactive
from lab.balancer.modes.tracked import Tracked
from lab.balancer.packets import Packet
from lab.balancer.policies import BY_CONTROLLER
from lab.balancer.pool import Member, Service
from lab.balancer.rules import Command, Senders
from lab.balancer.statistics import Counters


class Mode(Protocol):
    """What the balancer asks of a mode. All calls return commands for the balancing switch."""

    def fixed_rules(self) -> list[Command]:
        """The rules that stand as long as the services do; sent at each (re)connection."""

    def switch_back(self, now: float) -> list[Command]:
        """The switch has connected again, after `fixed_rules`: it may have lost more than its rules."""

    def member_rules(self, service: Service, member: Member) -> list[Command]:
        """The rules a member needs; sent when its MAC is learned or changes, and when it
        comes up. Sent twice, they leave the same table."""

    def member_added(self, service: Service, member: Member) -> list[Command]:
        """The rules that a member has before its MAC is known; sent when it joins the pool at run time."""

    def member_removed(self, service: Service, member: Member) -> list[Command]:
        """The member has left the pool: none of its rules may stay. Sent again at each reconnection."""

    def drain(self, service: Service, member: Member) -> list[Command]:
        """The member gets no new connections from now on: what will tell that its last one has ended."""

    def drained(self, member: Member) -> bool:
        """Whether a draining member has no connection left."""

    def end_drain(self, member: Member) -> list[Command]:
        """The member may get new connections again."""

    def forget_member(self, service: Service, member: Member) -> list[Command]:
        """The member is down or has another MAC: no packet may follow its connections' old rules."""

    def to_service(self, assignment: Assignment, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """A TCP packet to a service's address and port came to the controller."""

    def to_member(
        self, service: Service, member: Member, packet: Packet, data: bytes, in_port: int, now: float
    ) -> list[Command]:
        """A TCP packet to a server's own address and the service's port came to the controller."""

    def stray(self, packet: Packet, data: bytes, in_port: int) -> list[Command]:
        """A TCP packet to neither a service's nor a server's address came to the controller."""

    def flow_removed(self, cookie: int, deleted: bool) -> list[Command]:
        """One of the mode's rules that were to be told of is gone: idled out, or `deleted` by a command."""

    def tick(self, now: float) -> list[Command]:
        """Time passes, or a server has come up or gone down: what is due."""

    def host_found(self, service_ip: int, address: int, mac: int) -> list[Command]:
        """The host at `address` has told a service's address its MAC: what waited for that, if anything did."""

    def start_clean(self) -> list[Command]:
        """What the switch remembers is of another configuration: forget what isn't a rule (rules have been deleted)."""

    def adopt(self, cookies: Sequence[int], senders: Senders) -> list[Command]:
        """The switch remembers connections of this configuration's former controller; `cookies` of known members."""


MODES: Final[Mapping[str, Sequence[str]]] = {  # and the policies that each keeps, besides plug-ins
    "reactive": BY_CONTROLLER,
    "tracked": BY_CONTROLLER,
    "proactive": tuple(HASHED_BY),
}
CONTROLLER_CHOOSES: Final = ("reactive", "tracked")


def make_mode(
    name: str, stateful: bool, assignments: Sequence[Assignment], counters: Counters, idle_timeout: int
) -> Mode:
    """The mode of that name; `stateful` is proactive's setting, `idle_timeout` in s."""
    if name == "proactive":
        return (Stateful if stateful else Stateless)(assignments, counters, idle_timeout)
    return (Reactive if name == "reactive" else Tracked)(assignments, counters, idle_timeout)


def check_policy(mode: str, policy: str, plugin: bool = False) -> None:
    """Raises ValueError: the mode can't keep the policy; which ones can."""
    if mode in CONTROLLER_CHOOSES if plugin else policy in MODES[mode]:
        return
    able = CONTROLLER_CHOOSES if plugin else [other for other, kept in MODES.items() if policy in kept]
    raise ValueError(f"mode {mode} can't keep policy {policy}; {' and '.join(able)} can")
