"""Churn: flows begin and end while the pool changes under them (`pool_changes`).

Measured: connections that broke, open connections that lost their server though it hadn't failed (none may), evenness
of the stretches between two changes, and how often a client that returns meets another server than last time.
Rule: time is counted in arrivals of flows; every policy meets the same clients, lifetimes and changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lab.balancer.pool import Member
from lab.balancer.rules import Cookie, member_cookie
from lab.simulate.evenness import LIVE_PER_SERVER, spread
from lab.simulate.fleet import Advance, PolicyMaker, arrivals, chance, lifetimes, words
from lab.simulate.pool_changes import CHANGES, NOW, PoolChanges, make_balancer

STRETCHES: Final = 3 * len(CHANGES) + 1
LIVES_PER_STRETCH: Final = 4  # at least: a stretch is long enough for its connections to come from it alone
PORTS: Final = 60_000  # of a client
FIRST_PORT: Final = 1024
SEQ_MASK: Final = (1 << 32) - 1


@dataclass(slots=True, kw_only=True)
class Churn:
    """What became of `flows` flows of one policy through all changes. "By shares": where a policy heeds weights, a
    server of weight 3 is due three times as much as the others."""

    policy: str
    servers: int
    flows: int
    changes: int = 0
    open_at_a_time: float = 0.0  # connections, on average over the changes
    broken: int = 0  # connections of servers that failed or were removed
    broken_due: float = 0.0  # what that is where each server has its share of the open ones
    lost: int = 0  # open connections that have another server or none, though theirs hasn't failed
    max_over_mean: float = 0.0  # of new flows by shares, in the worst stretch
    variation: float = 0.0  # of new flows by shares, on average over the stretches
    open_variation: float = 0.0  # of open connections by shares, on average over the stretches' ends
    returned: int = 0  # flows of clients that called before
    elsewhere: int = 0  # of these: to another server than last time
    forced: int = 0  # of these: because last time's wasn't available


def measure(maker: PolicyMaker, count: int, flows: int, table_size: int, seed: int, advance: Advance) -> Churn:
    """`flows` flows to a pool that begins with `count` servers."""
    run = _Run(maker, count, flows, table_size, seed)
    for number in range(STRETCHES):
        if number:
            run.change()
        run.serve(flows * (number + 1) // STRETCHES - flows * number // STRETCHES)
        advance((number + 1) / STRETCHES)
    return run.result


class _Run:
    def __init__(self, maker: PolicyMaker, count: int, flows: int, table_size: int, seed: int) -> None:
        self.result = Churn(policy=maker.name, servers=count, flows=flows)
        live = min(LIVE_PER_SERVER * count, flows / STRETCHES / LIVES_PER_STRETCH)
        self._balancer = make_balancer(maker, count, seed, bound=int(4 * live) + 1000, table_size=table_size)
        self._assignment = self._balancer.assignments[0]
        self._changes = PoolChanges(self._balancer, chance(seed, "churn", count))
        self._heeds_weights = maker.heeds_weights
        self._clients = chance(seed, "clients of churn")
        self._lives = chance(seed, "lifetimes of churn")
        self._lifetimes = lifetimes(live)
        self._open: dict[int, Member] = {}  # by client, address << 16 | port
        self._ends: dict[int, list[int]] = {}  # clients, by the number of the arrival before which they end
        self._last: dict[int, int] = {}  # id of a client's last server, by its address
        self._number = 0

    def serve(self, flows: int) -> None:
        """A stretch of flows to a pool that doesn't change."""
        available = [member for member in self._assignment.service.members if member.available]
        before = [member.hits for member in available]
        ids = frozenset(member.id for member in available)
        for addresses in arrivals(self._clients, flows):
            self._serve(addresses, ids)
        due = [member.share if self._heeds_weights else 1 for member in available]
        flow_spread = _by_shares([member.hits - hits for member, hits in zip(available, before)], due)
        open_spread = _by_shares([member.live for member in available], due)
        self.result.max_over_mean = max(self.result.max_over_mean, flow_spread[0])
        self.result.variation += flow_spread[1] / STRETCHES
        self.result.open_variation += open_spread[1] / STRETCHES

    def _serve(self, addresses: list[int], available: frozenset[int]) -> None:
        assign, rest, result = self._assignment.assign, self._assignment.rest, self.result
        opened, ends, last, lives = self._open, self._ends, self._last, self._lifetimes
        drawn = words(self._lives, len(addresses), "H")
        for number, (address, quantile) in enumerate(zip(addresses, drawn), self._number):
            for client in ends.pop(number, ()):
                ended = opened.pop(client, None)
                if ended is not None:
                    rest(client, ended)
            client = address << 16 | FIRST_PORT + number % PORTS
            while client in opened:
                client += 1
            member = assign(client, number & SEQ_MASK)
            assert member is not None, "there is always a server"
            opened[client] = member
            ends.setdefault(number + lives[quantile], []).append(client)
            former = last.get(address)
            last[address] = member.id
            if former is not None:
                result.returned += 1
                if former != member.id:
                    result.elsewhere += 1
                    result.forced += former not in available
        self._number += len(addresses)

    def change(self) -> None:
        """The next change, and what it does to the open connections."""
        result, opened = self.result, self._open
        available = [m for m in self._assignment.service.members if m.available]
        gone = self._changes.next()
        result.changes += 1
        result.open_at_a_time += len(opened) / (STRETCHES - 1)
        if gone is not None:
            due = gone.share / sum(m.share for m in available) if self._heeds_weights else 1 / len(available)
            result.broken_due += len(opened) * due
        for client, member in list(opened.items()):
            if member is gone:  # the switch tells of each rule that was deleted; then the client sends its next packet
                self._balancer.flow_removed(member_cookie(Cookie.CONNECTION, member.id, client), True, NOW)
                result.broken += self._assignment.find(client) is None
                del opened[client]
            elif self._assignment.server_of(client) is not member:
                result.lost += 1


def _by_shares(counts: list[int], shares: list[int]) -> tuple[float, float]:
    total = sum(counts) / sum(shares)
    return spread(counts, [total * share for share in shares]) if total else (1.0, 0.0)
