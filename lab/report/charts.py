"""The page's charts: requests over time (stacked bars) and latency (share of requests that took at most so long).

Rule: a chart says in words (desc, titles) what it shows in ink, and a colour never is the only thing that tells two
series apart: servers stack in one order, failed requests are hatched, the two latency curves differ in stroke.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from markupsafe import Markup

from lab.report.summary import COLOURS, OTHERS, Curve, Summary, Timeline, nice_step
from lab.report.svg import el, label, picture, short

TIME_WIDTH: Final = 880.0
LATENCY_WIDTH: Final = 480.0  # it stands in half a page
LEFT: Final = 52.0
RIGHT: Final = 16.0
BOTTOM: Final = 44.0
PLOT: Final = 190.0  # height of the plotting area
EVENT_ROW: Final = 18.0
MAX_EVENT_ROWS: Final = 4
LOG_FROM: Final = 30.0  # largest / smallest, above which the time axis is logarithmic


def time_text(seconds: float, step: float) -> str:
    """As many decimals as `step` needs."""
    return f"{seconds:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def ms_text(value: float | None) -> str:
    """Three digits that count; 1.2, 12.3, 123."""
    if value is None:
        return "\N{EN DASH}"
    if value >= 10_000:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def timeline_chart(summary: Summary) -> Markup | None:
    line = summary.timeline
    if line is None:
        return None
    rows = _event_rows(line)
    top = 12 + EVENT_ROW * (1 + max(rows, default=-1))
    peak = max(sum(counts) for counts in line.slices)
    step = max(1.0, nice_step(peak / 4))
    ceiling = max(1.0, math.ceil(peak / step)) * step
    parts = [
        _hatch(),
        *_grid(
            TIME_WIDTH,
            [(value, f"{value:.0f}") for value in _ticks(ceiling, step)],
            lambda v: top + PLOT * (1 - v / ceiling),
        ),
        *_bars(summary, line, top, PLOT / ceiling),
        *_seconds(line, top),
        *_markers(line, rows, top),
    ]
    desc = f"{sum(map(sum, line.slices))} requests in slices of {line.width:g} s, at most {peak} in one slice."
    return picture("timeline", TIME_WIDTH, top + PLOT + BOTTOM, "Requests over time per server", desc, *parts)


def _hatch() -> Markup:
    stripe = el("path", d="M-1 5L5 -1M3 9L9 3", class_="hatch")
    ground = el("rect", width=8, height=8, class_="hatch-ground")
    return el("defs", el("pattern", ground, stripe, id="hatch", width=8, height=8, patternUnits="userSpaceOnUse"))


def _ticks(ceiling: float, step: float) -> list[float]:
    return [index * step for index in range(int(ceiling / step + 1e-6) + 1)]


def _grid(width: float, ticks: Sequence[tuple[float, str]], place: Callable[[float], float]) -> Iterator[Markup]:
    for value, words in ticks:
        y = place(value)
        yield el("line", x1=LEFT, x2=width - RIGHT, y1=y, y2=y, class_="axis" if value == 0 else "grid")
        yield label(LEFT - 8, y + 4, words, "t muted", "end")


def _slot(line: Timeline) -> float:
    """Width (px) of a slice."""
    return (TIME_WIDTH - LEFT - RIGHT) / len(line.slices)


def _bars(summary: Summary, line: Timeline, top: float, scale: float) -> Iterator[Markup]:
    slot = _slot(line)
    gap = min(2.0, slot * 0.2)
    for index, counts in enumerate(line.slices):
        if sum(counts):
            title = el("title", _slice_title(line, index))
            x, width = LEFT + index * slot + gap / 2, min(slot - gap, 48.0)
            yield el("g", title, *_stack(summary, line, counts, x, width, top + PLOT, scale))


def _slice_title(line: Timeline, index: int) -> str:
    named = zip((*line.series, "failed"), line.slices[index])
    begin = time_text(index * line.width, line.width)
    return f"from {begin} s: " + ", ".join(f"{name} {count}" for name, count in named if count)


def _stack(
    summary: Summary, line: Timeline, counts: Sequence[int], x: float, width: float, y: float, scale: float
) -> Iterator[Markup]:
    for place, count in enumerate(counts):
        if not count:
            continue
        height = count * scale
        y -= height
        drawn = max(height - 1, 0.6)  # a hair's gap between parts
        yield el("rect", x=x, y=y, width=width, height=drawn, class_=_series_class(summary, line, place))


def _series_class(summary: Summary, line: Timeline, place: int) -> str:
    if place == len(line.series):
        return "failed"
    name = line.series[place]
    return f"fill s{COLOURS if name == OTHERS else summary.colour(name)}"


def _seconds(line: Timeline, top: float) -> Iterator[Markup]:
    span = line.width * len(line.slices)
    step = nice_step(span / 10)
    for value in _ticks(span, step):
        x = LEFT + (TIME_WIDTH - LEFT - RIGHT) * value / span
        yield label(x, top + PLOT + 18, time_text(value, step), "t muted")
    yield label((LEFT + TIME_WIDTH - RIGHT) / 2, top + PLOT + 38, "seconds since the first request", "t muted")


def _event_x(line: Timeline, at: float) -> float:
    return LEFT + _slot(line) * min(at / line.width, len(line.slices))


def _event_rows(line: Timeline) -> list[int]:
    """For each event the row its words stand in, so that they don't overlap; past the last row they share it."""
    ends: list[float] = []
    rows = []
    for event in line.events:
        x, width = _event_span(_event_x(line, event.at), event.what)
        free = (row for row, end in enumerate(ends) if end < x)
        row = min(next(free, len(ends)), MAX_EVENT_ROWS - 1)
        ends[row : row + 1] = [x + width]
        rows.append(row)
    return rows


def _event_span(x: float, what: str) -> tuple[float, float]:
    """Where the words begin, and how wide they are, about; left of the mark where the right has no room."""
    width = 6.6 * len(short(what, 40)) + 16
    return (x if x + width < TIME_WIDTH else x - width, width)


def _markers(line: Timeline, rows: Sequence[int], top: float) -> Iterator[Markup]:
    for event, row in zip(line.events, rows):
        x, y = _event_x(line, event.at), 14 + row * EVENT_ROW
        left = _event_span(x, event.what)[0] < x
        title = el("title", f"{event.what}, at {event.at:.3g} s")
        rule = el("line", x1=x, x2=x, y1=y - 10, y2=top + PLOT, class_="event")
        words = label(x + (-6 if left else 6), y, short(event.what, 40), "t event-text", "end" if left else "start")
        yield el("g", title, rule, words)


def latency_chart(curves: Sequence[Curve]) -> Markup | None:
    if not curves:
        return None
    low = max(min(curve.points[0][0] for curve in curves), 0.001)
    high = max(max(curve.points[-1][0] for curve in curves), low * 1.2)
    logarithmic = high / low > LOG_FROM
    axis = _log_axis(low, high) if logarithmic else _linear_axis(high)
    ticks, place = axis
    top = 14.0

    def height(part: float) -> float:
        return top + PLOT * (1 - part)

    parts = [
        *_grid(LATENCY_WIDTH, [(part / 100, f"{part} %") for part in (0, 25, 50, 75, 100)], height),
        *(_tick(place(value), top, f"{value:g}") for value in ticks),
        *(_curve_line(curve, place, height) for curve in curves),
    ]
    scale = ", logarithmic" if logarithmic else ""
    parts.append(label((LEFT + LATENCY_WIDTH - RIGHT) / 2, top + PLOT + 38, f"milliseconds at most{scale}", "t muted"))
    desc = "; ".join(
        f"{c.phase}: half within {ms_text(_at_half(c))} ms, all within {ms_text(c.points[-1][0])} ms" for c in curves
    )
    return picture(
        "latency", LATENCY_WIDTH, top + PLOT + BOTTOM, "Share of requests answered within a time", desc, *parts
    )


def _at_half(curve: Curve) -> float:
    return next(ms for ms, part in curve.points if part >= 0.5)


Axis = tuple[list[float], Callable[[float], float]]


def _linear_axis(high: float) -> Axis:
    step = nice_step(high / 6)
    end = math.ceil(high / step) * step
    return [round(value, 9) for value in _ticks(end, step)], lambda v: LEFT + (LATENCY_WIDTH - LEFT - RIGHT) * v / end


def _log_axis(low: float, high: float) -> Axis:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [round(factor * 10.0**power, 9) for power in range(first, last) for factor in factors] + [10.0**last]

    def place(value: float) -> float:
        part = (math.log10(max(value, low)) - first) / (last - first)
        return LEFT + (LATENCY_WIDTH - LEFT - RIGHT) * part

    return ticks, place


def _tick(x: float, top: float, words: str) -> Markup:
    rule = el("line", x1=x, x2=x, y1=top, y2=top + PLOT, class_="grid")
    return el("g", rule, label(x, top + PLOT + 18, words, "t muted"))


def _curve_line(curve: Curve, place: Callable[[float], float], height: Callable[[float], float]) -> Markup:
    steps = [f"M{place(curve.points[0][0]):.1f} {height(0):.1f}"]
    for ms, part in curve.points[1:]:
        steps.append(f"H{place(ms):.1f}V{height(part):.1f}")
    return el("path", el("title", curve.phase), d="".join(steps), class_=f"curve {curve.phase}")
