"""Least connections: nobody is chosen while another has less to do for its share."""

from __future__ import annotations

from fractions import Fraction

from helpers.pools import drawn, members, policy
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.policies import Policy
from lab.balancer.pool import Member


def watched(weights: list[int]) -> tuple[Policy, list[Member]]:
    pool = members(len(weights), weights)
    chooser = policy("least_connections", pool)
    for member in pool:
        member.watch = chooser.live_changed  # type: ignore[attr-defined]
    return chooser, pool


def load(member: Member) -> Fraction:
    return Fraction(member.live, member.share)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.lists(st.tuples(st.sampled_from(["open", "open", "end", "pool", "share"]), st.integers(0, 5)), max_size=80),
)
def test_nobody_is_chosen_while_another_has_less(weights: list[int], steps: list[tuple[str, int]]) -> None:
    chooser, pool = watched(weights)
    live = list(pool)
    for step, number in steps:
        member = pool[number % len(pool)]
        if step == "pool":
            live = [m for m in pool if m is not member] or [member]
        elif step == "share":
            member.ramp = number + 1
        if step in ("pool", "share"):
            chooser.pool_changed(live)
        elif step == "end" and member.live:
            member.count_live(-1)
        else:
            chosen = chooser.choose(0)
            assert chosen in live
            assert load(chosen) == min(map(load, live))
            chosen.count_live(1)


def test_those_that_tie_take_turns() -> None:
    chooser, _ = watched([1, 1, 1])
    assert drawn(chooser, 7) == "1231231"


def test_idle_servers_take_turns_whose_connections_end_at_once() -> None:
    chooser, _ = watched([1, 1, 1])
    served = ""
    for _ in range(6):
        chosen = chooser.choose(0)
        chosen.count_live(1)
        chosen.count_live(-1)
        served += chosen.name[1:]
    assert served == "123123"


def test_lasting_connections_are_shared_by_weight() -> None:
    chooser, pool = watched([3, 1])
    for _ in range(40):
        chooser.choose(0).count_live(1)
    assert [m.live for m in pool] == [30, 10]


def test_a_change_of_the_pool_goes_on_behind_the_last_chosen() -> None:
    chooser, pool = watched([1, 1, 1])
    assert drawn(chooser, 2) == "12"
    chooser.pool_changed(pool[:2])
    assert drawn(chooser, 3) == "121"


def test_loads_of_the_past_are_not_kept() -> None:
    chooser, pool = watched([1, 2])
    for _ in range(1000):
        pool[0].count_live(1)
    for _ in range(1000):
        pool[0].count_live(-1)
    assert len(chooser._loads) == len(chooser._buckets) <= 2 * len(pool) + 17  # type: ignore[attr-defined]
    assert drawn(chooser, 4) in ("1212", "2121")
