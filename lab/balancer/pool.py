"""A service and its pool: the members, which of them may get connections, and what each has served.

Rule: a member is in one pool of one service, and its `id` (1 to 4095, unique in the balancer) is what cookies carry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lab.balancer.administration import Admin
from lab.balancer.health import RAMP_FULL, Health, State
from lab.balancer.packet import PROTO_TCP, PROTO_UDP, is_ipv6

T = TypeVar("T")


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
    """An address, protocol and port (or range of ports) that clients call, and the pool behind it. `mac` is its own, no
    host's. A server is called at the port that its client has asked for."""

    name: str
    ip: int
    port: int  # the first
    mac: int
    policy: str
    members: list[Member] = field(default_factory=list)
    proto: int = PROTO_TCP
    last_port: int = 0  # 0: `port` is the only one
    hits_known: bool = True  # who gets a connection is decided here; else its members' `hits` means nothing
    live_known: bool = True  # the ends of its connections are told; else its members' `live` means nothing

    def __post_init__(self) -> None:
        self.last_port = self.last_port or self.port

    @property
    def udp(self) -> bool:
        return self.proto == PROTO_UDP

    def hits_of(self, member: Member) -> int | None:
        """New connections given to it; None: not known, since the switch chooses."""
        return member.hits if self.hits_known else None

    def connections_of(self, member: Member) -> int | None:
        """How many it has now; None: not known."""
        return member.live if self.live_known else None

    def live(self) -> list[Member]:
        return [member for member in self.members if member.available]


def service_mac(ip: int) -> int:
    """A locally administered MAC of the service's own: no dpid's and no default host's. 02:01 and its address, or 02:06
    and a digest of its IPv6 address."""
    if not is_ipv6(ip):
        return 0x0201 << 32 | ip
    return 0x0206 << 32 | int.from_bytes(hashlib.blake2b(ip.to_bytes(16, "big"), digest_size=4).digest(), "big")


class Directory(Generic[T]):
    """Who is at an address, protocol and port, when a service's ports are looked for; a range costs no more than a
    port. At most one entry is at each."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], list[tuple[int, int, T]]] = {}  # first port, last port, entry

    def put(self, ip: int, service: Service, entry: T) -> None:
        """`entry` is at `ip` and the service's ports from now on, in the place of whatever was."""
        rows = self._rows.setdefault((ip, service.proto), [])
        rows[:] = [row for row in rows if row[1] < service.port or row[0] > service.last_port]
        rows.append((service.port, service.last_port, entry))

    def find(self, ip: int, proto: int, port: int) -> T | None:
        for first, last, entry in self._rows.get((ip, proto), ()):
            if first <= port <= last:
                return entry
        return None

    def within(self, ip: int, service: Service) -> list[T]:
        """All that is at `ip` and one of the service's ports."""
        rows = self._rows.get((ip, service.proto), ())
        return [entry for first, last, entry in rows if first <= service.last_port and last >= service.port]
