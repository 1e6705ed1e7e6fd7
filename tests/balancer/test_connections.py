from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.connections import Connections
from lab.balancer.health import Health, HealthSettings
from lab.balancer.pool import Member

MEMBER = Member(id=1, name="h1", ip=1, health=Health(HealthSettings()))
OTHER = Member(id=2, name="h2", ip=2, health=Health(HealthSettings()))


def test_connection_is_found_with_its_member_and_number() -> None:
    table = Connections()
    table.open(5, MEMBER, seq=77)
    found = table.find(5)
    assert found is not None
    assert (found.member, found.seq) == (MEMBER, 77)
    assert table.find(6) is None


def test_new_connection_of_a_client_replaces_its_former_one() -> None:
    table = Connections()
    table.open(5, MEMBER, seq=1)
    table.open(5, OTHER, seq=2)
    assert len(table) == 1
    found = table.find(5)
    assert found is not None
    assert found.member is OTHER


def test_closed_connection_is_gone_and_closing_twice_is_harmless() -> None:
    table = Connections()
    table.open(5, MEMBER, seq=1)
    table.close(5)
    table.close(5)
    assert table.find(5) is None


def test_full_table_forgets_what_was_used_longest_ago() -> None:
    table = Connections(bound=3)
    for client in (1, 2, 3):
        table.open(client, MEMBER, seq=1)
    table.find(1)
    table.open(4, MEMBER, seq=1)
    assert [client for client in (1, 2, 3, 4) if table.find(client)] == [1, 3, 4]
    assert table.evicted == 1


def test_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="bound"):
        Connections(0)


@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from(["open", "find", "close"]), st.integers(1, 8))))
def test_table_is_a_bounded_one_in_order_of_use(bound: int, steps: list[tuple[str, int]]) -> None:
    table, model = Connections(bound), OrderedDict[int, int]()
    for number, (step, client) in enumerate(steps):
        if step == "open":
            table.open(client, MEMBER, number)
            model[client] = number
            model.move_to_end(client)
            while len(model) > bound:
                model.popitem(last=False)
        elif step == "find":
            found = table.find(client)
            assert (found.seq if found else None) == model.get(client)
            if client in model:
                model.move_to_end(client)
        else:
            table.close(client)
            model.pop(client, None)
        assert len(table) == len(model) <= bound
