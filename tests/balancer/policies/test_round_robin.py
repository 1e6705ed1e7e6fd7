"""Round robin: exact turns, whatever happens to the pool."""

from __future__ import annotations

from collections import Counter

import pytest
from helpers.pools import drawn, members, policy
from hypothesis import given
from hypothesis import strategies as st


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


def test_round_robin_heeds_no_weights() -> None:
    assert drawn(policy("round_robin", members(2, (5, 1))), 4) == "1212"
