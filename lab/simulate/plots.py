"""The pictures of a simulation, by file name. Rule: every picture can be read off the tables as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lab.simulate.chart import Chart, Series
from lab.simulate.controller import Load
from lab.simulate.published import PLACES_FOR_1_PERCENT, SPARE, SPARE_SERVERS
from lab.simulate.simulation import Results
from lab.simulate.switch_rules import TRAFFIC, expected_lifetime, expected_packet_ins

EXACT: Final = 1e-5  # what is less than this, and so next to nothing, is drawn as this
CURVE_STEPS: Final = 40


def draw(results: Results) -> dict[str, str]:
    """File name → SVG."""
    charts = {
        "evenness": _evenness(results),
        "hash_table": _hash_table(results),
        "disruption": _disruption(results),
        "failures": _failures(results),
        "controller": _controller(results),
        "rules": _rules(results),
        "packet_ins": _packet_ins(results),
    }
    return {f"{name}.svg": chart.svg() for name, chart in charts.items()}


def _evenness(results: Results) -> Chart:
    series = [
        Series(name=name, points=[(e.servers, e.max_over_mean - 1) for e in results.evenness if e.policy == name])
        for name in dict.fromkeys(e.policy for e in results.evenness)
    ]
    return Chart(
        title=f"Evenness: the busiest server's excess, {results.settings.flows:,} flows",
        x="servers",
        y="flows of the busiest server above the mean",
        series=series,
        floor=EXACT,
        percent=True,
    )


def _hash_table(results: Results) -> Chart:
    series = [
        Series(
            name=f"source_hash, {size:,}",
            points=[(t.servers, t.max_over_mean - 1) for t in results.tables if t.table_size == size],
        )
        for size in results.settings.table_sizes
    ]
    for size in results.settings.table_sizes:
        for name, part in zip(("Karger", "rendezvous"), SPARE.get(size, ())):
            series.append(Series(name=f"{name}, {size:,} *", points=[(SPARE_SERVERS, part)], dots=True))
    return Chart(
        title="Hash table: places of the largest server above the mean (* published)",
        x=f"servers (1 % is promised up to places / {PLACES_FOR_1_PERCENT})",
        y="spare capacity needed",
        series=series,
        floor=EXACT,
        percent=True,
    )


def _disruption(results: Results) -> Chart:
    leaves = [d for d in results.disruption if d.change == "leave"]
    series = [
        Series(name=name, points=[(d.servers, d.moved) for d in leaves if d.policy == name])
        for name in dict.fromkeys(d.policy for d in leaves)
    ]
    series.append(Series(name="must: 1 / N", points=sorted({(d.servers, d.must) for d in leaves}), colour=6))
    return Chart(
        title="Disruption: one of N servers leaves",
        x="servers",
        y="clients whose next connection meets another server",
        series=series,
        floor=EXACT,
        percent=True,
    )


def _failures(results: Results) -> Chart:
    most = max(f.servers for f in results.failures)
    found = [f for f in results.failures if f.servers == most]
    series = [
        Series(
            name=f"needless, {size:,}",
            points=[(f.gone / most, f.needless) for f in found if f.table_size == size],
        )
        for size in results.settings.table_sizes
    ]
    first = [f for f in found if f.table_size == results.settings.table_sizes[0]]
    series.append(Series(name="must", points=[(f.gone / most, f.must) for f in first], colour=6))
    return Chart(
        title=f"Some of {most:,} servers fail at once",
        x="part of the servers that fails",
        y="places of the hash table that change hands",
        series=series,
        log_x=False,
        log_y=False,
        percent=True,
        x_percent=True,
    )


def _controller(results: Results) -> Chart:
    def points(what: str, loads: Iterable[Load]) -> list[tuple[float, float]]:
        return [(load.rate, value) for load in loads if (value := getattr(load, what)) is not None]

    series = [
        Series(name="99th percentile", points=points("p99_ms", results.curve)),
        Series(name="mean", points=points("mean_ms", results.curve)),
        Series(name="mean by theory", points=points("expected_mean_ms", results.curve), dots=True),
    ]
    return Chart(
        title=f"A controller of {results.cpu_us:.0f} µs per connection",
        x="new connections per second",
        y="ms from a SYN's arrival to its decision",
        series=series,
        log_x=False,
    )


def _timeouts(results: Results) -> list[float]:
    """Enough for a curve that looks like one, from the shortest time-out to the longest."""
    least, most = results.rules[0].idle_timeout_s, results.rules[-1].idle_timeout_s
    return [least * (most / least) ** (step / CURVE_STEPS) for step in range(CURVE_STEPS + 1)]


def _rules(results: Results) -> Chart:
    law = [(timeout, 1000 * expected_lifetime(TRAFFIC, timeout)) for timeout in _timeouts(results)]
    counted = [(r.idle_timeout_s, 1000 * r.rules / r.rate) for r in results.rules]
    return Chart(
        title="Rules in the switch for each 1,000 connections a second",
        x="idle time-out, s",
        y="rules at a time",
        series=[Series(name="Little's law", points=law), Series(name="counted", points=counted, dots=True)],
        log_y=False,
    )


def _packet_ins(results: Results) -> Chart:
    law = [(timeout, expected_packet_ins(TRAFFIC, timeout)) for timeout in _timeouts(results)]
    counted = [(r.idle_timeout_s, r.packet_ins) for r in results.rules]
    return Chart(
        title="What a short time-out costs",
        x="idle time-out, s",
        y="packet-ins per connection",
        series=[Series(name="computed", points=law), Series(name="counted", points=counted, dots=True)],
        log_y=False,
    )
