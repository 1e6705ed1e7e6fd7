"""Policies alone: which member is next, whatever happens to the pool."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.health import Health, HealthSettings
from lab.balancer.policies import POLICIES, Policy
from lab.balancer.pool import Member


def members(count: int, weights: tuple[int, ...] = ()) -> list[Member]:
    health = Health(HealthSettings())
    return [
        Member(id=n + 1, name=f"h{n + 1}", ip=n, weight=weights[n] if weights else 1, health=health)
        for n in range(count)
    ]


def policy(name: str, pool: list[Member], seed: int = 1) -> Policy:
    made = POLICIES[name](random.Random(seed))
    made.pool_changed(pool)
    return made


def drawn(chooser: Policy, count: int) -> str:
    return "".join(chooser.choose(0).name[1:] for _ in range(count))


@pytest.mark.parametrize(("count", "turns"), [(1, "1111"), (2, "1212"), (3, "123123"), (5, "1234512345")])
def test_round_robin_takes_exact_turns(count: int, turns: str) -> None:
    assert drawn(policy("round_robin", members(count)), len(turns)) == turns


@pytest.mark.parametrize(
    ("before", "live", "after"),
    [
        (1, "23", "2323"),  # the last chosen leaves
        (2, "13", "3131"),
        (1, "13", "3131"),  # the next one leaves
        (3, "12", "1212"),
        (2, "123", "3123"),  # nothing changes
        (2, "1", "1111"),
    ],
)
def test_round_robin_goes_on_behind_the_last_chosen(before: int, live: str, after: str) -> None:
    pool = members(3)
    chooser = policy("round_robin", pool)
    drawn(chooser, before)
    chooser.pool_changed([m for m in pool if m.name[1:] in live])
    assert drawn(chooser, 4) == after


def test_member_that_returns_gets_its_turn_where_it_stands() -> None:
    pool = members(3)
    chooser = policy("round_robin", pool)
    chooser.pool_changed([pool[0], pool[2]])
    assert drawn(chooser, 3) == "131"
    chooser.pool_changed(pool)
    assert drawn(chooser, 4) == "2312"


@given(st.integers(1, 9), st.integers(1, 200))
def test_round_robins_shares_differ_by_one_at_most(count: int, connections: int) -> None:
    shares = Counter(drawn(policy("round_robin", members(count)), connections))
    assert sum(shares.values()) == connections
    assert max(shares.values()) - min(shares[str(n + 1)] for n in range(count)) <= 1


@given(st.integers(0, 2**32), st.integers(1, 5))
def test_random_repeats_itself_with_its_seed(seed: int, count: int) -> None:
    assert drawn(policy("random", members(count), seed), 30) == drawn(policy("random", members(count), seed), 30)


def test_random_is_neither_turns_nor_the_same_for_each_seed() -> None:
    runs = {drawn(policy("random", members(2), seed), 40) for seed in range(20)}
    assert len(runs) == 20
    assert "12" * 20 not in runs


def test_randoms_chances_follow_weights() -> None:
    shares = Counter(drawn(policy("random", members(3, (1, 2, 5))), 8000))
    # a seed's outcome is fixed; five standard deviations of a binomial are 150
    assert all(abs(shares[str(n)] - 1000 * w) < 250 for n, w in ((1, 1), (2, 2), (3, 5)))


def test_random_never_draws_who_is_not_live() -> None:
    pool = members(3)
    chooser = policy("random", pool)
    chooser.pool_changed(pool[1:])
    assert set(drawn(chooser, 100)) == {"2", "3"}
