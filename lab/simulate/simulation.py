"""All measurements of a simulation, one after the other, and what they found.

Rule: `Results` as JSON depends on the settings alone, but for a calibrated cost: the same options give the same file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Final

from lab.simulate import churn, controller, disruption, evenness, switch_rules
from lab.simulate.churn import Churn
from lab.simulate.controller import Load
from lab.simulate.disruption import Disruption, Resilience
from lab.simulate.evenness import Evenness, TableEvenness
from lab.simulate.fleet import Advance, PolicyMaker
from lab.simulate.progress import Progress
from lab.simulate.published import PUBLISHED
from lab.simulate.settings import Settings
from lab.simulate.switch_rules import TRAFFIC, Rules

SCHEMA: Final = "balance-lab/simulate/1"
LEAST_PER_STRETCH: Final = 20  # flows of a server between two changes of the pool
RULE_FLOWS: Final = (2_000, 50_000)  # connections simulated per time-out, least and most
WAITS: Final = 200_000  # connections simulated per arrival rate, at most
# µs a flow or a place, about, so that the progress is even
PICK, CALL, CHURN_FLOW, TABLE_PLACE, WAIT, RULE_FLOW = 0.6, 4.0, 6.0, 3.0, 0.6, 150.0


@dataclass(kw_only=True, slots=True)
class Results:
    settings: Settings
    cpu_us: float = 0.0
    evenness: list[Evenness] = field(default_factory=list)
    tables: list[TableEvenness] = field(default_factory=list)
    disruption: list[Disruption] = field(default_factory=list)
    failures: list[Resilience] = field(default_factory=list)
    churn: list[Churn] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)  # at the rates asked for
    curve: list[Load] = field(default_factory=list)
    rules: list[Rules] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        s = self.settings
        return {
            "schema": SCHEMA,
            "settings": {**asdict(s), "policies": [maker.name for maker in s.policies]},
            "evenness": [asdict(e) for e in self.evenness],
            "tables": [asdict(t) for t in self.tables],
            "disruption": [asdict(d) for d in self.disruption],
            "failures": [asdict(f) for f in self.failures],
            "churn": [asdict(c) for c in self.churn],
            "controller": {
                "cpu_us": self.cpu_us,
                "cpu_us_from": "calibration" if s.cpu_us is None else "option",
                "loads": [asdict(load) for load in self.loads],
                "curve": [asdict(load) for load in self.curve],
            },
            "rules": {
                "traffic": asdict(TRAFFIC),
                "timeouts": [asdict(r) for r in self.rules],
                "at_rates": [
                    {"rate": rate, "idle_timeout_s": r.idle_timeout_s, "rules": rate * r.lifetime_expected_s}
                    for r in self.rules
                    for rate in s.rates
                ],
            },
            "published": [asdict(p) for p in PUBLISHED],
        }


@dataclass(frozen=True, slots=True)
class _Task:
    title: str
    weight: float  # µs, about
    work: Callable[[Advance], None]


def simulate(settings: Settings, stream: IO[str] | None = None) -> Results:
    """Everything; minutes for ten million flows. `stream`: for the progress."""
    results = Results(settings=settings, cpu_us=settings.cpu_us or 0.0)
    tasks = list(_tasks(results))
    with Progress(sum(task.weight for task in tasks), stream) as progress:
        for task in tasks:
            progress.task(task.title, task.weight, task.work)
    return results


def churn_servers(settings: Settings) -> int:
    """The largest pool in which servers get enough flows between two changes, else the smallest."""
    per_stretch = churn_flows(settings) / churn.STRETCHES
    enough = [count for count in settings.servers if count * LEAST_PER_STRETCH <= per_stretch]
    return max(enough, default=settings.servers[0])


def churn_flows(settings: Settings) -> int:
    """Of each policy: all flows in all."""
    return settings.flows // len(settings.policies)


def _tasks(results: Results) -> Iterator[_Task]:
    if results.settings.cpu_us is None:
        yield _Task("calibration", 1e6, functools.partial(_calibrate, results))
    for count in results.settings.servers:
        for maker in results.settings.policies:
            yield from _policy_tasks(results, maker, count)
        for size in results.settings.table_sizes:
            yield from _table_tasks(results, count, size)
    yield from _churn_tasks(results)
    yield from _switch_tasks(results)


def _calibrate(results: Results, advance: Advance) -> None:
    results.cpu_us = controller.calibrate(advance)


def _policy_tasks(results: Results, maker: PolicyMaker, count: int) -> Iterator[_Task]:
    s = results.settings
    flows, size, seed = s.flows, s.table_sizes[0], s.seed

    def even(advance: Advance) -> None:
        results.evenness.append(evenness.measure(maker, count, flows, size, seed, advance))

    def disrupt(advance: Advance) -> None:
        results.disruption.extend(disruption.measure(maker, count, flows, size, seed, advance))

    who = f"{maker.name}, {count:,} servers"
    yield _Task(f"evenness: {who}", flows * PICK, even)
    yield _Task(f"disruption: {who}", disruption.asked(flows) * CALL, disrupt)


def _table_tasks(results: Results, count: int, size: int) -> Iterator[_Task]:
    def table(advance: Advance) -> None:
        results.tables.append(evenness.measure_table(count, size))
        results.failures.extend(disruption.fail_at_once(count, size, results.settings.seed, advance))

    yield _Task(f"hash table of {size:,}, {count:,} servers", size * 6 * TABLE_PLACE, table)


def _churn_tasks(results: Results) -> Iterator[_Task]:
    s = results.settings
    count, flows = churn_servers(s), churn_flows(s)
    for maker in s.policies:

        def run(advance: Advance, maker: PolicyMaker = maker) -> None:
            results.churn.append(churn.measure(maker, count, flows, s.table_sizes[0], s.seed, advance))

        yield _Task(f"churn: {maker.name}, {count:,} servers", flows * CHURN_FLOW, run)


def _switch_tasks(results: Results) -> Iterator[_Task]:
    s = results.settings

    waits = min(s.flows // 4, WAITS)

    def load(advance: Advance) -> None:
        results.loads.extend(controller.load_at(rate, results.cpu_us, waits, s.seed) for rate in s.rates)
        results.curve.extend(controller.curve(results.cpu_us, waits, s.seed, advance))

    yield _Task("the controller's load", (len(s.rates) + len(controller.UTILISATIONS)) * waits * WAIT, load)
    flows = min(max(RULE_FLOWS[0], s.flows // 40), RULE_FLOWS[1])
    for timeout in s.timeouts:

        def rules(advance: Advance, timeout: int = timeout) -> None:
            results.rules.append(switch_rules.measure(timeout, flows, s.seed, advance))

        yield _Task(f"rules in the switch: time-out {timeout} s", flows * RULE_FLOW, rules)
