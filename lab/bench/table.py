"""The results as tables on the terminal, and a line per measurement. Rule: a figure of measurements that all stalled
carries a star; what isn't known is a dash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from lab.bench.record import BENCH, PLOT, Bench, Sample
from lab.bench.variants import DIRECT, REFERENCES

DASH: Final = "\N{EN DASH}"
WIDTH: Final = 140  # where there is no terminal
TIMES: Final = "\N{MULTIPLICATION SIGN}"
PROGRAMS: Final = ("controller", "ovs-vswitchd", "haproxy")


def line(sample: Sample) -> str:
    """One measurement."""
    stalled = f"  stalled: {'; '.join(sample.stalls)}" if sample.stalls else ""
    head = f"round {sample.round}, {sample.concurrency} at a time, {sample.variant}:"
    return f"{head} {sample.per_s:.0f}/s, {sample.mean_ms:.2f} ms each{stalled}"


def show(bench: Bench, folder: Path, stream: IO[str]) -> None:
    from rich.console import Console

    console = Console(file=stream)
    if not stream.isatty():
        console.width = WIDTH
    for concurrency in dict.fromkeys(result["concurrency"] for result in bench.results):
        console.print(_speed(bench, concurrency))
        console.print(_cost(bench, concurrency))
    if bench.bulk_results:
        console.print(_bulk(bench))
    for note in notes(bench):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    for name in (BENCH, PLOT):
        console.print(f"{folder / name}", markup=False, highlight=False, soft_wrap=True)


def _speed(bench: Bench, concurrency: int) -> Any:
    others = [name for name in REFERENCES if name in bench.variants]
    columns = ["new conn./s", *(f"{TIMES} {name}" for name in others), "whole p50", "p99 ms", "answer p50", "p99 ms"]
    table = _table(f"{concurrency} at a time: speed", columns)
    for result in bench.results:
        if result["concurrency"] == concurrency:
            table.add_row(*speed(result, others))
    return table


def speed(result: Mapping[str, Any], others: Sequence[str]) -> list[str]:
    star = "*" if result["stalled"] else ""
    return [
        result["variant"],
        spread(result["per_s"], 0, star),
        *(spread(result["ratio"][name], 2) for name in others),
        number(result["whole_ms"]["p50"], 2),
        number(result["whole_ms"]["p99"], 1),
        middle(result["answer_ms"]["p50"], 2),
        middle(result["answer_ms"]["p99"], 1),
    ]


def _cost(bench: Bench, concurrency: int) -> Any:
    columns = ["packet-ins", "flow-mods", *(f"{name} CPU" for name in PROGRAMS), *(f"{name} MB" for name in PROGRAMS)]
    table = _table(f"{concurrency} at a time: per connection, CPU seconds per 1,000 of them, peak memory", columns)
    for result in bench.results:
        if result["concurrency"] == concurrency:
            table.add_row(*cost(result))
    return table


def cost(result: Mapping[str, Any]) -> list[str]:
    cpu, memory = result["cpu_s_per_1000"], result["memory_peak_mb"]
    return [
        result["variant"],
        middle(result["packet_ins_per_connection"], 2),
        middle(result["flow_mods_per_connection"], 2),
        *(middle(cpu.get(name), 3) for name in PROGRAMS),
        *(number(memory.get(name), 0) for name in PROGRAMS),
    ]


def _table(title: str, columns: Sequence[str]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("variant", *columns, title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _bulk(bench: Bench) -> Any:
    directions = list(dict.fromkeys(result["direction"] for result in bench.bulk_results))
    columns = [word for way in directions for word in (f"{way} Gbit/s", f"{TIMES} direct")]
    table = _table("bulk: one iperf3 stream", columns)
    for variant in bench.variants:
        cells = []
        for way in directions:
            (result,) = (r for r in bench.bulk_results if (r["variant"], r["direction"]) == (variant, way))
            bits = result["bits_per_s"]
            cells += [DASH if bits is None else f"{bits['median'] / 1e9:.2f}", spread(result["ratio"][DIRECT], 2)]
        table.add_row(variant, *cells)
    return table


def notes(bench: Bench) -> list[str]:
    """What a reader must know beside the figures."""
    found = [] if bench.complete else [f"ended early ({bench.reason}): what was measured until then"]
    found += [f"without {left['variant']}: {left['why']}" for left in bench.left_out]
    for result in bench.results:
        if stalled := result["samples"] - result["sound"]:
            what = f"{result['variant']}, {result['concurrency']} at a time: {stalled} of {result['samples']} stalled"
            kept = ", all: its figures are theirs (*)" if result["stalled"] else ", left out"
            found.append(f"{what}{kept}; such as: {result['stalls'][0]}")
    found += [f"{name}: {note}" for name, facts in bench.variants.items() for note in facts.get("notes", ())]
    idle = sum(sum(facts["idle_cpu"].values()) for facts in bench.variants.values())
    found.append(f"the labs together use {100 * idle:.1f} % of a processor when nothing is sent")
    return found


def spread(found: Mapping[str, Any] | None, digits: int, mark: str = "") -> str:
    """Median with its mark, and from lowest to highest where there are several."""
    if found is None:
        return DASH
    median, low, high = (f"{found[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median}{mark}" if found["count"] == 1 else f"{median}{mark} ({low}{DASH}{high})"


def middle(found: Mapping[str, Any] | None, digits: int) -> str:
    return DASH if found is None else f"{found['median']:.{digits}f}"


def number(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}f}"
