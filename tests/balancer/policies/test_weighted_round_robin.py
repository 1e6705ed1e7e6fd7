"""Weighted round robin: at any time each server has had its share of the turns, to within one."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest
from helpers.pools import drawn, members, policy
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.policies import weighted_round_robin
from lab.balancer.policies.weighted_round_robin import WeightedRoundRobin, turns

WEIGHTS = st.lists(st.integers(1, 30), min_size=1, max_size=8)


def slow_turns(shares: list[int], count: int) -> list[int]:
    """The rule, word by word: of those whose window has begun, the one whose window ends first."""
    total, had, taken = sum(shares), [0] * len(shares), []
    for now in range(count):
        begun = [i for i, share in enumerate(shares) if had[i] * total // share <= now]
        index = min(begun, key=lambda i: -(-(had[i] + 1) * total // shares[i]))
        had[index] += 1
        taken.append(index)
    return taken


@pytest.mark.parametrize(
    ("weights", "cycle"),
    [((1,), "1"), ((1, 1, 1), "123"), ((3, 1), "1112"), ((5, 1, 1), "1112113"), ((2, 3), "21212"), ((4, 2), "112")],
)
def test_turns_are_spread_over_the_cycle(weights: tuple[int, ...], cycle: str) -> None:
    pool = members(len(weights), weights)
    assert drawn(policy("weighted_round_robin", pool), 3 * len(cycle)) == cycle * 3


def test_three_to_one_never_sends_four_in_a_row() -> None:
    assert "1111" not in drawn(policy("weighted_round_robin", members(2, (3, 1))), 100)


@given(WEIGHTS)
def test_after_any_number_of_turns_each_has_its_share_rounded_up_or_down(weights: list[int]) -> None:
    total, had = sum(weights), Counter[int]()
    chooser = policy("weighted_round_robin", members(len(weights), weights))
    for count in range(1, 2 * total + 1):
        had[chooser.choose(0).id] += 1
        for index, weight in enumerate(weights):
            assert abs(had[index + 1] * total - count * weight) < total


@given(WEIGHTS)
def test_turns_are_those_of_the_slow_rule(weights: list[int]) -> None:
    assert list(islice(turns(weights), 100)) == slow_turns(weights, 100)


@given(WEIGHTS, st.integers(1, 8))
def test_only_the_proportions_matter(weights: list[int], factor: int) -> None:
    pool, larger = members(len(weights), weights), members(len(weights), [w * factor for w in weights])
    assert drawn(policy("weighted_round_robin", pool), 60) == drawn(policy("weighted_round_robin", larger), 60)


def test_a_cycle_too_long_to_be_kept_is_just_as_even(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = members(3, (7, 5, 3))
    kept = drawn(policy("weighted_round_robin", pool), 40)
    monkeypatch.setattr(weighted_round_robin, "RECORDED", 10)
    assert drawn(policy("weighted_round_robin", pool), 40) == kept


def test_huge_weights_cost_no_memory() -> None:
    chooser = WeightedRoundRobin(random.Random(1))
    chooser.pool_changed(members(2, (10**9, 10**9 + 7)))
    assert abs(drawn(chooser, 1000).count("1") - 500) <= 1
    assert not chooser._cycle


def test_a_change_of_the_pool_goes_on_behind_the_last_chosen() -> None:
    pool = members(3)
    chooser = policy("weighted_round_robin", pool)
    assert drawn(chooser, 2) == "12"
    chooser.pool_changed(pool[:2])
    assert drawn(chooser, 3) == "121"
    chooser.pool_changed(pool)
    assert drawn(chooser, 3) == "231"


def test_a_change_that_changes_nothing_disturbs_no_turn() -> None:
    pool = members(2, (3, 1))
    chooser = policy("weighted_round_robin", pool)
    served = ""
    for _ in range(8):
        served += drawn(chooser, 1)
        chooser.pool_changed(list(pool))
    assert served == "11121112"


def test_a_growing_share_is_heeded() -> None:
    pool = members(2)
    pool[1].ramp = 1  # a tenth: it has just come up
    chooser = policy("weighted_round_robin", pool)
    assert drawn(chooser, 22).count("2") == 2
    pool[1].ramp = 10
    chooser.pool_changed(pool)
    assert drawn(chooser, 22).count("2") == 11
