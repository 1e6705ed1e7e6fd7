"""Collects what a run shows, round by round and in all, and fills it into the result.

Rule: a round's own figures are differences of the whole run's, so that both can never tell two stories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.driver.scenario import LoadStep, Scenario
from lab.driver.tally import Tally, latency_ms
from lab.driver.verdict import Evidence, both_ends, judge
from lab.record import Expectation, Result
from lab.wire import Pings, Request

COUNTERS = ("packet_ins", "flow_mods", "packet_ins_total", "flow_mods_total")


@dataclass(kw_only=True)
class Round:
    """A load step that has been run, or is being run."""

    number: int  # of the step, from 0, as in `--set steps.0.load…`
    step: LoadStep
    tally: Tally
    server_hits: dict[str, int] | None = None
    pings: Pings | None = None


class Evidences:
    """All that a run has shown so far."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._weights = scenario.servers
        self._whole = Tally()
        self._rounds: list[Round] = []
        self.server_hits: dict[str, int] | None = None  # of the whole run, as last read
        self.pings: Pings | None = None
        self.dropped = 0
        self._counters: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None

    def begin_round(self, number: int, step: LoadStep) -> Round:
        self._rounds.append(Round(number=number, step=step, tally=Tally()))
        return self._rounds[-1]

    def add(self, request: Request) -> None:
        running = self._rounds[-1]
        running.tally.add(running.step.service, request)
        self._whole.add(running.step.service, request)

    def end_round(self, server_hits: dict[str, int]) -> None:
        before = self.server_hits or {}
        self._rounds[-1].server_hits = {host: count - before.get(host, 0) for host, count in server_hits.items()}
        self.server_hits = server_hits

    def set_counters(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self._counters = (before, after)

    @property
    def whole(self) -> Evidence:
        return self._whole.evidence(self._weights, self.server_hits, self.pings)

    def expectations(self) -> list[Expectation]:
        """Each round's own, then the whole run's, then that both ends agree."""
        found: list[Expectation] = []
        for one in self._rounds:
            if one.step.expect is not None:
                seen = one.tally.evidence(self._weights, one.server_hits, one.pings)
                found += judge(one.step.expect, seen, prefix=f"steps.{one.number}.")
        found += judge(self._whole_expect(), self.whole)
        return [*found, both_ends(self.whole)] if self._scenario.rounds else found

    def fill(self, result: Result) -> None:
        """Every figure of the result that stands on evidence."""
        whole = self.whole
        result.requests = {"sent": whole.sent, "ok": whole.ok, "failed": whole.failed}
        own = whole.server_hits
        hosts = [*whole.hits, *(host for host in own or {} if host not in whole.hits)]
        result.hits = {
            host: {"client": whole.hits.get(host, 0), "server": None if own is None else own.get(host, 0)}
            for host in hosts
        }
        result.services = {
            name: {
                "policy": self._scenario.policies[name],
                "hits": {**dict.fromkeys(pool, 0), **whole.by_service.get(name, {})},
            }
            for name, pool in self._weights.items()
        }
        result.latency_ms = latency_ms(whole)
        result.dropped = self.dropped
        result.pingall_loss = self.pings.loss_percent if self.pings else None
        if self._counters:
            result.controller = {key: _difference(key, *self._counters) for key in COUNTERS}

    def _whole_expect(self) -> Any:
        """A scenario that sends nothing isn't asked how many of its requests failed: that has a default."""
        expect = self._scenario.expect
        return expect if self._scenario.rounds else expect.model_copy(update={"failed": None})


def _difference(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    """None where the engine can't tell, or began to count anew."""
    first, last = before.get(key), after.get(key)
    if first is None or last is None or last < first:
        return None
    return int(last - first)
