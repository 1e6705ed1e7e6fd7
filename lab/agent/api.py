"""The agent's HTTP API: its routes, and what each does with a body.

A request has a thread of its own and may block. What touches Mininet is done in one thread, one thing after the other;
loads, pings and commands beside it and beside each other. Rule: whatever is wrong with a request is a Refusal.
"""

from __future__ import annotations

import json
import logging
import queue
import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from lab import wire
from lab.agent import checks, floods
from lab.agent.agent import Agent
from lab.agent.bench.routes import BenchRoutes
from lab.agent.clients import Outcome, Run
from lab.agent.commands import Job
from lab.agent.refusal import Refusal
from lab.agent.supervisor import Supervisor
from lab.http_door import ANY, Answer, Door, Request, json_answer, text_answer

T = TypeVar("T")

THREADS = 64  # loads and commands at a time
LOOK_S = 0.2  # how often a silent stream looks whether its reader is still there
END_S = 1.0  # for the last answers, when the agent ends
ABOUT = """balance-lab's agent, beside Mininet. Authorization: Bearer <token> is asked for, except by /health.
PUT /network, POST /network/connect, GET /network, DELETE /network; POST /load, /flood, /link, /server,
/switch/restart, /pingall, /exec;
POST /bench/start, /bench/connections, /bench/load, /bench/bulk; GET /bench/usage;
GET /hits, DELETE /hits; GET /flows, /log; /controller… goes to the controller's supervisor.
"""
log = logging.getLogger("lab.agent")


def refused(error: Exception) -> tuple[int, str] | None:
    """Status and sentence of what says no."""
    if isinstance(error, Refusal):
        return error.status, str(error)
    return (400, str(error)) if isinstance(error, wire.WireError) else None


class Api:
    """The routes over an Agent."""

    def __init__(self, agent: Agent, supervisor: Supervisor, token: str, log_file: Path) -> None:
        self._agent = agent
        self._supervisor = supervisor
        self._log_file = log_file
        self._mininet = ThreadPoolExecutor(1, "mininet")
        self._beside = ThreadPoolExecutor(THREADS, "beside")
        self._building = threading.Lock()
        self._ending = threading.Event()
        self._door = Door(token, [*self._routes(), *BenchRoutes(agent, self._run).routes()], refused)

    def serve(self, listener: socket.socket) -> None:
        """From now on, also there."""
        self._door.serve(listener)

    def close(self) -> None:
        """End all that runs, and take the network down."""
        self._ending.set()
        self._agent.interrupt()
        self._door.close(END_S)
        self._one_by_one(self._agent.close)
        self._mininet.shutdown()
        self._beside.shutdown(wait=False)

    def _routes(self) -> list[tuple[str, str, Callable[[Request], Answer]]]:
        return [
            ("GET", "/", lambda _request: text_answer(ABOUT)),
            ("GET", "/health", self._health),
            ("PUT", "/network", self._put_network),
            ("GET", "/network", lambda _request: json_answer(self._agent.describe())),
            ("DELETE", "/network", self._delete_network),
            ("POST", "/network/connect", self._connect),
            ("POST", "/load", self._load),
            ("POST", "/link", self._link),
            ("POST", "/flood", self._flood),
            ("POST", "/server", self._server),
            ("POST", "/switch/restart", self._restart_switches),
            ("POST", "/pingall", lambda _request: json_answer(wire.encode(self._agent.ping_all()))),
            ("POST", "/exec", self._exec),
            ("GET", "/hits", lambda _request: json_answer(wire.encode(self._agent.hits()))),
            ("DELETE", "/hits", self._delete_hits),
            ("GET", "/flows", lambda _request: text_answer(self._agent.flows())),
            ("GET", "/log", lambda _request: text_answer(self._log_file.read_text(errors="replace"))),
            (ANY, "/controller/*", self._supervisor.forward),
        ]

    def _health(self, _request: Request) -> Answer:
        return json_answer({"ok": True, "network": self._agent.built})

    # The network

    def _put_network(self, request: Request) -> Answer:
        return json_answer(self.build(wire.decode(wire.Network, _body(request))))

    def build(self, network: wire.Network) -> dict[str, Any]:
        """Also for the start by itself. Raises Refusal(409) while another is being built."""
        if not self._building.acquire(blocking=False):
            raise Refusal(409, "a network is being built already")
        try:
            return self._one_by_one(self._agent.build, network)
        finally:
            self._building.release()

    def connect(self) -> None:
        self._agent.connect()

    def _delete_network(self, _request: Request) -> Answer:
        self._agent.network()
        self._agent.cancel_loads()
        self._one_by_one(self._agent.tear_down)
        return _done()

    def _connect(self, _request: Request) -> Answer:
        self.connect()
        return _done()

    def _link(self, request: Request) -> Answer:
        body = _object(request)
        checks.check_keys(body, ("host", "between", "state"))
        match body:
            case {"host": str(host), **more} if "between" not in more:
                self._one_by_one(self._agent.set_host_link, host, body.get("state"))
            case {"between": [str(one), str(other)], **more} if "host" not in more:
                self._one_by_one(self._agent.set_link, one, other, body.get("state"))
            case _:
                raise Refusal(400, 'a link is named by "host": "h2", or by "between": ["s1", "s2"]')
        return _done()

    # What a scenario does

    def _load(self, request: Request) -> Answer:
        """Stream a record per finished request; the run is over when the stream is, whoever ends it."""
        load = wire.decode(wire.Load, _body(request))
        said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        run = self._agent.new_load(load, said.put)
        return Answer(kind="application/x-ndjson", stream=self._lines(request, run, said))

    def _lines(self, request: Request, run: Run, said: queue.SimpleQueue[Any]) -> Generator[bytes, None, None]:
        """What a load says, until its outcome or until the reader is gone."""
        ended = self._beside.submit(_run, run, said.put)
        try:
            while not self._given_up(request):
                try:
                    messages = [said.get(timeout=LOOK_S)]
                except queue.Empty:
                    continue
                while not said.empty():
                    messages.append(said.get())
                yield b"".join(map(_line, messages))
                if not isinstance(messages[-1], wire.Request):
                    return
        finally:
            self._agent.end_load(run)
            ended.result()

    def _exec(self, request: Request) -> Answer:
        body = _object(request)
        checks.check_keys(body, ("host", "argv", "timeout_s"))
        timeout_s = body.get("timeout_s", 60)
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 86_400:
            raise Refusal(400, "timeout_s must be a number of seconds greater than 0")
        command = self._agent.command(str(body.get("host")), checks.check_argv(body.get("argv")), timeout_s)
        return json_answer(self._run(request, command))

    def _run(self, request: Request, job: Job) -> dict[str, Any]:
        """A job's result; it is cancelled when whoever asked for it is gone, or the agent ends."""
        running = self._beside.submit(job.run)
        try:
            while not wait([running], timeout=LOOK_S).done:
                if self._given_up(request):
                    break
        finally:
            job.cancel()
        return running.result()

    def _given_up(self, request: Request) -> bool:
        return self._ending.is_set() or request.gone()

    def _flood(self, request: Request) -> Answer:
        flood = wire.decode(wire.Flood, _body(request))
        return json_answer(floods.outcome(self._run(request, self._agent.flood(flood))))

    def _server(self, request: Request) -> Answer:
        body = _object(request)
        checks.check_keys(body, ("host", "action"))
        self._one_by_one(self._agent.set_servers, str(body.get("host")), body.get("action"))
        return _done()

    def _restart_switches(self, _request: Request) -> Answer:
        self._one_by_one(self._agent.restart_switches)
        return _done()

    def _delete_hits(self, _request: Request) -> Answer:
        self._agent.empty_hits()
        return _done()

    def _one_by_one(self, work: Callable[..., T], *args: object) -> T:
        """In Mininet's thread, to its end: a client that goes away leaves no half-built network."""
        return self._mininet.submit(work, *args).result()


def _run(run: Run, report: Callable[[object], None]) -> None:
    """Run a load in its thread; its last report is its outcome, or what broke it."""
    try:
        report(run.run())
    except Exception as error:
        log.exception("a load broke")
        report(error)


def _line(message: object) -> bytes:
    if isinstance(message, Outcome):
        data: Any = {"done": True, "sent": message.sent, "dropped": message.dropped}
    elif isinstance(message, Exception):
        data = {"error": f"the load broke: {message!r:.300}"}
    else:
        data = wire.encode(message)
    return json.dumps(data).encode() + b"\n"


def _done() -> Answer:
    return json_answer({"ok": True})


def _body(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None


def _object(request: Request) -> dict[str, Any]:
    body = _body(request)
    if not isinstance(body, dict):
        raise Refusal(400, f"the body should be an object, not {body!r:.40}")
    return body
