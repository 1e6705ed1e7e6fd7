"""The bench's part of the agent's HTTP API. Rule: it only reads bodies and answers; `bench.py` does the work."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from lab import wire, wire_bench
from lab.agent.agent import Agent
from lab.agent.commands import Job
from lab.agent.refusal import Refusal

T = TypeVar("T")
RunJob = Callable[[web.Request, Job], Awaitable[dict[str, Any]]]
InThread = Callable[..., Awaitable[Any]]


class BenchRoutes:
    """run_job: waits for a job, which ends when whoever asked is gone; in_thread: for what blocks."""

    def __init__(self, agent: Agent, run_job: RunJob, in_thread: InThread) -> None:
        self._agent, self._run_job, self._in_thread = agent, run_job, in_thread

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/bench/start", self._start),
            web.get("/bench/usage", self._usage),
            web.post("/bench/connections", self._connections),
            web.post("/bench/load", self._load),
            web.post("/bench/bulk", self._bulk),
        ]

    async def _start(self, request: web.Request) -> web.Response:
        wanted = await _read(request, wire_bench.Start)
        return web.json_response(await self._in_thread(self._agent.bench.start, self._agent.network(), wanted))

    async def _usage(self, _request: web.Request) -> web.Response:
        self._agent.network()
        return web.json_response(self._agent.bench.usage())

    async def _connections(self, request: web.Request) -> web.Response:
        wanted = await _read(request, wire_bench.Connections)
        return web.json_response(await self._in_thread(self._agent.bench.connections, self._agent.network(), wanted))

    async def _load(self, request: web.Request) -> web.Response:
        load = await _read(request, wire_bench.Load)
        job = await self._in_thread(self._agent.bench.load, self._agent.network(), load)
        return web.json_response(await self._run_job(request, job))

    async def _bulk(self, request: web.Request) -> web.Response:
        bulk = await _read(request, wire_bench.Bulk)
        return web.json_response(await self._run_job(request, self._agent.bench.bulk(self._agent.network(), bulk)))


async def _read(request: web.Request, kind: type[T]) -> T:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    return wire.decode(kind, body)
