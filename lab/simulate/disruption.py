"""Disruption: how many clients get another server than before when the pool changes, beside how many must.

Every client calls once, the pool changes, and every client calls again, in another order. A policy without affinity
gives nearly every client another server each time, changed pool or not; that is no fault of it, since a connection that
is open stays where it is (see `churn`): this says what a client's next connection meets.
Rule: a move is needless when its old server has lost no share and its new one has gained none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lab.balancer.policies.source_hash import build_table
from lab.simulate.evenness import LIVE_PER_SERVER
from lab.simulate.fleet import CHUNK, FIRST_CLIENT, Advance, Feed, PolicyMaker, chance, servers

MOST_ASKED: Final = 1 << 18  # clients
CHANGES: Final = ("nothing", "leave", "join", "weight")
GONE_PARTS: Final = (0.001, 0.01, 0.02, 0.05, 0.1)  # of the servers, that fail at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """What one change did to the clients of one policy; parts of all clients."""

    policy: str
    servers: int  # with the one that leaves or joins
    change: str  # nothing, leave, join, weight (one server's from 1 to 2)
    clients: int
    moved: float
    must: float  # by the change of shares alone
    needless: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resilience:
    """`gone` of the servers fail at once: the part of the others' places in the hash table that change hands."""

    servers: int
    table_size: int
    gone: int
    must: float  # part of all places: the failed servers'
    moved: float  # part of all places
    needless: float  # part of all places: moved though their server stayed


def measure(
    maker: PolicyMaker, count: int, flows: int, table_size: int, seed: int, advance: Advance
) -> Iterator[Disruption]:
    """One change after the other in one pool of `count` servers."""
    clients = list(range(FIRST_CLIENT, FIRST_CLIENT + asked(flows)))
    policy = maker.make(chance(seed, "policy", maker.name, count), table_size)
    feed = Feed(policy, min(LIVE_PER_SERVER * count, len(clients) / 10), chance(seed, "lifetimes", count))
    rng = chance(seed, "order")
    pool = servers(count)
    changed = pool[count // 2]
    without = [member for member in pool if member is not changed]
    feed.pool_changed(pool)
    before = _call(feed, clients)
    for number, change in enumerate(CHANGES, 1):
        changed.weight = 2 if change == "weight" else 1
        feed.pool_changed(without if change == "leave" else pool)
        rng.shuffle(clients)
        after = _call(feed, clients)
        moved, needless = _compare(before, after, change, changed.id)
        yield Disruption(
            policy=maker.name,
            servers=count,
            change=change,
            clients=len(clients),
            moved=moved,
            must=_must(change, count, maker.heeds_weights),
            needless=needless,
        )
        before = after
        advance(number / len(CHANGES))


def asked(flows: int) -> int:
    """How many clients are asked in a simulation of that size."""
    return min(MOST_ASKED, flows // 4)


def _call(feed: Feed, clients: Sequence[int]) -> list[int]:
    """The server's id of each client, in the order of their addresses."""
    found = [0] * len(clients)
    for begin in range(0, len(clients), CHUNK):
        some = clients[begin : begin + CHUNK]
        for client, server in zip(some, feed(some)):
            found[client - FIRST_CLIENT] = server
    return found


def _compare(before: Sequence[int], after: Sequence[int], change: str, changed: int) -> tuple[float, float]:
    """Parts of the clients that moved, and that moved needlessly."""
    moved = [(old, new) for old, new in zip(before, after) if old != new]
    if change == "nothing":
        needless = len(moved)
    else:
        needless = sum(changed != (old if change == "leave" else new) for old, new in moved)
    return len(moved) / len(before), needless / len(before)


def _must(change: str, count: int, heeds_weights: bool) -> float:
    if change == "nothing" or (change == "weight" and not heeds_weights):
        return 0.0
    return 2 / (count + 1) - 1 / count if change == "weight" else 1 / count


def fail_at_once(count: int, table_size: int, seed: int, advance: Advance) -> Iterator[Resilience]:
    """Some of `count` servers, drawn by chance, leave the hash table together."""
    pool = servers(count)
    before = build_table(pool, table_size)
    numbers = sorted({max(1, round(part * count)) for part in GONE_PARTS})
    for number, gone in enumerate(numbers, 1):
        failed = {member.id for member in chance(seed, "failed", count, gone).sample(pool, gone)}
        after = build_table([member for member in pool if member.id not in failed], table_size)
        moves = [old.id for old, new in zip(before, after) if old is not new]
        needless = sum(old not in failed for old in moves)
        yield Resilience(
            servers=count,
            table_size=table_size,
            gone=gone,
            must=(len(moves) - needless) / table_size,
            moved=len(moves) / table_size,
            needless=needless / table_size,
        )
        advance(number / len(numbers))
