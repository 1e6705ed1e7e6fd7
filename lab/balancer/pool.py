"""A service and its pool: the members, which of them may get connections, and what each has served.

Rule: a member is in one pool of one service, and its `id` (1 to 4095, unique in the balancer) is what cookies carry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.balancer.administration import Admin
from lab.balancer.health import RAMP_FULL, Health, State


@dataclass(slots=True, kw_only=True)
class Member:
    """A server in a pool. `mac` is 0 until its first ARP answer."""

    id: int
    name: str
    ip: int
    weight: int = 1
    health: Health
    mac: int = 0
    hits: int = 0  # new connections given to it
    live: int = 0  # connections it has now: begun, and not known to be over; see Service.live_known
    watch: Callable[[Member], None] | None = field(default=None, repr=False)  # told when `live` has changed: the policy
    admin: Admin = Admin.READY
    ramp: int = RAMP_FULL  # how far its slow start has come

    def count_live(self, change: int) -> None:
        self.live += change
        if self.watch is not None:
            self.watch(self)

    @property
    def share(self) -> int:
        """What policies that heed weights go by, one member's against another's."""
        return self.weight * self.ramp

    @property
    def up(self) -> bool:
        return self.health.state is State.UP and self.admin is not Admin.GONE

    @property
    def available(self) -> bool:
        """May get new connections."""
        return self.health.state is State.UP and self.admin is Admin.READY

    @property
    def down(self) -> bool:
        """Known to be down, or removed; what is just not known yet, after a start, is neither up nor down."""
        return self.health.state is State.DOWN or self.admin is Admin.GONE


@dataclass(slots=True, kw_only=True)
class Service:
    """An address and port that clients call, and the pool behind it. `mac` is its own, no host's."""

    name: str
    ip: int
    port: int
    mac: int
    policy: str
    members: list[Member] = field(default_factory=list)
    live_known: bool = True  # the ends of its connections are told; else its members' `live` means nothing

    def connections_of(self, member: Member) -> int | None:
        """How many it has now; None: not known."""
        return member.live if self.live_known else None

    def live(self) -> list[Member]:
        return [member for member in self.members if member.available]


def service_mac(ip: int) -> int:
    """A locally administered MAC of the service's own (02:01 and its address): no dpid's and no default host's."""
    return 0x0201 << 32 | ip
