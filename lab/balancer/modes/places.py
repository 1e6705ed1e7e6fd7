"""The places of a service in the switch's group: which member each one leads to, and whether the switch knows it yet.

Rule: the places depend on the live members and their shares alone (`build_table`), so a change moves few of them, and a
controller that is started again finds the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from lab.balancer.assignment import Assignment
from lab.balancer.policies.connection_hash import PLACES
from lab.balancer.policies.source_hash import build_table
from lab.balancer.pool import Member, Service
from lab.balancer.rules import Actions, Command, SetGroup, ToController, ToGroup

HASHED_BY: Final = {"source_hash": "ip_src", "connection_hash": None}  # policy → the field; None: addresses and ports


class Places:
    """One service's. `group`: its number in the switch. `bucket`: what a place does for its member.

    `entry`: the rules that give packets the actions handed in: to the group, or to the controller while none is up."""

    def __init__(
        self,
        assignment: Assignment,
        group: int,
        bucket: Callable[[Service, Member], Actions],
        entry: Callable[[Service, Actions], list[Command]],
    ) -> None:
        self.assignment = assignment
        self._group = group
        self._bucket = bucket
        self._entry = entry
        self._changes = -1  # of the pool, that the switch has been told of
        self._buckets: tuple[Actions, ...] = ()

    def renew(self) -> Sequence[Command]:
        """What the switch must be told since the last call."""
        if self._changes == self.assignment.changes:
            return ()
        self._changes = self.assignment.changes
        before, self._buckets = self._buckets, self._now()
        if self._buckets == before:
            return ()
        return self.again() if bool(before) != bool(self._buckets) else (self._set(),)

    def again(self) -> Sequence[Command]:
        """All of it: the switch has connected, or lost what it had."""
        self._changes, self._buckets = self.assignment.changes, self._now()
        if not self._buckets:
            return self._entry(self.assignment.service, (ToController(),))
        return self._set(), *self._entry(self.assignment.service, (ToGroup(self._group),))

    def touch(self) -> None:
        """A member's MAC has changed: look again."""
        self._changes = -1

    def _now(self) -> tuple[Actions, ...]:
        service = self.assignment.service
        live = service.live()
        buckets = {member.id: self._bucket(service, member) for member in live}
        return tuple(buckets[member.id] for member in build_table(live, PLACES)) if live else ()

    def _set(self) -> SetGroup:
        return SetGroup(group=self._group, buckets=self._buckets, by=HASHED_BY[self.assignment.service.policy])
