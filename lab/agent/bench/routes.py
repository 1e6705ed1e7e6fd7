"""The bench's part of the agent's HTTP API. Rule: it only reads bodies and answers; `bench.py` does the work."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lab import wire
from lab.agent.agent import Agent
from lab.agent.commands import Job
from lab.agent.refusal import Refusal
from lab.http_door import Answer, Request, Route, json_answer

RunJob = Callable[[Request, Job], dict[str, Any]]


class BenchRoutes:
    """run_job: waits for a job, which ends when whoever asked is gone."""

    def __init__(self, agent: Agent, run_job: RunJob) -> None:
        self._agent, self._run_job = agent, run_job

    def routes(self) -> list[Route]:
        return [
            ("POST", "/bench/start", self._start),
            ("GET", "/bench/usage", self._usage),
            ("POST", "/bench/connections", self._connections),
            ("POST", "/bench/load", self._load),
            ("POST", "/bench/bulk", self._bulk),
        ]

    def _start(self, request: Request) -> Answer:
        wanted = _read(request, "Start")
        return json_answer(self._agent.bench.start(self._agent.network(), wanted))

    def _usage(self, _request: Request) -> Answer:
        self._agent.network()
        return json_answer(self._agent.bench.usage())

    def _connections(self, request: Request) -> Answer:
        wanted = _read(request, "Connections")
        return json_answer(self._agent.bench.connections(self._agent.network(), wanted))

    def _load(self, request: Request) -> Answer:
        load = _read(request, "Load")
        return json_answer(self._run_job(request, self._agent.bench.load(self._agent.network(), load)))

    def _bulk(self, request: Request) -> Answer:
        bulk = _read(request, "Bulk")
        return json_answer(self._run_job(request, self._agent.bench.bulk(self._agent.network(), bulk)))


def _read(request: Request, kind: str) -> Any:
    """The body, as the class of that name in `wire_bench`: imported here, since few labs are measured."""
    from lab import wire_bench

    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    return wire.decode(getattr(wire_bench, kind), body)
