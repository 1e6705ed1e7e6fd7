"""Rules in the switch: the balancer's own, as many as Little's law says, and what short time-outs cost."""

from __future__ import annotations

from math import exp, sqrt

import pytest

from lab.balancer.balancer import Balancer
from lab.balancer.rules import Command
from lab.simulate import switch_rules
from lab.simulate.switch_rules import Rules, Traffic, expected_lifetime, expected_packet_ins

FLOWS = 4000


def measure(idle_timeout: int, traffic: Traffic = switch_rules.TRAFFIC, flows: int = FLOWS) -> Rules:
    return switch_rules.measure(idle_timeout, flows, 1, lambda part: None, traffic)


@pytest.mark.parametrize("idle_timeout", [1, 5, 10, 60])
def test_rules_are_as_many_as_littles_law_says(idle_timeout: int) -> None:
    found = measure(idle_timeout)
    # the counted rules are a sum over the connections of two thirds of the time; a rule's lifetime has a deviation of
    # about its mean, and their number adds as much again
    assert found.rules == pytest.approx(found.rules_expected, rel=5 * sqrt(2 / (FLOWS * 2 / 3)))
    assert found.lifetime_s == pytest.approx(found.lifetime_expected_s, rel=5 * sqrt(1 / (FLOWS * 2 / 3)))
    assert found.packet_ins == pytest.approx(found.packet_ins_expected, rel=5 * sqrt(1 / (FLOWS * 2 / 3)))
    assert found.core_agrees


def test_lifetimes_are_those_of_the_traffic() -> None:
    assert expected_lifetime(Traffic(requests=1, vanish=0), 10) == 1  # from its FIN on
    assert expected_lifetime(Traffic(requests=1, vanish=1), 10) == 10  # nobody says that it is over
    assert expected_lifetime(Traffic(requests=2, pause_s=5, vanish=1), 10_000) == pytest.approx(10_005)
    assert expected_packet_ins(Traffic(requests=3, pause_s=5), 5) == pytest.approx(1 + 2 * exp(-1))


def test_a_connection_without_pauses_costs_one_packet_in() -> None:
    found = measure(1, Traffic(requests=1), 500)
    assert found.packet_ins == 1
    assert found.rules == pytest.approx(found.rules_expected, rel=0.3)


def test_a_balancer_that_forgets_ends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(self: Balancer, cookie: int, deleted: bool, now: float) -> list[Command]:
        return []

    monkeypatch.setattr(Balancer, "flow_removed", deaf)
    assert not measure(5, flows=300).core_agrees
