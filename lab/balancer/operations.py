"""What an operator may do to the pools while they serve: add, remove, drain and enable servers, set weights.

Each operation changes the pool and returns the commands for the switch; `describe` says what there is. A drained server
keeps its connections until they end, and says so when the last one has; a removed one loses them at once, so who wants
them finished drains first.
Rule: a wrong name or value raises ValueError with one sentence (Unknown: no such name; Conflict: it can't be now), and
then nothing has changed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lab.balancer.administration import Admin, Order, after
from lab.balancer.assignment import Assignment
from lab.balancer.packet import address, is_ipv6
from lab.balancer.policies import WEIGHTED, heeds_weights
from lab.balancer.pool import Directory, Member, Service
from lab.balancer.rules import Command, Note

if TYPE_CHECKING:
    from lab.balancer.checks.health_checks import HealthChecks
    from lab.balancer.modes import Mode
    from lab.balancer.settings import ServerSettings

MAX_MEMBERS: Final = 4095  # what a cookie has room for
MAX_WEIGHT: Final = 256


class Unknown(ValueError):
    """There is no service or server of that name."""

    kind = "unknown"


class Conflict(ValueError):
    """It can't be done as things stand."""

    kind = "conflict"


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in which pool: the balancer's own lists, which operations change in place."""

    assignments: list[Assignment]
    members: list[tuple[Assignment, Member]]  # of all pools
    by_server: Directory[tuple[Service, Member]]  # by the server's address and its service's ports


class Operations:
    """`make(service, id, server)` gives a new member of the service."""

    def __init__(
        self, roster: Roster, mode: Mode, checks: HealthChecks, make: Callable[[str, int, ServerSettings], Member]
    ) -> None:
        self._roster = roster
        self._mode = mode
        self._checks = checks
        self._make = make
        self._last_id = max((member.id for _, member in roster.members), default=0)
        self._gone: dict[int, tuple[Service, Member]] = {}  # by id: a switch that was away may still have their rules

    # operations

    def add(self, service: str, server: ServerSettings) -> list[Command]:
        """A new server; it gets connections once it is found to be up."""
        assignment = self._assignment(service)
        _check_weight(server.weight)
        if server.weight != 1:
            _check_heeded(assignment.service)
        self._check_new(assignment.service, server)
        member = self._make(service, self._next_id(), server)
        assignment.service.members.append(member)
        assignment.service.members.sort(key=lambda m: m.id)
        self._roster.members.append((assignment, member))
        self._roster.by_server.put(member.ip, assignment.service, (assignment.service, member))
        rules = [*self._mode.member_added(assignment.service, member), *self._checks.add(assignment, member)]
        return [*rules, _note(assignment, member, "is added")]

    def remove(self, service: str, server: str) -> list[Command]:
        """It leaves the pool, and its connections are over."""
        assignment, member = self._find(service, server)
        member.admin = after(member.admin, Order.REMOVE)
        assignment.service.members.remove(member)
        self._roster.members.remove((assignment, member))
        self._gone[member.id] = (assignment.service, member)
        assignment.pool_changed()
        ended = [*self._mode.member_removed(assignment.service, member), *self._checks.remove(member)]
        return [*ended, _note(assignment, member, "is removed")]

    def drain(self, service: str, server: str) -> list[Command]:
        """No new connections; those it has go on."""
        assignment, member = self._find(service, server)
        if not self._apply(assignment, member, Order.DRAIN):
            return []
        commands = self._mode.drain(assignment.service, member)
        done = self._drained(assignment, member)
        return [*commands, *(done or [_note(assignment, member, f"is draining{_left(assignment.service, member)}")])]

    def enable(self, service: str, server: str) -> list[Command]:
        """It gets new connections again."""
        assignment, member = self._find(service, server)
        if not self._apply(assignment, member, Order.ENABLE):
            return []
        return [*self._mode.end_drain(member), _note(assignment, member, "is enabled")]

    def set_weight(self, service: str, server: str, weight: int) -> list[Command]:
        assignment, member = self._find(service, server)
        _check_weight(weight)
        _check_heeded(assignment.service)
        member.weight = weight
        assignment.pool_changed()
        return [_note(assignment, member, f"has weight {weight}")]

    # time, and the switch's return

    def tick(self) -> list[Command]:
        """Who was draining and has no connection left, says so."""
        draining = [(a, m) for a, m in self._roster.members if m.admin is Admin.DRAINING]
        return [command for assignment, member in draining for command in self._drained(assignment, member)]

    def switch_up(self) -> list[Command]:
        """The rules of removed members, before any others: the switch may have been away when they were deleted."""
        gone = list(self._gone.values())
        return [command for service, member in gone for command in self._mode.member_removed(service, member)]

    # what there is

    def describe(self) -> dict[str, Any]:
        """{"services": {name: {"ip", "port", "last_port", "protocol", "policy", "servers": {name: server}}}}."""
        return {"services": {a.service.name: _service(a.service) for a in self._roster.assignments}}

    def describe_server(self, service: str, server: str) -> dict[str, Any]:
        assignment, member = self._find(service, server)
        return {"service": service, "name": server, **_server(assignment.service, member)}

    # inside

    def _apply(self, assignment: Assignment, member: Member, order: Order) -> bool:
        """False: nothing has changed."""
        before, member.admin = member.admin, after(member.admin, order)
        if member.admin is before:
            return False
        assignment.pool_changed()
        return True

    def _drained(self, assignment: Assignment, member: Member) -> list[Command]:
        if not self._mode.drained(member) or not self._apply(assignment, member, Order.EMPTY):
            return []
        return [_note(assignment, member, "is drained: no connection is left")]

    def _check_new(self, service: Service, server: ServerSettings) -> None:
        """Raises ValueError unless the server may join."""
        ip = server.address
        if is_ipv6(ip) != is_ipv6(service.ip):
            raise Conflict(f"{server.ip} and the service's {address(service.ip)} are not of one IP version")
        for member in service.members:
            if member.name == server.name or member.ip == ip:
                raise Conflict(f"{_what(member)} is in the pool of {service.name!r} already")
        if any(assignment.service.ip == ip for assignment in self._roster.assignments):
            raise Conflict(f"{server.ip} is a service's address; a server needs its own")
        for other, present in self._roster.by_server.within(ip, service):
            if other is not service and present.admin is not Admin.GONE:
                taken = f"{server.name} serves port {service.port} for {other.name!r} already"
                raise Conflict(f"{taken}; answers for two services can't be told apart")

    def _next_id(self) -> int:
        """In a circle, so that an id comes back as late as can be; the rules it had were deleted as its member left."""
        used = {member.id for _, member in self._roster.members}
        if len(used) >= MAX_MEMBERS:
            raise Conflict(f"there are {MAX_MEMBERS} servers already, and no more fit")
        while True:
            self._last_id = self._last_id % MAX_MEMBERS + 1
            if self._last_id not in used:
                self._gone.pop(self._last_id, None)
                return self._last_id

    def _assignment(self, service: str) -> Assignment:
        names = {a.service.name: a for a in self._roster.assignments}
        if service not in names:
            raise Unknown(f"there is no service {service!r}{_alternatives(service, names)}")
        return names[service]

    def _find(self, service: str, server: str) -> tuple[Assignment, Member]:
        assignment = self._assignment(service)
        names = {member.name: member for member in assignment.service.members}
        if server not in names:
            raise Unknown(f"service {service!r} has no server {server!r}{_alternatives(server, names)}")
        return assignment, names[server]


def _check_weight(weight: int) -> None:
    if type(weight) is not int or not 1 <= weight <= MAX_WEIGHT:
        raise ValueError(f"a weight is a whole number from 1 to {MAX_WEIGHT}, not {weight!r}")


def _check_heeded(service: Service) -> None:
    """Raises Conflict where a weight would say something and mean nothing."""
    if not heeds_weights(service.policy):
        does = f"{', '.join(WEIGHTED)} do"
        raise Conflict(f"the policy of {service.name!r}, {service.policy}, heeds no weights; {does}")


def _alternatives(word: str, known: Iterable[str]) -> str:
    every = list(known)
    near = difflib.get_close_matches(word[:60], every, n=1)
    hint = f": did you mean {near[0]!r}? known: " if near else "; known: "
    return hint + (", ".join(every) or "none")


def _note(assignment: Assignment, member: Member, what: str) -> Note:
    return Note(f"{assignment.service.name}: {_what(member)} {what}")


def _what(member: Member) -> str:
    return f"{member.name} ({address(member.ip)})"


def _left(service: Service, member: Member) -> str:
    count = service.connections_of(member)
    return "" if count is None else f": {count} connection{'' if count == 1 else 's'} left"


def _service(service: Service) -> dict[str, Any]:
    servers = {member.name: _server(service, member) for member in service.members}
    return {
        "ip": address(service.ip),
        "port": service.port,
        "last_port": service.last_port,
        "protocol": "udp" if service.udp else "tcp",
        "policy": service.policy,
        "servers": servers,
    }


def _server(service: Service, member: Member) -> dict[str, Any]:
    return {
        "ip": address(member.ip),
        "weight": member.weight,
        "state": member.health.state.value,
        "admin": member.admin.value,
        "available": member.available,
        "hits": service.hits_of(member),
        "live": service.connections_of(member),
    }
