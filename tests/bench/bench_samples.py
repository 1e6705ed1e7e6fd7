"""Samples and figures for the bench's tests, all of it plausible and none of it measured."""

from __future__ import annotations

from typing import Any

from lab.bench.record import Sample
from lab.wire_bench import Figures, Wrk


def sample(variant: str, round_: int = 1, concurrency: int = 16, **more: Any) -> Sample:
    figures: dict[str, Any] = {
        "at_s": 0.0,
        "connections": 2000,
        "per_s": 1000.0,
        "mean_ms": 16.0,
        "answer_ms": {"p50": 1.0, "p99": 2.0},
        "whole_ms": [1.0, 2.0, 3.0],
        "errors": {"socket": 0, "timeout": 0, "status": 0, "sample": 0},
        "accepted": {"h1": 1000, "h2": 1000},
        "packet_ins": None,
        "flow_mods": None,
        "cpu_s": {"ovs-vswitchd": 0.2},
        "memory_peak_mb": {"ovs-vswitchd": 20.0},
        "rules": [1, 1, 1],
        "settled_s": 0.0,
        "kernel": {},
    }
    return Sample(variant=variant, round=round_, concurrency=concurrency, **{**figures, **more})


def wrk(connections: int = 1000, **more: Any) -> Wrk:
    figures: dict[str, Any] = {
        "seconds": 2.0,
        "socket_errors": 0,
        "timeouts": 0,
        "bad_status": 0,
        "answer_ms": (1.0, 2.0),
    }
    return Wrk(connections=connections, **{**figures, **more})


def figures(**more: Any) -> Figures:
    found: dict[str, Any] = {
        "wrk": {"h3": wrk(), "h4": wrk()},
        "whole_ms": (1.0, 2.0),
        "sample_errors": 0,
        "accepted": {"h1": 1001, "h2": 1001},
        "kernel": {"h1": {}, "h3": {}, "h4": {}, "h7": {}},
        "time_wait": {"h3": 10, "h4": 10},
        "ports": 64_512,
        "cpu_s": {"ovs-vswitchd": 0.5},
        "memory_peak_mb": {"ovs-vswitchd": 20.0},
        "rules": (10, 12, 10),
        "settled_s": 0.5,
    }
    return Figures(**{**found, **more})
