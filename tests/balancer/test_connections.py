"""The table of connections alone: who is found, who leaves first, how many are live, whatever has happened."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.connections import Connections
from lab.balancer.health import Health, HealthSettings
from lab.balancer.pool import Member


def members() -> tuple[Member, Member]:
    one, other = (Member(id=n, name=f"h{n}", ip=n, health=Health(HealthSettings())) for n in (1, 4095))
    return one, other


def present(table: Connections, *keys: int) -> list[int]:
    return [key for key in keys if table.find(key)]


def test_connection_is_found_with_its_member_number_and_mac() -> None:
    table, (one, other) = Connections(), members()
    table.open(5, other, seq=0xFFFFFFFF, mac=0xFFFFFFFFFFFF)
    table.open(6, one, seq=0)
    assert (table.find(5), table.begun(5, 0xFFFFFFFF), table.mac(5)) == (other, other, 0xFFFFFFFFFFFF)
    assert (table.find(6), table.begun(6, 0), table.begun(6, 1), table.mac(6)) == (one, one, None, 0)
    assert (table.find(7), table.begun(7, 0), table.mac(7)) == (None, None, 0)


def test_new_connection_of_a_client_replaces_its_former_one() -> None:
    table, (one, other) = Connections(), members()
    table.open(5, one, seq=1)
    table.open(5, other, seq=2)
    assert (len(table), table.find(5)) == (1, other)
    assert (one.live, other.live) == (0, 1)


def test_closed_connection_is_gone_and_closing_twice_is_harmless() -> None:
    table, (one, _) = Connections(), members()
    table.open(5, one, seq=1)
    table.close(5)
    table.close(5)
    assert (table.find(5), one.live) == (None, 0)


def test_full_table_forgets_the_longest_idle_before_any_live_one() -> None:
    table, (one, _) = Connections(bound=3), members()
    for key in (1, 2, 3):
        table.open(key, one, seq=1)
    table.rest(3, one)
    table.rest(2, one)
    table.open(4, one, seq=1)
    assert present(table, 1, 2, 3, 4) == [1, 2, 4]
    table.open(5, one, seq=1)
    assert present(table, 1, 2, 4, 5) == [1, 4, 5]
    table.open(6, one, seq=1)  # nobody is idle: the oldest live one leaves
    assert present(table, 1, 4, 5, 6) == [4, 5, 6]
    assert (table.evicted, one.live) == (3, 3)


def test_used_connection_is_the_youngest_again() -> None:
    table, (one, _) = Connections(bound=2), members()
    table.open(1, one, seq=1)
    table.open(2, one, seq=1)
    table.use(1)
    table.open(3, one, seq=1)
    assert present(table, 1, 2, 3) == [1, 3]


def test_connection_is_found_since_its_number_and_renewed_by_a_later_one() -> None:
    table, (one, _) = Connections(), members()
    table.open(5, one, seq=10, mac=7)
    assert (table.since(5, 9), table.since(5, 10), table.since(5, 11), table.since(6, 0)) == (one, one, None, None)
    table.rest(5, one)
    table.renew(5, 20)
    table.renew(6, 20)
    assert (table.since(5, 20), table.since(5, 21), table.mac(5), one.live) == (one, None, 7, 1)
    assert table.find(6) is None


def test_when_all_rules_are_lost_nobody_is_live_and_everybody_known() -> None:
    table, (one, other) = Connections(), members()
    table.open(1, one, seq=1)
    table.open(2, other, seq=1)
    table.rest_all()
    assert (one.live, other.live, len(table)) == (0, 0, 2)
    assert (table.find(1), table.find(2)) == (one, other)


def test_policy_is_told_of_each_change() -> None:
    table, (one, _) = Connections(), members()
    told: list[int] = []
    one.watch = lambda member: told.append(member.live)
    table.open(1, one, seq=1)
    table.open(2, one, seq=1)
    table.rest(1, one)
    table.use(1)
    table.close(2)
    assert told == [1, 2, 1, 2, 1]


def test_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="bound"):
        Connections(0)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["open", "use", "rest", "close"]), st.integers(1, 8), st.booleans())),
)
def test_table_is_a_bounded_one_whose_idle_leave_first(bound: int, steps: list[tuple[str, int, bool]]) -> None:
    table, both = Connections(bound), members()
    live, idle = OrderedDict[int, Member](), OrderedDict[int, Member]()  # the model
    for seq, (step, key, which) in enumerate(steps):
        member = both[which]
        if step == "open":
            live.pop(key, None)
            idle.pop(key, None)
            if len(live) + len(idle) == bound:
                (idle or live).popitem(last=False)
            table.open(key, member, seq)
            live[key] = member
        elif step == "use":
            table.use(key)
            if known := live.pop(key, None) or idle.pop(key, None):
                live[key] = known
        elif step == "rest":
            assert table.rest(key, member) == (live.get(key) is member)
            if live.get(key) is member:
                idle[key] = live.pop(key)
        else:
            table.close(key)
            live.pop(key, None)
            idle.pop(key, None)
        assert len(table) == len(live) + len(idle) <= bound
        assert {k: table.find(k) for k in range(1, 9)} == {k: live.get(k) or idle.get(k) for k in range(1, 9)}
        assert [m.live for m in both] == [sum(owner is m for owner in live.values()) for m in both]
