"""What is made of samples: medians, spreads, ratios that stand together; and what is never averaged in."""

from __future__ import annotations

from typing import Any

import pytest
from bench_samples import sample

from lab.bench import analysis
from lab.bench.record import BulkSample, Sample


def pass_of(round_: int, direct: tuple[float, float], **others: float) -> list[Sample]:
    """direct at 0 and 10 s of a round, the others at 5 s."""
    found = [sample("direct", round_, at_s=at, per_s=speed) for at, speed in zip((0.0, 10.0), direct)]
    return found + [sample(name, round_, at_s=5.0, per_s=speed) for name, speed in others.items()]


def result(samples: list[Sample], variant: str) -> dict[str, Any]:
    names = list(dict.fromkeys(s.variant for s in samples))
    (found,) = (r for r in analysis.results(samples, names) if r["variant"] == variant)
    return found


def test_a_figure_is_a_median_with_its_spread() -> None:
    samples = [sample("haproxy", n, per_s=speed) for n, speed in enumerate((900.0, 100.0, 500.0), 1)]
    assert result(samples, "haproxy")["per_s"] == {"median": 500.0, "low": 100.0, "high": 900.0, "count": 3}


def test_a_stalled_sample_is_counted_and_told_of_but_not_averaged_in() -> None:
    samples = [sample("haproxy", 1), sample("haproxy", 2, per_s=1.0, whole_ms=[3000.0], stalls=["it stalled"])]
    found = result(samples, "haproxy")
    assert (found["per_s"]["median"], found["per_s"]["count"]) == (1000.0, 1)
    assert (found["samples"], found["sound"], found["stalled"], found["stalls"]) == (2, 1, False, ["it stalled"])
    assert found["whole_ms"]["p99"] == 3.0


def test_where_all_stalled_their_figures_are_given_and_marked() -> None:
    found = result([sample("stock", 1, per_s=7.0, stalls=["it stalled"])], "stock")
    assert (found["per_s"]["median"], found["stalled"], found["sound"]) == (7.0, True, 0)


def test_a_ratio_is_to_what_direct_would_have_done_at_that_moment() -> None:
    """The machine slows down from 1,000 to 800 within the pass; half of it is where the other stands."""
    assert result(pass_of(1, (1000.0, 800.0), haproxy=450.0), "haproxy")["ratio"]["direct"]["median"] == 0.5


def test_a_pass_in_which_the_machine_drifted_too_far_gives_no_ratio() -> None:
    samples = [*pass_of(1, (1000.0, 600.0), haproxy=400.0), *pass_of(2, (1000.0, 1000.0), haproxy=600.0)]
    assert result(samples, "haproxy")["ratio"]["direct"] == {"median": 0.6, "low": 0.6, "high": 0.6, "count": 1}


def test_a_ratio_to_a_peer_is_of_rounds_in_which_both_were_measured_and_sound() -> None:
    samples = [
        *pass_of(1, (1000.0, 1000.0), haproxy=500.0, **{"pox-tracked": 600.0}),
        *pass_of(2, (100.0, 100.0), **{"pox-tracked": 90.0}),
    ]
    assert result(samples, "pox-tracked")["ratio"]["haproxy"] == {"median": 1.2, "low": 1.2, "high": 1.2, "count": 1}


@pytest.mark.parametrize("stalled", ["direct", "haproxy"])
def test_a_stalled_sample_has_no_part_in_a_ratio(stalled: str) -> None:
    samples = pass_of(1, (1000.0, 1000.0), haproxy=500.0)
    for one in samples:
        one.stalls = ["it stalled"] if one.variant == stalled else []
    assert result(samples, "haproxy")["ratio"]["direct"] is None


def test_without_direct_there_are_no_ratios() -> None:
    assert result([sample("haproxy")], "haproxy")["ratio"] == {"direct": None, "haproxy": None, "stock": None}


def test_costs_are_per_connection_that_the_servers_accepted() -> None:
    one = sample("pox-reactive", packet_ins=2020, flow_mods=2000, cpu_s={"controller": 0.5, "ovs-vswitchd": 1.0})
    found = result([one], "pox-reactive")
    assert found["packet_ins_per_connection"]["median"] == 1.01
    assert found["flow_mods_per_connection"]["median"] == 1.0
    assert found["cpu_s_per_1000"]["controller"]["median"] == 0.25
    assert found["cpu_s_per_1000"]["ovs-vswitchd"]["median"] == 0.5


def test_what_nobody_counted_is_null_and_no_zero() -> None:
    found = result([sample("direct")], "direct")
    assert found["packet_ins_per_connection"] is None
    assert found["flow_mods_per_connection"] is None


def test_each_concurrency_has_results_of_its_own() -> None:
    samples = [sample("direct", concurrency=n, per_s=100.0 * n) for n in (1, 16)]
    found = analysis.results(samples, ["direct"])
    assert [(r["concurrency"], r["per_s"]["median"]) for r in found] == [(1, 100.0), (16, 1600.0)]


def test_bulk_has_ratios_by_direction_and_counts_failures() -> None:
    def bulk(variant: str, at_s: float, bits: float | None, direction: str = "down") -> BulkSample:
        return BulkSample(variant=variant, round=1, direction=direction, at_s=at_s, bits_per_s=bits)

    samples = [bulk("direct", 0, 1e9), bulk("haproxy", 1, 5e8), bulk("stock", 2, None), bulk("direct", 3, 1e9)]
    found = {r["variant"]: r for r in analysis.bulk_results(samples, ["direct", "haproxy", "stock"])}
    assert found["haproxy"]["ratio"]["direct"]["median"] == 0.5
    assert (found["stock"]["bits_per_s"], found["stock"]["failed"]) == (None, 1)
