"""Evenness: how equally flows, and places of the hash table, fall on equal servers in a pool that doesn't change.

max / mean: the busiest server's flows over the average; its excess over 1 is what all servers must have to spare.
Variation: the standard deviation of the servers' flows over their average. Rule: beside each figure stands what theory
expects of it, where there is a theory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from lab.balancer.policies.plugin import Guarded
from lab.balancer.policies.source_hash import SourceHash, build_table
from lab.simulate.fleet import CLIENTS, FIRST_CLIENT, Advance, Feed, PolicyMaker, arrivals, chance, servers

LIVE_PER_SERVER = 100  # connections open at a time, where a policy looks at them


@dataclass(frozen=True, slots=True, kw_only=True)
class Evenness:
    """What `flows` flows of one policy gave each of `servers` servers."""

    policy: str
    servers: int
    flows: int
    most: int  # flows of the busiest server
    least: int
    max_over_mean: float
    variation: float
    expected_variation: float | None  # None: no theory at hand
    failures: int = 0  # of a plug-in, for which round robin chose


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEvenness:
    """How many of a hash table's places each server has: Maglev's own measure, free of the chance of clients."""

    servers: int
    table_size: int
    max_over_mean: float
    variation: float


def measure(maker: PolicyMaker, count: int, flows: int, table_size: int, seed: int, advance: Advance) -> Evenness:
    """`flows` flows to `count` servers. Every policy and pool sees the same clients in the same order."""
    policy = maker.make(chance(seed, "policy", maker.name, count), table_size)
    feed = Feed(policy, min(LIVE_PER_SERVER * count, flows / 10), chance(seed, "lifetimes", count))
    feed.pool_changed(servers(count))
    by_hash = isinstance(policy, SourceHash) and flows > CLIENTS
    # where the client alone decides, each is asked for once; the rest is looking up
    known = feed(range(FIRST_CLIENT, FIRST_CLIENT + CLIENTS)) if by_hash else []
    hits: Counter[int] = Counter()
    done = 0
    for clients in arrivals(chance(seed, "clients"), flows):
        hits.update([known[client & CLIENTS - 1] for client in clients] if known else feed(clients))
        done += len(clients)
        advance(done / flows)
    counts = [hits[number] for number in range(1, count + 1)]
    ratio, variation = spread(counts)
    return Evenness(
        policy=maker.name,
        servers=count,
        flows=flows,
        most=max(counts),
        least=min(counts),
        max_over_mean=ratio,
        variation=variation,
        expected_variation=expected_variation(maker.name, count, flows),
        failures=policy.failures if isinstance(policy, Guarded) else 0,
    )


def measure_table(count: int, table_size: int) -> TableEvenness:
    places = Counter(member.id for member in build_table(servers(count), table_size))
    ratio, variation = spread([places[number] for number in range(1, count + 1)])
    return TableEvenness(servers=count, table_size=table_size, max_over_mean=ratio, variation=variation)


def spread(counts: Sequence[float], fair: Iterable[float] | None = None) -> tuple[float, float]:
    """max / mean and variation of `counts`; with `fair`, of each one against what is fair for it."""
    wanted = [sum(counts) / len(counts)] * len(counts) if fair is None else list(fair)
    parts = [count / due for count, due in zip(counts, wanted)]
    return max(parts), sqrt(sum((part - 1) ** 2 for part in parts) / len(parts))


def expected_variation(policy: str, count: int, flows: int) -> float | None:
    """Exact turns: each server has flows / count, rounded. Chance: a binomial's. Hash: a binomial's twice, for which
    server each client gets, and which client each flow is from."""
    if policy in ("round_robin", "weighted_round_robin"):
        rest = flows % count / count
        return sqrt(rest * (1 - rest)) * count / flows
    if policy == "random":
        return sqrt((count - 1) / flows)
    return sqrt((count - 1) * (1 / flows + 1 / CLIENTS)) if policy == "source_hash" else None
