"""A sample, put together from what was seen beside Mininet and what the controller says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bench_samples import figures, wrk

from lab import wire_bench
from lab.bench import measuring
from lab.bench.beds import Bed, Usage
from lab.bench.variants import choose

LOAD = wire_bench.Load(
    clients=("h3", "h4"), servers=("h1", "h2"), ips=("10.0.1.1",), port=80, concurrency=16, seconds=2, sampler="h4"
)


def bed(name: str, **idle: float) -> Bed:
    (variant,) = choose([name])
    made = Bed(variant, SimpleNamespace(), {}, {})  # type: ignore[arg-type]
    made.idle_cpu = dict(idle)
    return made


def usage(cpu_s: float | None = None, packet_ins: int | None = None, flow_mods: int | None = None) -> Usage:
    return Usage(cpu_s=cpu_s, memory_peak_mb=cpu_s and 30.0, packet_ins=packet_ins, flow_mods=flow_mods)


def sample(one: Bed, before: Usage, after: Usage, took_s: float = 2.0, **more: Any) -> Any:
    return measuring.sample(one, figures(**more), (before, after), LOAD, 1, 5.0, took_s)


def test_rates_of_clients_add_up_and_give_the_time_of_a_connection() -> None:
    found = sample(bed("direct"), usage(), usage(), wrk={"h3": wrk(1000), "h4": wrk(3000)})
    assert (found.connections, found.per_s, found.mean_ms) == (4000, 2000.0, 8.0)


def test_the_clients_latencies_are_taken_together() -> None:
    found = sample(
        bed("direct"), usage(), usage(), wrk={"h3": wrk(answer_ms=(1.0,) * 200), "h4": wrk(answer_ms=(9.0,) * 200)}
    )
    assert found.answer_ms == {"p50": 1.0, "p99": 9.0}


def test_what_the_controller_counted_before_is_not_the_loads() -> None:
    found = sample(bed("pox-tracked"), usage(1.0, 100, 40), usage(1.5, 2100, 41))
    assert (found.packet_ins, found.flow_mods, found.cpu_s["controller"]) == (2000, 1, 0.5)
    assert found.memory_peak_mb["controller"] == 30.0


def test_what_an_idle_lab_uses_is_taken_off() -> None:
    idle = bed("pox-tracked", **{"controller": 0.1, "ovs-vswitchd": 0.05})
    found = sample(idle, usage(1.0, 0, 0), usage(2.5, 0, 0), took_s=10.0)
    assert found.cpu_s == {"ovs-vswitchd": pytest.approx(0.0), "controller": pytest.approx(0.5)}


def test_a_controller_that_does_not_count_is_null() -> None:
    found = sample(bed("stock"), usage(1.0), usage(1.5))
    assert (found.packet_ins, found.flow_mods) == (None, None)


def test_a_load_without_an_answer_is_a_sample_that_stalled() -> None:
    dead = {"h3": wrk(0, answer_ms=(), timeouts=16)}
    found = sample(bed("direct"), usage(), usage(), wrk=dead, whole_ms=())
    assert (found.per_s, found.answer_ms["p50"]) == (0.0, None)
    assert found.stalls
