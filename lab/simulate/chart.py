"""A line chart as an SVG file of its own, on linear or logarithmic axes.

Rule: series differ in stroke, not in colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from lab.report.summary import nice_step
from lab.report.svg import el, label, num

WIDTH, HEIGHT = 760.0, 390.0
LEFT, RIGHT, TOP, BOTTOM = 88.0, 200.0, 66.0, 52.0
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#555555")
MOST_MARKS: Final = 20  # a line of more points is a curve, without marks
DASHES: Final = (None, "7 3", "2 3", "9 3 2 3", None, "7 3", "2 3")
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600;font-size:15px}.muted{fill:#666}"
    ".grid{stroke:#e3e3e3}.axis{stroke:#888}.line{fill:none;stroke-width:2}"
)

Points = Sequence[tuple[float, float]]
Axis = tuple[list[float], Callable[[float], float]]  # ticks, and where a value stands in px


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """`dots`: marks without a line, for what was counted beside what is computed."""

    name: str
    points: Points
    dots: bool = False
    colour: int | None = None  # None: the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`floor`: on a logarithmic y axis, what is smaller stands here, and the axis says so; needed where a 0 may be."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = True
    log_y: bool = True
    floor: float = 0.0
    percent: bool = False  # y values are parts of 1
    x_percent: bool = False

    def svg(self) -> str:
        points = [point for series in self.series for point in series.points]
        x_axis = _axis([x for x, _ in points], self.log_x, LEFT, WIDTH - RIGHT)
        lows = [max(y, self.floor) for _, y in points]
        y_axis = _axis(lows, self.log_y, HEIGHT - BOTTOM, TOP)
        parts = [
            el("style", STYLE),
            el("title", self.title),
            el("rect", width=WIDTH, height=HEIGHT, fill="#ffffff"),
            label(LEFT, 22.0, self.title, "title", "start"),
            *self._grid(x_axis, y_axis),
            *self._drawn(x_axis[1], y_axis[1]),
            label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, self.x, "muted"),
            label(LEFT, TOP - 20, self.y, "muted", "start"),
        ]
        view = f"0 0 {num(WIDTH)} {num(HEIGHT)}"
        return str(el("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=view, role="img")) + "\n"

    def _grid(self, x_axis: Axis, y_axis: Axis) -> Iterator[Markup]:
        for value in x_axis[0]:
            at = x_axis[1](value)
            yield el("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, class_="grid")
            yield label(at, HEIGHT - BOTTOM + 18, _words(value, self.x_percent), "muted")
        for value in y_axis[0]:
            at = y_axis[1](value)
            yield el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid")
            mark = "≤ " if self.floor and value <= self.floor * 1.001 else ""
            yield label(LEFT - 8, at + 4, mark + _words(value, self.percent), "muted", "end")
        yield el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis")

    def _drawn(self, place_x: Callable[[float], float], place_y: Callable[[float], float]) -> Iterator[Markup]:
        for number, series in enumerate(self.series):
            index = (number if series.colour is None else series.colour) % len(COLOURS)
            colour, dash = COLOURS[index], DASHES[index]
            placed = [(place_x(x), place_y(max(y, self.floor))) for x, y in series.points]
            if not series.dots:
                way = "M" + "L".join(f"{num(x)} {num(y)}" for x, y in placed)
                yield el("path", d=way, class_="line", stroke=colour, stroke_dasharray=dash)
            radius = 4.0 if series.dots else 2.5
            if len(placed) <= MOST_MARKS:
                yield from (el("circle", cx=x, cy=y, r=radius, fill=colour) for x, y in placed)
            x, y = WIDTH - RIGHT + 14, TOP + 10 + 22 * number
            if not series.dots:
                yield el("line", x1=x, x2=x + 22, y1=y, y2=y, class_="line", stroke=colour, stroke_dasharray=dash)
            yield el("circle", cx=x + 11, cy=y, r=radius, fill=colour)
            yield label(x + 28, y + 4, series.name, "t", "start")


def _axis(values: Sequence[float], logarithmic: bool, start: float, end: float) -> Axis:
    if logarithmic:
        low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
        high = max(high, low + 1)
        ticks = [10.0**power for power in range(low, high + 1)]
        return ticks, lambda v: start + (end - start) * (math.log10(v) - low) / (high - low)
    step = nice_step(max(values) / 5 or 1)
    top = step * math.ceil(max(values) / step - 1e-9) or step
    return [step * n for n in range(round(top / step) + 1)], lambda v: start + (end - start) * v / top


def _words(value: float, percent: bool) -> str:
    """1,000 or 0.001 or 5 %, without noise behind the digits that count."""
    if percent:
        return f"{_words(100 * value, False)} %"
    whole = value >= 1 and abs(value - round(value)) < 1e-6
    return f"{value:,.0f}" if whole else f"{value:.6f}".rstrip("0").rstrip(".")
