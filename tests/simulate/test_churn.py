"""Churn: open connections stay where they are, those of a failed server break, and policies differ as they promise."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

from lab.balancer.policies import BY_CONTROLLER
from lab.simulate import churn
from lab.simulate.churn import Churn
from lab.simulate.fleet import PolicyMaker, chance
from lab.simulate.pool_changes import CHANGES, HEAVIER, PoolChanges, make_balancer

FLOWS = 50_000
TABLE = 4_099  # places, 100 times the servers and more


def measure(policy: str, servers: int = 10, flows: int = FLOWS) -> Churn:
    return churn.measure(PolicyMaker(name=policy), servers, flows, TABLE, 1, lambda part: None)


@pytest.fixture(scope="module")
def found() -> dict[str, Churn]:
    return {policy: measure(policy) for policy in BY_CONTROLLER}


@pytest.mark.parametrize("policy", BY_CONTROLLER)
def test_no_connection_loses_a_server_that_has_not_failed(found: dict[str, Churn], policy: str) -> None:
    result = found[policy]
    assert result.changes == 3 * len(CHANGES)
    assert result.lost == 0
    assert result.open_at_a_time == pytest.approx(500, rel=0.1)  # a fourth of a stretch's flows


@pytest.mark.parametrize("policy", BY_CONTROLLER)
def test_a_server_that_fails_or_leaves_breaks_its_share_of_the_connections(
    found: dict[str, Churn], policy: str
) -> None:
    result = found[policy]
    assert result.broken == pytest.approx(result.broken_due, abs=5 * sqrt(result.broken_due))


def test_a_table_that_forgets_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(*args: Any, **options: Any) -> Any:
        return make_balancer(*args, **{**options, "bound": 100})

    monkeypatch.setattr(churn, "make_balancer", forgetful)
    assert measure("round_robin").lost > 0


def test_each_policy_is_even_in_what_it_promises(found: dict[str, Churn]) -> None:
    assert found["round_robin"].variation < 0.002  # a turn more or less of 200 in a stretch
    assert found["weighted_round_robin"].variation < 0.003
    assert found["random"].variation == pytest.approx(sqrt(10 / (FLOWS / churn.STRETCHES)), rel=0.3)
    others = [c.open_variation for name, c in found.items() if name != "least_connections"]
    assert found["least_connections"].open_variation < 0.3 * min(others)


def test_only_the_hash_brings_clients_back_to_their_server(found: dict[str, Churn]) -> None:
    for name, result in found.items():
        elsewhere = result.elsewhere / result.returned
        assert (elsewhere < 0.2) if name == "source_hash" else (elsewhere > 0.8)
        assert 0 < result.forced <= result.elsewhere


def test_changes_are_done_and_undone_by_the_balancer_itself() -> None:
    balancer = make_balancer(PolicyMaker(name="random"), 5, 1, bound=1000, table_size=TABLE)
    changes = PoolChanges(balancer, chance(1))
    members = balancer.services[0].members
    seen = []
    for change in CHANGES:
        gone = changes.next()
        assert (gone is not None) == (change in ("fail", "remove"))
        seen.append((change, sum(m.available for m in members), sum(m.weight for m in members)))
    assert seen == [
        ("fail", 4, 5), ("return", 5, 5), ("drain", 4, 5), ("enable", 5, 5),
        ("heavier", 5, 4 + HEAVIER), ("lighter", 5, 5), ("add", 6, 6), ("remove", 5, 5),
    ]  # fmt: skip


def test_two_servers_are_enough() -> None:
    assert measure("round_robin", servers=2, flows=1000).lost == 0
