"""bench.svg: three panels over the variants: speed beside direct, time of a connection, CPU time of a connection.

Rule: drawn by hand with `report.svg`, as the report's pictures, so a bench needs no library for it; each mark has its
numbers in its title, and concurrencies differ in shape as well as in colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from markupsafe import Markup

from lab.bench.record import Bench
from lab.bench.variants import DIRECT
from lab.report.svg import el, label, num

WIDTH, LEFT, RIGHT = 900.0, 130.0, 20.0
ROW, TOP, GAP = 30.0, 56.0, 84.0
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
PROGRAMS: Final = {"ovs-vswitchd": "#56b4e9", "controller": "#d55e00", "haproxy": "#009e73"}
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#222}.h{font-weight:600}.m{fill:#666;font-size:12px}"
    ".g{stroke:#ddd}.s{opacity:.45}"
)
Scale = Callable[[float], float]


def draw(bench: Bench) -> str:
    """A whole SVG document."""
    variants = list(dict.fromkeys(result["variant"] for result in bench.results))
    height = len(variants) * ROW
    panels: list[Markup] = []
    top = TOP
    for panel in (_speed, _time, _cost):
        panels += panel(bench, variants, top)
        top += height + GAP
    marks = _legend(list(dict.fromkeys(result["concurrency"] for result in bench.results)))
    ground = el("rect", width=WIDTH, height=top, fill="#fff")
    return str(
        el(
            "svg",
            el("title", f"balance-lab bench {bench.name}"),
            el("style", Markup(STYLE)),
            ground,
            *marks,
            *panels,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {num(WIDTH)} {num(top)}",
            width=WIDTH,
            height=top,
        )
    )


def _speed(bench: Bench, variants: Sequence[str], top: float) -> Iterator[Markup]:
    """Median ratio to direct, from lowest to highest."""
    found = [(r, r["ratio"][DIRECT]) for r in bench.results]
    most = max([1.0, *(ratio["high"] for _, ratio in found if ratio)])
    scale = _linear(most)
    yield from _frame(
        "New connections per second, in multiples of direct",
        variants,
        top,
        [(t, f"{t:g}") for t in _ticks(most)],
        scale,
    )
    for result, ratio in found:
        if ratio:
            words = f"{ratio['median']:.2f} of direct ({ratio['low']:.2f} to {ratio['high']:.2f})"
            yield _mark(bench, variants, top, result, [scale(ratio[k]) for k in ("low", "median", "high")], words)


def _time(bench: Bench, variants: Sequence[str], top: float) -> Iterator[Markup]:
    """p50, with a line to p99, on a logarithmic scale."""
    found = [(r, r["whole_ms"]["p50"], r["whole_ms"]["p99"]) for r in bench.results if r["whole_ms"]["p50"]]
    low = min((p50 for _, p50, _ in found), default=0.1)
    high = max((p99 for _, _, p99 in found), default=10.0)
    first, last = math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)

    def scale(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - first) / (last - first)

    ticks = [(10.0**power, f"{10.0**power:g}") for power in range(first, last + 1)]
    yield from _frame("Time of a whole connection, ms: p50, and a line to p99", variants, top, ticks, scale)
    for result, p50, p99 in found:
        yield _mark(
            bench, variants, top, result, [scale(p50), scale(p50), scale(p99)], f"p50 {p50:.2f}, p99 {p99:.2f} ms"
        )


def _cost(bench: Bench, variants: Sequence[str], top: float) -> Iterator[Markup]:
    """Stacked bars, at the concurrency nearest to 16."""
    concurrency = min((r["concurrency"] for r in bench.results), key=lambda number: abs(number - 16))
    chosen = {r["variant"]: r["cpu_s_per_1000"] for r in bench.results if r["concurrency"] == concurrency}
    most = max([0.001, *(sum(_medians(cpu).values()) for cpu in chosen.values())])
    scale = _linear(most)
    title = f"CPU seconds per 1,000 connections, {concurrency} at a time"
    yield from _frame(title, variants, top, [(t, f"{t:g}") for t in _ticks(most)], scale)
    for index, (name, colour) in enumerate(PROGRAMS.items()):
        x = WIDTH - RIGHT - 120 * (len(PROGRAMS) - index)
        yield el("rect", x=x, y=top - 20, width=10.0, height=10.0, fill=colour)
        yield label(x + 16, top - 11, name, "m", "start")
    for variant, cpu in chosen.items():
        yield from _bar(_medians(cpu), top + variants.index(variant) * ROW, scale)


def _bar(seconds: dict[str, float], y: float, scale: Scale) -> Iterator[Markup]:
    start = 0.0
    for name, value in seconds.items():
        x = scale(start)
        start += value
        title = el("title", f"{name}: {value:.3f} s")
        yield el("rect", title, x=x, y=y + 7, width=scale(start) - x, height=ROW - 14, fill=PROGRAMS[name])


def _medians(cpu: dict[str, Any]) -> dict[str, float]:
    return {name: cpu[name]["median"] for name in PROGRAMS if cpu.get(name)}


def _frame(
    title: str, variants: Sequence[str], top: float, ticks: Sequence[tuple[float, str]], scale: Scale
) -> Iterator[Markup]:
    bottom = top + len(variants) * ROW
    yield label(LEFT, top - 10, title, "h", "start")
    for value, words in ticks:
        x = scale(value)
        yield el("line", x1=x, x2=x, y1=top, y2=bottom, class_="g")
        yield label(x, bottom + 16, words, "m")
    for index, variant in enumerate(variants):
        yield label(LEFT - 10, top + index * ROW + ROW / 2 + 4, variant, "t", "end")


def _mark(
    bench: Bench, variants: Sequence[str], top: float, result: dict[str, Any], xs: Sequence[float], words: str
) -> Markup:
    """A shape with a whisker; rows hold one per concurrency, one below the other. Pale: every sample stalled."""
    concurrencies = list(dict.fromkeys(r["concurrency"] for r in bench.results))
    index = concurrencies.index(result["concurrency"])
    y = top + variants.index(result["variant"]) * ROW + ROW * (index + 1) / (len(concurrencies) + 1)
    low, middle, high = xs
    colour = COLOURS[index % len(COLOURS)]
    stalled = ", stalled" if result["stalled"] else ""
    title = el("title", f"{result['variant']}, {result['concurrency']} at a time: {words}{stalled}")
    whisker = el("line", x1=low, x2=high, y1=y, y2=y, stroke=colour, stroke_width=1.5)
    return el("g", title, whisker, _shape(index, middle, y, colour), class_="s" if result["stalled"] else None)


def _shape(index: int, x: float, y: float, colour: str) -> Markup:
    if index % 4 == 0:
        return el("circle", cx=x, cy=y, r=4.0, fill=colour)
    if index % 4 == 1:
        return el("rect", x=x - 3.5, y=y - 3.5, width=7.0, height=7.0, fill=colour)
    points = [(0, -4.5), (4.5, 3.5), (-4.5, 3.5)] if index % 4 == 2 else [(0, -5), (5, 0), (0, 5), (-5, 0)]
    return el("polygon", points=" ".join(f"{num(x + dx)},{num(y + dy)}" for dx, dy in points), fill=colour)


def _legend(concurrencies: Sequence[int]) -> Iterator[Markup]:
    for index, number in enumerate(concurrencies):
        x = LEFT + index * 130
        yield _shape(index, x, 18.0, COLOURS[index % len(COLOURS)])
        yield label(x + 10, 22.0, f"{number} at a time", "m", "start")


def _linear(most: float) -> Scale:
    return lambda value: LEFT + (WIDTH - LEFT - RIGHT) * value / most


def _ticks(most: float) -> list[float]:
    """Some five to ten round numbers from 0 on."""
    rough = most / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (10, 5, 2, 1) if size * n <= rough)
    return [round(n * step, 10) for n in range(int(most / step + 1e-9) + 1)]
