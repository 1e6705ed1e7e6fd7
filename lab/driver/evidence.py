"""Collects what a run shows, round by round and in all, and fills it into the result.

Rule: every request is counted twice, for its round and for the run, so that both can never tell two stories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lab.driver.scenario import LoadStep, Scenario
from lab.driver.tally import Tally, latency_ms
from lab.driver.verdict import Evidence, both_ends, judge
from lab.record import Expectation, Result
from lab.wire import Pings, Request

Status = Mapping[str, Any]  # of the controller, as the supervisor gives it
COUNTERS = ("packet_ins", "flow_mods", "packet_ins_total", "flow_mods_total")


@dataclass(kw_only=True)
class Round:
    """A load step that has been run, or is being run."""

    place: str  # of the step, as in `--set steps.0.load…`: 0, or 0.during.2
    step: LoadStep
    tally: Tally

    @property
    def outcome(self) -> str:
        sent, answered = self.tally.sent, self.tally.sent - self.tally.failed
        return f"{answered} of {sent} answered" + (f" ({100 * answered / sent:.1f} %)" if answered < sent else "")


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
        self._returned: float | None = None
        self._counting: Status | None = None  # the controller's status when it began to be counted
        self._counted: list[tuple[Status, Status]] = []  # of each controller that there was: first, last

    def begin_round(self, place: str, step: LoadStep) -> Round:
        self._rounds.append(Round(place=place, step=step, tally=Tally()))
        self._rounds[-1].tally.returned(self._returned)
        return self._rounds[-1]

    def add(self, running: Round, request: Request) -> None:
        for tally in (running.tally, self._whole):
            tally.add(running.step.service, request)

    def returned(self, moment: float) -> None:
        """Controller or switch came back at this Unix time."""
        self._returned = moment
        for tally in (self._whole, *(one.tally for one in self._rounds)):
            tally.returned(moment)

    def begin_counting(self, status: Status) -> None:
        """status: a controller's, before what is to be counted; without statistics it begins at 0."""
        self._counting = status

    def end_counting(self, status: Status) -> None:
        """status: the same controller's, after. One that was not begun with is none of ours, or dead already."""
        if self._counting is not None and status.get("running"):
            self._counted.append((self._counting, status))
        self._counting = None

    @property
    def whole(self) -> Evidence:
        seen = self._whole.evidence(self._weights, self.server_hits, self.pings)
        return replace(seen, memory_growth_mb=self._memory_growth_mb())

    def expectations(self) -> list[Expectation]:
        """Each round's own, then the whole run's, then that both ends agree."""
        found: list[Expectation] = []
        for one in self._rounds:
            if one.step.expect is not None:
                seen = one.tally.evidence(self._weights, None)
                found += judge(one.step.expect, seen, prefix=f"steps.{one.place}.")
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
        if self._counted:
            result.controller = {key: self._count(key) for key in COUNTERS}
            result.controller_memory_mb_growth = self._memory_growth_mb()

    def _count(self, key: str) -> int | None:
        parts = [_difference(key, first.get("statistics"), last.get("statistics")) for first, last in self._counted]
        return None if None in parts else sum(part or 0 for part in parts)

    def _memory_growth_mb(self) -> float | None:
        """Of the controller that grew most, from where it was counted first to its peak."""
        pairs = [(first.get("rss_mb"), last.get("rss_peak_mb")) for first, last in self._counted]
        grown = [round(peak - rss, 1) for rss, peak in pairs if rss is not None and peak is not None]
        return max(grown, default=None)

    def _whole_expect(self) -> Any:
        """A scenario that sends nothing isn't asked how many of its requests failed: that has a default."""
        expect = self._scenario.expect
        return expect if self._scenario.rounds else expect.model_copy(update={"failed": None})


def _difference(key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> int | None:
    """None where the engine can't tell, or began to count anew. One without a beginning began at 0."""
    first = 0 if before is None else before.get(key)
    last = (after or {}).get(key)
    if first is None or last is None or last < first:
        return None
    return int(last - first)
