"""What a bench leaves on disk: bench.json, whole or not at all. Field names are stable: later work adds, never renames.

Rule: samples are what was measured, nothing is left out of them; results are made from them by analysis.py, and can be
made again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.record import write_text

SCHEMA: Final = "balance-lab/bench/1"
BENCH, PLOT = "bench.json", "bench.svg"


@dataclass(kw_only=True, slots=True)
class Sample:
    """One measurement of one variant. CPU seconds are those beyond what the idle lab uses."""

    variant: str
    round: int  # from 1
    concurrency: int
    at_s: float  # since the first measurement began
    connections: int  # answered, over all clients
    per_s: float
    mean_ms: float  # of a whole connection: concurrency / per_s
    answer_ms: dict[str, float | None]  # wrk's p50, p99: from the handshake's end on
    whole_ms: list[float]  # the sampler's connections, from SYN to the end
    errors: dict[str, int]  # socket, timeout, status, sample
    accepted: dict[str, int]  # by each server's kernel
    packet_ins: int | None  # None: no controller, or it doesn't count
    flow_mods: int | None
    cpu_s: dict[str, float]  # controller, ovs-vswitchd, haproxy
    memory_peak_mb: dict[str, float]
    rules: list[int]  # in the switch: before, at the end of the load, after settling
    settled_s: float
    kernel: dict[str, dict[str, int]]  # host → what isn't zero of its TCP counters
    stalls: list[str] = field(default_factory=list)  # a sentence each; empty: sound


@dataclass(kw_only=True, slots=True)
class BulkSample:
    """One iperf3 stream; `error` where there was none."""

    variant: str
    round: int
    direction: str  # down: the server sends
    at_s: float
    bits_per_s: float | None
    retransmits: int | None = None
    error: str | None = None


@dataclass(kw_only=True, slots=True)
class Bench:
    """bench.json."""

    name: str  # of the folder
    schema: str = SCHEMA
    complete: bool = False  # False: interrupted or broken; what was measured until then is here
    reason: str | None = None  # why it is not complete
    started: str = ""  # ISO 8601, UTC
    duration_s: float = 0.0
    backend: str = ""
    datapath: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)  # processors, kernel
    settings: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)  # engine, mode, policy, idle_cpu, configuration
    left_out: list[dict[str, str]] = field(default_factory=list)  # variant, why
    samples: list[Sample] = field(default_factory=list)
    bulk_samples: list[BulkSample] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    bulk_results: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        write_text(folder / BENCH, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
