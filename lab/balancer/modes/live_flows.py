"""UDP flows that count as live: for so long from when each was last begun, since nobody sees a flow's end.

Rule: every operation is O(1), and at most `bound` flows are here; beyond it, the one begun longest ago counts no more.
"""

from __future__ import annotations

from collections import OrderedDict

from lab.balancer.assignment import Assignment
from lab.balancer.pool import Member


class LiveFlows:
    """`lifetime` in s, as all times here."""

    def __init__(self, lifetime: float, bound: int) -> None:
        self._lifetime = lifetime
        self._bound = bound
        self._flows: OrderedDict[tuple[Assignment, int], tuple[float, Member]] = OrderedDict()  # by when each ends

    def __len__(self) -> int:
        return len(self._flows)

    def begin(self, assignment: Assignment, client: int, member: Member, now: float) -> None:
        """A flow begins, or begins again; times never decrease from one call to the next."""
        flow = (assignment, client)
        self._flows[flow] = (now + self._lifetime, member)
        self._flows.move_to_end(flow)
        if len(self._flows) > self._bound:
            self._rest_first()

    def tick(self, now: float) -> None:
        """Those whose time is over are live no more."""
        while self._flows and next(iter(self._flows.values()))[0] <= now:
            self._rest_first()

    def _rest_first(self) -> None:
        (assignment, client), (_, member) = self._flows.popitem(last=False)
        assignment.rest(client, member)
