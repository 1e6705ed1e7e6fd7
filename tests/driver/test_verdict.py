"""Every kind of expectation: when it holds, when it fails, and that one without data never passes."""

from __future__ import annotations

from typing import Any

import pytest

from lab.driver.scenario import Expect, StepExpect
from lab.driver.verdict import Evidence, both_ends, judge
from lab.wire import Pings

WEB = {"web": {"h1": 1, "h2": 1}}


def seen(h1: int, h2: int, failed: int = 0, **more: Any) -> Evidence:
    values: dict[str, Any] = {
        "sent": h1 + h2 + failed,
        "failed": failed,
        "by_service": {"web": {"h1": h1, "h2": h2}},
        "weights": WEB,
        "server_hits": {"h1": h1, "h2": h2},
        "connect_ms": [1.0] * (h1 + h2),
        "total_ms": [float(n) for n in range(1, h1 + h2 + 1)],
    }
    return Evidence(**{**values, **more})


def check(evidence: Evidence, **expect: Any) -> dict[str, tuple[bool, str]]:
    found = judge(StepExpect.model_validate(expect), evidence)
    return {item.name: (item.passed, item.detail) for item in found}


def test_exact_hits() -> None:
    found = check(seen(20, 19), hits={"h1": 20, "h2": 20})
    assert found == {"hits.h1": (True, "20 = 20"), "hits.h2": (False, "19, expected 20")}


@pytest.mark.parametrize(("h1", "passed"), [(18, True), (22, True), (17, False), (23, False)])
def test_tolerance_reaches_both_ways(h1: int, passed: bool) -> None:
    assert check(seen(h1, 20), hits={"h1": 20}, tolerance=2)["hits.h1"][0] is passed


@pytest.mark.parametrize(("h1", "passed"), [(0, False), (1, True), (30, True), (31, False)])
def test_hits_between_limits(h1: int, passed: bool) -> None:
    found, detail = check(seen(h1, 10), hits={"h1": {"min": 1, "max": 30}})["hits.h1"]
    assert found is passed
    assert detail == f"{h1}, expected at least 1 and at most 30"


def test_a_server_that_nobody_reached_has_zero_hits() -> None:
    assert check(seen(5, 0, by_service={"web": {"h1": 5}}), hits={"h2": 0})["hits.h2"] == (True, "0 = 0")


@pytest.mark.parametrize(("h1", "passed"), [(50, True), (55, True), (45, True), (56, False), (44, False)])
def test_share_of_all_hits(h1: int, passed: bool) -> None:
    assert check(seen(h1, 100 - h1), share={"h1": 0.5})["share.h1"][0] is passed


def test_share_tolerance_is_a_setting() -> None:
    assert check(seen(60, 40), share={"h1": 0.5}, share_tolerance=0.1)["share.h1"][0]


def test_chi_square_passes_chance_and_fails_bias() -> None:
    assert check(seen(210, 190), chi_square=0.001)["chi_square"][0]
    passed, detail = check(seen(300, 100), chi_square=0.001)["chi_square"]
    assert not passed
    assert "chi² = 100.00, 1 degree of freedom" in detail


def test_chi_square_knows_weights() -> None:
    evidence = seen(300, 100, weights={"web": {"h1": 3, "h2": 1}})
    assert check(evidence, chi_square=0.9)["chi_square"][0]


def test_chi_square_takes_services_apart() -> None:
    """Both together look even, each alone doesn't."""
    evidence = seen(
        0,
        0,
        sent=400,
        by_service={"web": {"h1": 200, "h2": 0}, "api": {"h1": 0, "h2": 200}},
        weights={"web": {"h1": 1, "h2": 1}, "api": {"h1": 1, "h2": 1}},
    )
    assert not check(evidence, chi_square=0.001)["chi_square"][0]


def test_chi_square_of_one_server_says_that_there_is_nothing_to_compare() -> None:
    evidence = seen(5, 0, by_service={"web": {"h1": 5}}, weights={"web": {"h1": 1}})
    assert check(evidence, chi_square=0.001)["chi_square"] == (False, "no service has two servers to compare")


def test_hits_of_several_services_are_summed() -> None:
    services = {"web": {"h1": 3, "h2": 4}, "api": {"h2": 5, "h3": 6}}
    assert seen(0, 0, by_service=services).hits == {"h1": 3, "h2": 9, "h3": 6}


@pytest.mark.parametrize(("failed", "limit", "passed"), [(0, 0, True), (1, 0, False), (2, 2, True), (3, 2, False)])
def test_failed_requests(failed: int, limit: int, passed: bool) -> None:
    assert check(seen(5, 5, failed), failed=limit)["failed"][0] is passed


def test_failed_requests_are_not_judged_where_any_number_is_fine() -> None:
    assert check(seen(5, 5, 3)) == {}


def test_latency_percentiles() -> None:
    found = check(seen(50, 50), latency_ms={"total": {"p50": 50, "p95": 94}, "connect": {"p99": 1.0}})
    assert {name: passed for name, (passed, _) in found.items()} == {
        "latency_ms.connect.p99": True,
        "latency_ms.total.p50": True,
        "latency_ms.total.p95": False,
    }
    assert found["latency_ms.total.p95"][1] == "95.00 ms, expected at most 94 ms"


def test_pingall_names_who_could_not_reach_whom() -> None:
    pings = Pings(sent=30, received=28, failed=(("h1", "h3"), ("h3", "h1")))
    passed, detail = check(seen(1, 1, pings=pings), pingall_loss=0)["pingall_loss"]
    assert not passed
    assert detail == "6.67 % of 30 lost (h1 to h3, h3 to h1), expected at most 0 %"


def test_pingall_within_its_limit() -> None:
    assert check(seen(1, 1, pings=Pings(sent=30, received=30)), pingall_loss=0)["pingall_loss"][0]


def test_nothing_passes_without_data() -> None:
    everything = Expect.model_validate(
        {
            "hits": {"h1": 0, "h2": {"min": 0}},
            "share": {"h1": 0.0},
            "chi_square": 0.001,
            "failed": 0,
            "latency_ms": {"connect": {"p50": 1.0}, "total": {"p99": 1.0}},
            "pingall_loss": 100,
        }
    )
    found = judge(everything, Evidence(weights=WEB))
    assert len(found) == 8
    assert not any(item.passed for item in found)
    assert all(item.detail.startswith("no data") for item in found)


def test_a_steps_expectations_carry_its_place() -> None:
    found = judge(StepExpect.model_validate({"hits": {"h2": 5}}), seen(5, 5), prefix="steps.1.")
    assert [item.name for item in found] == ["steps.1.hits.h2"]


@pytest.mark.parametrize(
    ("failed", "own", "passed"),
    [
        (0, {"h1": 5, "h2": 5}, True),
        (0, {"h1": 6, "h2": 5}, False),
        (1, {"h1": 6, "h2": 5}, True),
        (1, {"h1": 7, "h2": 5}, False),
        (1, {"h1": 4, "h2": 5}, False),  # a server can't have served fewer than its clients saw
        (0, {"h1": 5, "h2": 5, "h3": 1}, False),  # one that isn't in a pool must not be called at all
    ],
)
def test_both_ends_tell_the_same_story(failed: int, own: dict[str, int], passed: bool) -> None:
    assert both_ends(seen(5, 5, failed, server_hits=own)).passed is passed


def test_both_ends_fail_when_the_servers_logs_are_missing() -> None:
    assert not both_ends(seen(5, 5, server_hits=None)).passed


def test_success_is_a_share_and_is_told_even_where_none_is_asked_for() -> None:
    assert check(seen(50, 49, failed=1), success=0.99)["success"] == (True, "0.99 (99 of 100), expected at least 0.99")
    assert not check(seen(50, 48, failed=2), success=0.99)["success"][0]
    assert check(seen(0, 0, failed=5), success=0)["success"] == (True, "0 (0 of 5), expected at least 0")
    assert not check(Evidence(weights=WEB), success=0)["success"][0]


def test_sticky_holds_while_no_client_saw_two_servers_of_a_service() -> None:
    kept = {"web": {"h3": {"h1"}, "h4": {"h2"}}, "api": {"h3": {"h2"}}}
    assert check(seen(1, 1, by_client=kept), sticky=True)["sticky"] == (True, "3 clients, each with one server")
    torn = {"web": {"h3": {"h1", "h2"}, "h4": {"h2"}}}
    assert check(seen(1, 1, by_client=torn), sticky=True)["sticky"] == (False, "h3 saw h1, h2")
    assert not check(seen(0, 0), sticky=True)["sticky"][0]


def test_a_recovery_that_never_came_is_none() -> None:
    assert check(seen(1, 1, recovered_s=1.5), recovered_within_s=2)["recovered_within_s"][0]
    assert not check(seen(1, 1, recovered_s=2.5), recovered_within_s=2)["recovered_within_s"][0]
    assert "no data" in check(seen(1, 1), recovered_within_s=2)["recovered_within_s"][1]


def test_memory_that_could_not_be_read_has_not_passed() -> None:
    expect = Expect.model_validate({"controller_memory_mb_growth": 200})
    judged = {growth: judge(expect, seen(1, 1, memory_growth_mb=growth))[-1].passed for growth in (None, 199.9, 200.1)}
    assert judged == {None: False, 199.9: True, 200.1: False}
