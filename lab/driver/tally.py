"""Counts requests as they come in, for a round or for the whole run. Rule: it holds two numbers a request, no more."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from lab.driver.statistics import percentile
from lab.driver.verdict import PERCENTILES, Evidence
from lab.wire import Pings, Request


class Tally:
    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self.by_service: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.by_client: defaultdict[str, dict[str, set[str]]] = defaultdict(dict)  # service → client → its servers
        self.recovered_s: float | None = None
        self._returned: float | None = None
        self._connect_ms: list[float] = []
        self._total_ms: list[float] = []

    def add(self, service: str, request: Request) -> None:
        self.sent += 1
        if not request.ok:
            self.failed += 1
            return
        self._total_ms.append(request.total_ms)
        if request.connect_ms is not None:
            self._connect_ms.append(request.connect_ms)
        if request.connect_ms is not None or request.status is None:  # over UDP, each begins a flow
            self._note_recovery(request, request.connect_ms or 0.0)
        if request.server is not None:
            self.by_service[service][request.server] += 1
            self.by_client[service].setdefault(request.client, set()).add(request.server)

    def returned(self, moment: float | None) -> None:
        """At this Unix time controller or switch came back: how soon does a new connection succeed?"""
        self._returned, self.recovered_s = moment, None

    def _note_recovery(self, request: Request, connect_ms: float) -> None:
        """A connection that was there before has nothing to recover."""
        if self._returned is not None and request.time + connect_ms / 1000 > self._returned:
            ended = request.time + request.total_ms / 1000
            self.recovered_s = min(ended - self._returned, self.recovered_s or float("inf"))

    def evidence(
        self,
        weights: Mapping[str, Mapping[str, int]],
        server_hits: Mapping[str, int] | None,
        pings: Pings | None = None,
    ) -> Evidence:
        return Evidence(
            sent=self.sent,
            failed=self.failed,
            by_service=self.by_service,
            weights=weights,
            server_hits=server_hits,
            connect_ms=sorted(self._connect_ms),
            total_ms=sorted(self._total_ms),
            pings=pings,
            by_client=self.by_client,
            recovered_s=self.recovered_s,
        )


def latency_ms(evidence: Evidence) -> dict[str, dict[str, float | None]]:
    """{"connect": {"p50": …}, "total": …}, in ms to the microsecond; None where there is no answer."""
    return {
        phase: {f"p{percent}": _rounded(percentile(ordered, percent)) for percent in PERCENTILES}
        for phase, ordered in (("connect", evidence.connect_ms), ("total", evidence.total_ms))
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
