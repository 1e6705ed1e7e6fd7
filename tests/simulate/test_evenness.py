"""Evenness: what the kit's policies give equal servers, against theory."""

from __future__ import annotations

from collections import Counter
from math import ceil, sqrt

import pytest

from lab.balancer.policies.plugin import Plugin
from lab.simulate import evenness, fleet
from lab.simulate.evenness import Evenness, expected_variation, measure_table, spread
from lab.simulate.fleet import Feed, PolicyMaker, arrivals, chance, servers

EXACT = ("round_robin", "weighted_round_robin")
FIRST = "class First:\n def __init__(s, rng): pass\n def pool_changed(s, live): s.live = live\n"
FIRST += " def choose(s, client_ip): return s.live[0]\n"


def measure(policy: str, servers: int = 100, flows: int = 50_000, seed: int = 1) -> Evenness:
    return evenness.measure(PolicyMaker(name=policy), servers, flows, 65_537, seed, lambda part: None)


@pytest.mark.parametrize("policy", EXACT)
@pytest.mark.parametrize("flows", [10_000, 10_042])
def test_exact_turns_differ_by_one_flow_at_most(policy: str, flows: int) -> None:
    found = measure(policy, flows=flows)
    assert found.most == ceil(flows / 100)
    assert found.least == flows // 100
    assert found.variation == pytest.approx(found.expected_variation)


@pytest.mark.parametrize("policy", ["random", "source_hash"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_chance_is_as_uneven_as_theory_says(policy: str, seed: int) -> None:
    found = measure(policy, seed=seed)
    assert found.expected_variation is not None
    # the variance of 100 servers' flows is a chi-square of 99 degrees: it deviates by sqrt(2 / 99), its root by half
    assert found.variation == pytest.approx(found.expected_variation, rel=5 * sqrt(2 / 99) / 2)


def test_least_connections_evens_open_connections_and_not_flows() -> None:
    policy = PolicyMaker(name="least_connections").make(chance(1), 65_537)
    pool = servers(10)
    feed = Feed(policy, 1000, chance(2))
    feed.pool_changed(pool)
    chosen = Counter(number for clients in arrivals(chance(3), 20_000) for number in feed(clients))
    live = [member.live for member in pool]
    assert 800 < sum(live) < 1200  # about as many as it was told, give or take six deviations of their number
    assert max(live) - min(live) < 30 < max(chosen.values()) - min(chosen.values())


def test_all_policies_see_the_same_clients() -> None:
    first, second = (list(arrivals(chance(7, "clients"), 120_000)) for _ in range(2))
    assert first == second
    assert [len(chunk) for chunk in first] == [50_000, 50_000, 20_000]
    assert len({client for chunk in first for client in chunk}) > 110_000


def test_looking_up_finds_what_asking_for_each_flow_would(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measure("source_hash", servers=10, flows=3000)
    for module in (evenness, fleet):
        monkeypatch.setattr(module, "CLIENTS", 1 << 10)
    looked_up = measure("source_hash", servers=10, flows=3000)
    policy = PolicyMaker(name="source_hash").make(chance(1), 65_537)
    policy.pool_changed(servers(10))
    hits = Counter(policy.choose(c).id for chunk in arrivals(chance(1, "clients"), 3000) for c in chunk)
    assert (looked_up.most, looked_up.least) == (max(hits.values()), min(hits.values()))
    assert looked_up != asked  # other clients, so another result


def test_a_users_own_policy_is_measured_as_well() -> None:
    maker = PolicyMaker(name="first.py:First", plugin=Plugin(file="first.py", class_name="First", source=FIRST))
    found = evenness.measure(maker, 10, 1000, 65_537, 1, lambda part: None)
    assert (found.most, found.least, found.max_over_mean, found.failures) == (1000, 0, 10.0, 0)


def test_a_policy_that_fails_is_told_of() -> None:
    source = FIRST.replace("return s.live[0]", "return s.live[0] if client_ip < 0x64000000 else None")
    maker = PolicyMaker(name="first.py:First", plugin=Plugin(file="first.py", class_name="First", source=source))
    assert evenness.measure(maker, 10, 1000, 65_537, 1, lambda part: None).failures == 1000


@pytest.mark.parametrize(("servers", "size"), [(10, 65_537), (100, 65_537), (600, 65_537), (1000, 131_071)])
def test_hash_table_is_as_even_as_whole_places_can_be(servers: int, size: int) -> None:
    found = measure_table(servers, size)
    assert found.max_over_mean == pytest.approx(ceil(size / servers) / (size / servers))
    assert found.max_over_mean <= 1.01  # Maglev's promise for 100 places a server and more


def test_spread_is_judged_by_what_is_due() -> None:
    assert spread([10, 10, 40], [10, 10, 40]) == (1.0, 0.0)
    assert spread([5, 15]) == (1.5, 0.5)
    assert expected_variation("least_connections", 10, 100) is None
