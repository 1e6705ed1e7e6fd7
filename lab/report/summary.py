"""What the requests of a run add up to: who was served by whom, when, how fast, what failed. Plain data for any page.

Rule: sizes here don't grow with the run. However many requests, servers or clients there were, a page stays small:
what doesn't fit is counted under `OTHERS`, never dropped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lab.report.data import Run, items, mapping, number, pick
from lab.wire import Request

MAX_SERVERS: Final = 16  # columns of the matrix, rows of the server table
MAX_CLIENTS: Final = 60  # rows of the matrix
MAX_FAILURES: Final = 20
MAX_SLICES: Final = 60
CURVE_POINTS: Final = 100
PHASES: Final = ("connect", "total")
OTHERS: Final = "others"
COLOURS: Final = 7  # told apart by colour-blind eyes; further servers share the eighth, a grey


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRow:
    """One server. `share` is its part of all answered requests; times in ms; None: not known."""

    name: str
    client_hits: int | None
    server_hits: int | None
    share: float | None
    total_p50: float | None
    total_p95: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Requests by client (rows) and server (columns); the last column counts those that nobody answered."""

    servers: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    peak: int  # largest cell, for shading


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    at: float  # s since the first request
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """Requests by time of their start. `series` are servers, then OTHERS where needed; failed ones stand apart."""

    width: float  # s, of a slice
    series: tuple[str, ...]
    slices: tuple[tuple[int, ...], ...]  # a count per series, then the failed
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyRow:
    phase: str
    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    worst: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Part of the requests (0 to 1) that took at most so many ms."""

    phase: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    at: float  # s since the first request
    client: str
    port: int | None
    server: str | None
    status: int | None
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    count: int
    first: tuple[Failure, ...]
    by_error: tuple[tuple[str, int], ...]  # the most frequent ones


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    pairs: dict[tuple[str, str | None], int]  # (client, who answered or None) → requests
    colours: dict[str, int]  # of the servers that have one of their own
    servers: tuple[ServerRow, ...]
    more_servers: int  # left out of `servers`
    matrix: Matrix | None
    timeline: Timeline | None
    latency: tuple[LatencyRow, ...]
    curves: tuple[Curve, ...]
    failures: Failures

    def colour(self, server: str) -> int:
        return self.colours.get(server, COLOURS)


def summarise(run: Run) -> Summary:
    """Cost: one pass over the requests for each part, and a sort of the times."""
    pairs = Counter((request.client, request.server) for request in run.requests)
    names = _server_names(run, pairs)
    times = _total_times(run.requests, names[:MAX_SERVERS])
    phases = {phase: _times(run.requests, phase) for phase in PHASES}
    return Summary(
        pairs=dict(pairs),
        colours={name: index for index, name in enumerate(names[:COLOURS])},
        servers=_server_rows(run, names, pairs, times),
        more_servers=max(0, len(names) - MAX_SERVERS),
        matrix=_matrix(names, pairs),
        timeline=_timeline(run, names),
        latency=tuple(_latency_row(run, phase, values) for phase, values in phases.items()),
        curves=tuple(_curve(phase, values) for phase, values in phases.items() if len(values) > 1),
        failures=_failures(run.requests),
    )


def _server_names(run: Run, pairs: Counter[tuple[str, str | None]]) -> tuple[str, ...]:
    """In the scenario's order, which gives them their colours; then the ones that only the result or a reply names."""
    planned = [server for service in run.services for server in service.servers]
    seen = Counter[str]()
    for (_, server), count in pairs.items():
        if server is not None:
            seen[server] += count
    return tuple(dict.fromkeys([*planned, *mapping(run.result.hits), *(name for name, _ in seen.most_common())]))


def _server_rows(
    run: Run, names: Sequence[str], pairs: Counter[tuple[str, str | None]], times: dict[str, list[float]]
) -> tuple[ServerRow, ...]:
    counted = {
        name: sum(count for (_, server), count in pairs.items() if server == name) for name in names[:MAX_SERVERS]
    }
    hits = {name: number(run.result.hits, name, "client") for name in names}
    clients = {name: counted.get(name) if hits[name] is None and pairs else hits[name] for name in names}
    answered = sum(value for value in clients.values() if value)
    return tuple(
        ServerRow(
            name=name,
            client_hits=_whole(clients[name]),
            server_hits=_whole(number(run.result.hits, name, "server")),
            share=(clients[name] or 0) / answered if answered else None,
            total_p50=percentile(times[name], 50),
            total_p95=percentile(times[name], 95),
        )
        for name in names[:MAX_SERVERS]
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _matrix(names: Sequence[str], pairs: Counter[tuple[str, str | None]]) -> Matrix | None:
    if not pairs:
        return None
    shown = names[:MAX_SERVERS]
    columns = {name: index for index, name in enumerate(shown)}
    others = len(names) > len(shown)
    width = len(shown) + others + 1
    rows: dict[str, list[int]] = {}
    clients = sorted({client for client, _ in pairs}, key=natural)
    for client in [*clients[:MAX_CLIENTS], *([OTHERS] if len(clients) > MAX_CLIENTS else [])]:
        rows[client] = [0] * width
    for (client, server), count in pairs.items():
        column = width - 1 if server is None else columns.get(server, len(shown))
        rows[client if client in rows else OTHERS][column] += count
    return Matrix(
        servers=(*shown, *([OTHERS] if others else [])),
        rows=tuple((client, tuple(row)) for client, row in rows.items()),
        peak=max(max(row) for row in rows.values()),
    )


def natural(name: str) -> tuple[str, int, str]:
    """Sort key: h2 before h10."""
    head = name.rstrip("0123456789")
    digits = name[len(head) :]
    return (head, int(digits) if digits.isascii() and 0 < len(digits) < 19 else -1, name)


def _timeline(run: Run, names: Sequence[str]) -> Timeline | None:
    if not run.requests:
        return None
    first, last = run.requests[0].time, run.requests[-1].time
    events = _events(run)
    span = max(last - first, *(event.at for event in events), 0.001) if events else max(last - first, 0.001)
    width = nice_step(span / max(12, min(MAX_SLICES, len(run.requests) // 4)))
    shown = names[:COLOURS]
    series = (*shown, *([OTHERS] if len(names) > len(shown) else []))
    places = {name: index for index, name in enumerate(shown)}
    slices = [[0] * (len(series) + 1) for _ in range(int(span / width) + 1)]
    for request in run.requests:
        place = places.get(request.server or "", len(series) - 1) if request.ok and request.server else len(series)
        slices[min(int((request.time - first) / width), len(slices) - 1)][place] += 1
    return Timeline(width=width, series=series, slices=tuple(tuple(counts) for counts in slices), events=events)


def _events(run: Run) -> tuple[Event, ...]:
    """What was done besides loading. Steps count from the run's start, and the first request from its load step."""
    steps = [
        (str(pick(step, "what") or "step"), began)
        for step in items(run.result.steps)
        if (began := number(step, "started_s")) is not None
    ]
    if not steps:
        return ()
    zero = next((began for what, began in steps if is_load(what)), steps[0][1])
    return tuple(Event(at=max(0.0, began - zero), what=what) for what, began in steps if not is_load(what))[:40]


def is_load(what: str) -> bool:
    return what.lower().startswith("load")


def nice_step(raw: float) -> float:
    """The next of 1, 2, 5 times 10^n that is at least `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= raw * 0.999999), 10 * power)


def _times(requests: Iterable[Request], phase: str) -> list[float]:
    """Of answered requests only: a time-out says how patient the client was, not how fast the service is."""
    if phase == "connect":
        return sorted(request.connect_ms for request in requests if request.ok and request.connect_ms is not None)
    return sorted(request.total_ms for request in requests if request.ok)


def _total_times(requests: Iterable[Request], names: Sequence[str]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in names}
    for request in requests:
        if request.ok and request.server in found:
            found[request.server].append(request.total_ms)
    return {name: sorted(values) for name, values in found.items()}


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The smallest value that `percent` of all are at most; None of no values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def _latency_row(run: Run, phase: str, values: Sequence[float]) -> LatencyRow:
    """The result's own percentiles, so that page and result agree; what it lacks is computed from the requests."""

    def of(percent: int) -> float | None:
        given = number(run.result.latency_ms, phase, f"p{percent}")
        return percentile(values, percent) if given is None else given

    return LatencyRow(
        phase=phase, count=len(values), p50=of(50), p95=of(95), p99=of(99), worst=values[-1] if values else None
    )


def _curve(phase: str, ordered: Sequence[float]) -> Curve:
    """At most CURVE_POINTS points, more of them near the top, where the tail is."""
    count = len(ordered)
    if count <= CURVE_POINTS:
        fractions = [(i + 1) / count for i in range(count)]
    else:
        fractions = sorted({1 - (1 - i / CURVE_POINTS) ** 1.5 for i in range(1, CURVE_POINTS + 1)})
    points = [(ordered[max(0, math.ceil(part * count) - 1)], part) for part in fractions]
    return Curve(phase=phase, points=((ordered[0], 0.0), *points))


def _failures(requests: Sequence[Request]) -> Failures:
    failed = [request for request in requests if not request.ok]
    first = requests[0].time if requests else 0.0
    errors = Counter((request.error or "")[:300] for request in failed)
    return Failures(
        count=len(failed),
        first=tuple(
            Failure(
                at=request.time - first,
                client=request.client,
                port=request.local_port,
                server=request.server,
                status=request.status,
                error=(request.error or "")[:300],
            )
            for request in failed[:MAX_FAILURES]
        ),
        by_error=tuple(errors.most_common(5)),
    )
