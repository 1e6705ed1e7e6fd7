"""The agent's HTTP API: its routes, the token in front of them, and errors as {"error": "one sentence"}.

Everything that blocks runs in threads: what touches Mininet in one thread, one thing after the other; loads, pings and
commands beside it and beside each other. Rule: no request, however wrong, gets a traceback or goes unanswered.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from lab import wire
from lab.agent import checks, floods
from lab.agent.agent import Agent
from lab.agent.bench.routes import BenchRoutes
from lab.agent.clients import Outcome, Run
from lab.agent.commands import Job
from lab.agent.refusal import Refusal
from lab.agent.supervisor import Supervisor

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN_PATHS = ("/health",)  # without the token
MAX_BODY = 10_000_000
THREADS = 64  # loads, commands and pings at a time
LOOK_S = 0.2  # how often a silent stream looks whether its reader is still there
ABOUT = """balance-lab's agent, beside Mininet. Authorization: Bearer <token> is asked for, except by /health.
PUT /network, POST /network/connect, GET /network, DELETE /network; POST /load, /flood, /link, /server,
/switch/restart, /pingall, /exec;
POST /bench/start, /bench/connections, /bench/load, /bench/bulk; GET /bench/usage;
GET /hits, DELETE /hits; GET /flows, /log; /controller… goes to the controller's supervisor.
"""
log = logging.getLogger("lab.agent")


async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost middleware: every refusal and every failure becomes JSON with one sentence."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _error(refusal.status, str(refusal))
    except wire.WireError as error:
        return _error(400, str(error))
    except web.HTTPException as error:
        return _error(error.status, f"{request.method} {request.path}: {error.reason.lower()}")
    except ConnectionError:
        raise  # the client is gone, nobody reads an answer
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return _error(500, f"the agent failed at {request.method} {request.path}: {error!r:.300}")


def _asking_for(token: str) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
    """Middleware: no token, no answer."""
    wanted = f"Bearer {token}".encode()

    async def ask(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path not in OPEN_PATHS and not hmac.compare_digest(given, wanted):
            return _error(401, "the lab's token is missing or wrong: send Authorization: Bearer <token>")
        return await handler(request)

    return ask


class Api:
    """The routes over an Agent."""

    def __init__(self, agent: Agent, supervisor: Supervisor, token: str, log_file: Path) -> None:
        self._agent = agent
        self._supervisor = supervisor
        self._token = token
        self._log_file = log_file
        self._mininet = ThreadPoolExecutor(1, "mininet")
        self._beside = ThreadPoolExecutor(THREADS, "beside")
        self._building = False

    def application(self) -> web.Application:
        middlewares = [web.middleware(_answer_errors), web.middleware(_asking_for(self._token))]
        app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/", self._about),
                web.get("/health", self._health),
                web.put("/network", self._put_network),
                web.get("/network", self._get_network),
                web.delete("/network", self._delete_network),
                web.post("/network/connect", self._connect),
                web.post("/load", self._load),
                web.post("/link", self._link),
                web.post("/flood", self._flood),
                web.post("/server", self._server),
                web.post("/switch/restart", self._restart_switches),
                web.post("/pingall", self._pingall),
                web.post("/exec", self._exec),
                web.get("/hits", self._get_hits),
                web.delete("/hits", self._delete_hits),
                web.get("/flows", self._flows),
                web.get("/log", self._log),
                web.route("*", "/controller", self._supervisor.forward),
                web.route("*", "/controller/{rest:.*}", self._supervisor.forward),
            ]
        )
        app.add_routes(BenchRoutes(self._agent, self._run, self._side_by_side).routes())
        app.on_shutdown.append(self._shut_down)
        app.on_cleanup.append(self._clean_up)
        return app

    # What this is

    async def _about(self, _request: web.Request) -> web.Response:
        return web.Response(text=ABOUT)

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "network": self._agent.built})

    async def _log(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._log_file.read_text(errors="replace"))

    # The network

    async def _put_network(self, request: web.Request) -> web.Response:
        network = wire.decode(wire.Network, await _body(request))
        return web.json_response(await self.build(network))

    async def build(self, network: wire.Network) -> dict[str, Any]:
        """Also for the start by itself. Raises Refusal(409) while another is being built."""
        if self._building:
            raise Refusal(409, "a network is being built already")
        self._building = True
        try:
            return await self._one_by_one(self._agent.build, network)
        finally:
            self._building = False

    async def connect(self) -> None:
        await self._side_by_side(self._agent.connect)

    async def _get_network(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._side_by_side(self._agent.describe))

    async def _delete_network(self, _request: web.Request) -> web.Response:
        self._agent.network()
        self._agent.cancel_loads()
        await self._one_by_one(self._agent.tear_down)
        return _done()

    async def _connect(self, _request: web.Request) -> web.Response:
        await self.connect()
        return _done()

    async def _link(self, request: web.Request) -> web.Response:
        body = await _object(request)
        checks.check_keys(body, ("host", "between", "state"))
        match body:
            case {"host": str(host), **more} if "between" not in more:
                await self._one_by_one(self._agent.set_host_link, host, body.get("state"))
            case {"between": [str(one), str(other)], **more} if "host" not in more:
                await self._one_by_one(self._agent.set_link, one, other, body.get("state"))
            case _:
                raise Refusal(400, 'a link is named by "host": "h2", or by "between": ["s1", "s2"]')
        return _done()

    # What a scenario does

    async def _load(self, request: web.Request) -> web.StreamResponse:
        """Stream a record per finished request; the run is over when the stream is, whoever ends it."""
        load = wire.decode(wire.Load, await _body(request))
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def report(message: object) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, message)

        run = self._agent.new_load(load, report)
        ended = loop.run_in_executor(self._beside, _run, run, report)
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            await _stream(request, response, queue)
            return response
        finally:
            self._agent.end_load(run)
            await asyncio.shield(ended)

    async def _pingall(self, _request: web.Request) -> web.Response:
        return web.json_response(wire.encode(await self._side_by_side(self._agent.ping_all)))

    async def _exec(self, request: web.Request) -> web.Response:
        body = await _object(request)
        checks.check_keys(body, ("host", "argv", "timeout_s"))
        timeout_s = body.get("timeout_s", 60)
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 86_400:
            raise Refusal(400, "timeout_s must be a number of seconds greater than 0")
        command = self._agent.command(str(body.get("host")), checks.check_argv(body.get("argv")), timeout_s)
        return web.json_response(await self._run(request, command))

    async def _run(self, request: web.Request, job: Job) -> dict[str, Any]:
        """A job's result; it is cancelled when whoever asked for it is gone."""
        running = asyncio.ensure_future(self._side_by_side(job.run))
        try:
            while not (await asyncio.wait([running], timeout=LOOK_S))[0]:
                if _gone(request):
                    break
        finally:
            job.cancel()
        return await running

    async def _flood(self, request: web.Request) -> web.Response:
        flood = wire.decode(wire.Flood, await _body(request))
        result = await self._run(request, self._agent.flood(flood))
        return web.json_response(floods.outcome(result))

    async def _server(self, request: web.Request) -> web.Response:
        body = await _object(request)
        checks.check_keys(body, ("host", "action"))
        await self._one_by_one(self._agent.set_servers, str(body.get("host")), body.get("action"))
        return _done()

    async def _restart_switches(self, _request: web.Request) -> web.Response:
        await self._one_by_one(self._agent.restart_switches)
        return _done()

    async def _get_hits(self, _request: web.Request) -> web.Response:
        return web.json_response(wire.encode(await self._side_by_side(self._agent.hits)))

    async def _delete_hits(self, _request: web.Request) -> web.Response:
        await self._side_by_side(self._agent.empty_hits)
        return _done()

    async def _flows(self, _request: web.Request) -> web.Response:
        return web.Response(text=await self._side_by_side(self._agent.flows))

    # Threads

    async def _one_by_one(self, work: Callable[..., T], *args: object) -> T:
        """In Mininet's thread. Shielded: a client that goes away leaves no half-built network."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._mininet, work, *args))

    async def _side_by_side(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._beside, work, *args)

    async def _shut_down(self, _app: web.Application) -> None:
        self._agent.interrupt()

    async def _clean_up(self, _app: web.Application) -> None:
        await self._one_by_one(self._agent.close)
        self._mininet.shutdown()
        self._beside.shutdown(wait=False)


def _run(run: Run, report: Callable[[object], None]) -> None:
    """Run a load in its thread; its last report is its outcome, or what broke it."""
    try:
        report(run.run())
    except Exception as error:
        log.exception("a load broke")
        report(error)


async def _stream(request: web.Request, response: web.StreamResponse, queue: asyncio.Queue[Any]) -> None:
    """Write what comes from the queue until the load's outcome, or until the reader is gone."""
    while not _gone(request):
        try:
            messages = [await asyncio.wait_for(queue.get(), LOOK_S)]
        except asyncio.TimeoutError:
            continue
        while not queue.empty():
            messages.append(queue.get_nowait())
        await response.write(b"".join(map(_line, messages)))
        if not isinstance(messages[-1], wire.Request):
            await response.write_eof()
            return


def _line(message: object) -> bytes:
    if isinstance(message, Outcome):
        data: Any = {"done": True, "sent": message.sent, "dropped": message.dropped}
    elif isinstance(message, Exception):
        data = {"error": f"the load broke: {message!r:.300}"}
    else:
        data = wire.encode(message)
    return json.dumps(data).encode() + b"\n"


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def _done() -> web.Response:
    return web.json_response({"ok": True})


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None


async def _object(request: web.Request) -> dict[str, Any]:
    body = await _body(request)
    if not isinstance(body, dict):
        raise Refusal(400, f"the body should be an object, not {body!r:.40}")
    return body
