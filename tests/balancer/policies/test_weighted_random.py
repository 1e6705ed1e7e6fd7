"""Random: independent draws by weight, repeated by their seed."""

from __future__ import annotations

from collections import Counter

import pytest
from helpers.pools import drawn, members, policy
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.policies.weighted_random import columns


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


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=12))
def test_columns_hold_exactly_the_shares(shares: list[int]) -> None:
    held = [0.0] * len(shares)
    for index, (part, other) in enumerate(columns(shares)):
        assert 0 < part <= 1
        held[index] += part
        held[other] += 1 - part
    assert held == pytest.approx([share * len(shares) / sum(shares) for share in shares])


def test_random_never_draws_who_is_not_live() -> None:
    pool = members(3)
    chooser = policy("random", pool)
    chooser.pool_changed(pool[1:])
    assert set(drawn(chooser, 100)) == {"2", "3"}
