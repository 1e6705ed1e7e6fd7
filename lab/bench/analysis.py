"""From samples to results: medians with their spread, and ratios of measurements that stand together.

A machine's speed may double or halve within seconds. So each pass (one round at one concurrency) begins and ends with
the direct variant, a sample is divided by what direct would have done at that moment (between the two, by time), and a
pass in which direct itself drifted too far gives no ratios. Rule: pure functions of samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from lab.bench.record import BulkSample, Sample
from lab.bench.variants import DIRECT, REFERENCES
from lab.driver.statistics import percentile

DRIFT: Final = 1.5  # direct's fastest over its slowest in a pass, above which the pass gives no ratios


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` values."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """None: there is no value."""
    known = [value for value in values if value is not None]
    return Spread(median(known), min(known), max(known), len(known)) if known else None


@dataclass(frozen=True, slots=True)
class Point:
    """A speed at a time."""

    at_s: float
    speed: float


class Base:
    """What direct would have done at any moment of a pass."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = sorted(points, key=lambda point: point.at_s)

    @property
    def sure(self) -> bool:
        speeds = [point.speed for point in self._points]
        return bool(speeds) and min(speeds) > 0 and max(speeds) <= DRIFT * min(speeds)

    def ratio(self, point: Point) -> float | None:
        """None: not to be said."""
        return point.speed / self._at(point.at_s) if self.sure else None

    def _at(self, at_s: float) -> float:
        before = [point for point in self._points if point.at_s <= at_s]
        after = [point for point in self._points if point.at_s > at_s]
        if not before or not after:
            return (before or after)[-1 if before else 0].speed
        one, other = before[-1], after[0]
        part = (at_s - one.at_s) / (other.at_s - one.at_s)
        return one.speed + part * (other.speed - one.speed)


def results(samples: Sequence[Sample], variants: Sequence[str]) -> list[dict[str, Any]]:
    """A result per concurrency and variant, in this order."""
    ratios = _ratios([(s.variant, (s.round, s.concurrency), Point(s.at_s, s.per_s)) for s in samples if not s.stalls])
    found = []
    for concurrency in dict.fromkeys(sample.concurrency for sample in samples):
        for variant in variants:
            cell = [s for s in samples if (s.variant, s.concurrency) == (variant, concurrency)]
            if cell:
                found.append({**_result(cell), "ratio": _spreads(ratios, variant, concurrency)})
    return found


def bulk_results(samples: Sequence[BulkSample], variants: Sequence[str]) -> list[dict[str, Any]]:
    """A result per variant and direction."""
    points = [
        (s.variant, (s.round, s.direction), Point(s.at_s, s.bits_per_s)) for s in samples if s.bits_per_s is not None
    ]
    ratios = _ratios(points)
    found = []
    for variant in variants:
        for direction in dict.fromkeys(sample.direction for sample in samples):
            cell = [s for s in samples if (s.variant, s.direction) == (variant, direction)]
            if cell:
                found.append(
                    {
                        "variant": variant,
                        "direction": direction,
                        "bits_per_s": _plain(spread(s.bits_per_s for s in cell)),
                        "ratio": _spreads(ratios, variant, direction),
                        "failed": sum(s.bits_per_s is None for s in cell),
                    }
                )
    return found


def _result(cell: Sequence[Sample]) -> dict[str, Any]:
    """Of the sound samples; where there are none, of all, and `stalled` says so."""
    sound = [sample for sample in cell if not sample.stalls]
    used = sound or cell
    whole = sorted(ms for sample in used for ms in sample.whole_ms)
    programs = dict.fromkeys(name for sample in used for name in sample.cpu_s)
    return {
        "variant": cell[0].variant,
        "concurrency": cell[0].concurrency,
        "samples": len(cell),
        "sound": len(sound),
        "stalled": not sound,
        "stalls": sorted({sentence for sample in cell for sentence in sample.stalls}),
        "per_s": _plain(spread(s.per_s for s in used)),
        "mean_ms": _plain(spread(s.mean_ms for s in used)),
        "answer_ms": {p: _plain(spread(s.answer_ms[p] for s in used)) for p in ("p50", "p99")},
        "whole_ms": {"p50": percentile(whole, 50), "p99": percentile(whole, 99), "samples": len(whole)},
        "packet_ins_per_connection": _plain(spread(_per(s.packet_ins, s) for s in used)),
        "flow_mods_per_connection": _plain(spread(_per(s.flow_mods, s) for s in used)),
        "cpu_s_per_1000": {name: _plain(spread(_thousand(s.cpu_s.get(name), s) for s in used)) for name in programs},
        "memory_peak_mb": {name: max(s.memory_peak_mb.get(name, 0) for s in cell) for name in cell[0].memory_peak_mb},
        "errors": {kind: sum(sample.errors[kind] for sample in cell) for kind in cell[0].errors},
    }


def _per(count: int | None, sample: Sample) -> float | None:
    """Per connection that the servers' kernels accepted: the sampler's and the last, unfinished ones too."""
    total = sum(sample.accepted.values())
    return None if count is None or not total else count / total


def _thousand(seconds: float | None, sample: Sample) -> float | None:
    total = sum(sample.accepted.values())
    return None if seconds is None or not total else 1000 * seconds / total


Ratios = dict[tuple[str, Any], dict[int, float]]  # variant and pass's kind → round → ratio to direct


def _ratios(points: Sequence[tuple[str, tuple[int, Any], Point]]) -> Ratios:
    """points: variant, (round, kind), speed. A variant that is measured twice in a pass counts by its first."""
    bases: dict[tuple[int, Any], list[Point]] = {}
    for variant, where, point in points:
        if variant == DIRECT:
            bases.setdefault(where, []).append(point)
    found: Ratios = {}
    for variant, where, point in points:
        ratio = Base(bases.get(where, ())).ratio(point)
        if ratio is not None:
            found.setdefault((variant, where[1]), {}).setdefault(where[0], ratio)
    return found


def _spreads(ratios: Ratios, variant: str, kind: Any) -> dict[str, Any]:
    """The variant over each reference, in rounds where both were sound."""
    own = ratios.get((variant, kind), {})
    found = {}
    for reference in REFERENCES:
        others = ratios.get((reference, kind), {})
        found[reference] = _plain(spread(own[n] / others[n] for n in own if others.get(n)))
    return found


def _plain(found: Spread | None) -> dict[str, Any] | None:
    return None if found is None else {k: round(v, 5) for k, v in asdict(found).items()}
