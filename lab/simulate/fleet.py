"""What calls the balancer, and what it shares among: servers, the kit's policies over them, clients and their chance.

Rule: everything is drawn from `chance`, a source of its own for each purpose, so that no measurement shifts another's.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

from lab.balancer import packets
from lab.balancer.health import Health, HealthSettings, State
from lab.balancer.policies import Policy, heeds_weights, make
from lab.balancer.policies.plugin import Guarded, Plugin, load
from lab.balancer.pool import Member

CLIENTS: Final = 1 << 20  # that there are; each flow is one's, by equal chance
FIRST_CLIENT: Final = 0x64400000  # 100.64.0.0; client `n` is FIRST_CLIENT | n
FIRST_SERVER: Final = 0x0A000001  # 10.0.0.1
SERVICE_IP: Final = 0x0A010001  # 10.1.0.1, above all servers
CHUNK: Final = 50_000  # flows between two looks at the progress
QUANTILES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyMaker:
    """A policy by the name that people are shown; `plugin` where it is a user's own."""

    name: str
    plugin: Plugin | None = None

    def make(self, rng: random.Random, table_size: int) -> Policy:
        if self.plugin is not None:
            return Guarded(self.plugin, load(self.plugin), rng)
        return make(self.name, rng, table_size)

    @property
    def heeds_weights(self) -> bool:
        return heeds_weights(self.name)


def chance(seed: int, *purpose: object) -> random.Random:
    """The same for the same seed and purpose, on every machine."""
    return random.Random(" ".join(map(str, (seed, *purpose))))


def servers(count: int) -> list[Member]:
    """s1 … of 10.0.0.1 …, all up, of equal weight. At most 4095."""
    health = Health(HealthSettings())
    health.state = State.UP
    return [server(number, health) for number in range(1, count + 1)]


def server(number: int, health: Health) -> Member:
    return Member(id=number, name=f"s{number}", ip=server_ip(number), mac=server_mac(number), health=health)


def server_ip(number: int) -> int:
    return FIRST_SERVER + number - 1


def server_mac(number: int) -> int:
    return 0x02000A000000 + number


def arp_answer(number: int, service_mac: int) -> bytes:
    """Server `number` says to the service that it is there."""
    mac = server_mac(number)
    return packets.neighbour(packets.ARP_REPLY, mac, service_mac, (mac, server_ip(number)), (service_mac, SERVICE_IP))


def words(rng: random.Random, count: int, code: str) -> array[int]:
    """`count` numbers of all bits by equal chance; `code`: of the array's type, H (16 bits) or I (32)."""
    drawn = array(code)
    drawn.frombytes(rng.randbytes(count * drawn.itemsize))
    if sys.byteorder == "big":
        drawn.byteswap()
    return drawn


def arrivals(rng: random.Random, flows: int) -> Iterator[list[int]]:
    """The addresses of the clients of `flows` flows, in chunks."""
    for begin in range(0, flows, CHUNK):
        drawn = words(rng, min(CHUNK, flows - begin), "I")
        yield [FIRST_CLIENT | word & CLIENTS - 1 for word in drawn]


def lifetimes(mean: float) -> list[int]:
    """QUANTILES equally likely lifetimes of an exponential distribution, in whole arrivals of flows, 1 at least."""
    return [max(1, round(-mean * log(1 - (n + 0.5) / QUANTILES))) for n in range(QUANTILES)]


class Feed:
    """Gives a policy new connections. Where it goes by live ones, they end, too: after `live` others on
    average, so that about as many are open at any time."""

    def __init__(self, policy: Policy, live: float, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._lifetimes = lifetimes(live) if policy.watches_live else []
        self._ends: dict[int, list[Member]] = {}  # by the number of the arrival before which they end
        self._number = 0

    def pool_changed(self, pool: Sequence[Member]) -> None:
        for member in pool:
            member.watch = getattr(self._policy, "live_changed", None)
        self._policy.pool_changed(pool)

    def __call__(self, clients: Sequence[int]) -> list[int]:
        """The ids of the servers chosen for connections of these clients, in their order."""
        if self._lifetimes:
            return self._with_ends(clients)
        return [member.id for member in map(self._policy.choose, clients)]

    def _with_ends(self, clients: Sequence[int]) -> list[int]:
        choose, ends, lifetimes = self._policy.choose, self._ends, self._lifetimes
        chosen = []
        for number, (client, quantile) in enumerate(zip(clients, words(self._rng, len(clients), "H")), self._number):
            for member in ends.pop(number, ()):
                member.count_live(-1)
            member = choose(client)
            member.hits += 1
            member.count_live(1)
            ends.setdefault(number + lifetimes[quantile], []).append(member)
            chosen.append(member.id)
        self._number += len(clients)
        return chosen


Advance = Callable[[float], None]  # told which part of a task (0 to 1) is done
