"""A lab made of air: a small real HTTP server that speaks the agent's API, and a backend that "brings it up".

It balances in turn unless told otherwise; what goes wrong is set on it beforehand. The driver under test can't tell.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab import wire
from lab.driver.backends.base import Missing
from lab.driver.errors import LabError

TOKEN = "secret"
Refusal = tuple[int, str]


def pool_of(*names: str) -> dict[str, Any]:
    """A pool in which all is well, as the supervisor describes it."""
    well = {"weight": 1, "state": "up", "admin": "ready", "available": True, "hits": 20, "live": 0}
    servers = {name: {"ip": f"10.0.0.{name[1:]}", **well} for name in names}
    return {"ip": "10.0.1.1", "port": 80, "policy": "round_robin", "servers": servers}


class FakeAgent(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[str] = []
        self.bodies: dict[str, Any] = {}
        self.refuse: dict[str, Refusal] = {}  # "PUT /network" → status and sentence
        self.hits: dict[str, list[wire.Hit]] = {"h1": [], "h2": []}
        self.states = {"h1": "up", "h2": "up"}
        self.pools = {"web": pool_of("h1", "h2")}
        self.pings = wire.Pings(sent=30, received=30)
        self.counters: dict[str, int | None] = dict.fromkeys(("packet_ins", "flow_mods"), 7)
        self.exit_code: int | None = None
        self.restarted = 0  # times that the controller was started again
        self.connected = {"s1": True}
        self.tracker: bool | None = True
        self.hash: bool | None = True
        self.rss_mb, self.rss_peak_mb = 30.0, 31.0
        self.choose: Callable[[int], str] = lambda index: ("h1", "h2")[index % 2]
        self.fails: Callable[[int], bool] = lambda index: False
        self.fails_after_serving = False  # the server's log has it, the client never got the answer
        self.before_request: Callable[[int], None] = lambda index: None
        self.hang_at: int | None = None  # at this request the load goes silent until it is cancelled
        self.hanging = threading.Event()
        self.end_hang = threading.Event()
        self.break_off_at: int | None = None
        self.clock: Callable[[], float] | None = None  # of the requests; None: long ago
        self.extra_hits: dict[str, int] = {}  # in a server's log, from nobody
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.end_hang.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the driver hung up: that is what is tested

    def status(self) -> dict[str, Any]:
        servers = {name: {"state": state, "hits": 0} for name, state in self.states.items()}
        servers = {name: {**facts, "admin": "ready"} for name, facts in servers.items()}
        totals = {f"{name}_total": None if count is None else count + 5 for name, count in self.counters.items()}
        statistics = {"services": {"web": {"policy": "round_robin", "servers": servers}}, **self.counters, **totals}
        return {
            "running": self.exit_code is None,
            "engine": "osken",
            "exit_code": self.exit_code,
            "rss_mb": self.rss_mb,
            "rss_peak_mb": self.rss_peak_mb,
            "versions": {"os_ken": "2.5.0", "pox": None},
            "statistics": statistics if self.exit_code is None else None,
        }

    def change_pool(self, service: str, server: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """As the supervisor would, with one open connection on each server that is drained."""
        servers = self.pools[service]["servers"]
        now = servers.setdefault(server, {**pool_of("h1")["servers"]["h1"], "state": "unknown", "available": False})
        now.update(body)
        now.update({"drain": {"admin": "draining", "live": 1}, "enable": {"admin": "ready"}}.get(action, {}))
        return {"service": service, "name": server, **(servers.pop(server) if action == "remove" else now)}

    def serve_load(self, load: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for index in range(load["requests"]):
            if index == self.hang_at:
                self.hanging.set()
                self.end_hang.wait(30)
            if index == self.break_off_at:
                return
            self.before_request(index)
            yield wire.encode(self._request(index, load["clients"][index % len(load["clients"])]))
        for host, count in self.extra_hits.items():
            for _ in range(count):
                self._hit(host)
        yield {"done": True, "sent": load["requests"], "dropped": 0}

    def _request(self, index: int, client: str) -> wire.Request:
        server, failed = self.choose(index), self.fails(index)
        if not failed or self.fails_after_serving:
            self._hit(server)
        for name, count in self.counters.items():
            self.counters[name] = None if count is None else count + 1
        return wire.Request(
            time=1000.0 + index if self.clock is None else self.clock(),
            client=client,
            local_port=40000 + index,
            server=None if failed else server,
            status=None if failed else 200,
            connect_ms=None if failed else 1.0,
            total_ms=2.0,
            error="timed out" if failed else None,
        )

    def _hit(self, host: str) -> None:
        hit = wire.Hit(time=1.0, client_ip="10.0.0.3", client_port=1, path="/", status=200)
        self.hits.setdefault(host, []).append(hit)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer is 40 ms late
    server: FakeAgent

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        agent, call = self.server, f"{self.command} {self.path}"
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "the token is missing or wrong"}, 401)
        agent.calls.append(call)
        agent.bodies[call] = body
        if call in agent.refuse:
            status, sentence = agent.refuse[call]
            return self._json({"error": sentence}, status)
        return self._dispatch(agent, call, body)

    def _dispatch(self, agent: FakeAgent, call: str, body: Any) -> None:
        if call == "POST /load":
            return self._stream(agent, body)
        if call == "DELETE /hits":
            agent.hits = {host: [] for host in agent.hits}
        if call == "POST /link":
            agent.states[body["host"]] = body["state"]
        if call == "POST /server":
            agent.states[body["host"]] = "down" if body["action"] == "stop" else "up"
        if call in ("POST /controller/kill", "DELETE /controller"):
            agent.exit_code = -9 if call.startswith("POST") else 0
        if call == "POST /controller/start":
            agent.exit_code, agent.restarted = None, agent.restarted + 1
            agent.counters = dict.fromkeys(agent.counters, 0)
        texts = {
            "GET /controller/metrics": "balance_lab_controller_up 1.0\n",
            "GET /flows": "s1: a flow\n",
            "GET /log": "agent\n",
            "GET /controller/log": "it began\nlast word\n",
        }
        if call in texts:
            return self._send(200, texts[call].encode(), "text/plain")
        if call.startswith("POST /controller/pool/"):
            return self._json(agent.change_pool(*call.split("/")[3:], body or {}))
        answers: dict[str, Any] = {
            "PUT /network": {
                "datapath": "user",
                "tracker": agent.tracker,
                "hash": agent.hash,
                "versions": {"open_vswitch": "3.1.0", "mininet": "2.3.0"},
            },
            "PUT /controller": {"engine": (body or {}).get("engine"), "why": "", "versions": {"os_ken": "2.5.0"}},
            "GET /controller": agent.status(),
            "GET /controller/pool": {"services": agent.pools},
            "GET /network": {**wire.encode(wire.default_network()), "connected": agent.connected},
            "POST /flood": {"sent": (body or {}).get("syns"), "seconds": 0.5},
            "GET /hits": wire.encode(agent.hits),
            "POST /pingall": wire.encode(agent.pings),
            "POST /exec": {"exit_code": 7, "stdout": f"{body}\n", "stderr": ""},
        }
        return self._json(answers.get(call, {}))

    def _stream(self, agent: FakeAgent, load: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for item in agent.serve_load(load):
            line = json.dumps(item).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, data: Any, status: int = 200) -> None:
        self._send(status, json.dumps(data).encode(), "application/json")

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = _answer


class FakeLab:
    backend = "fake"

    def __init__(self, name: str, agent: FakeAgent) -> None:
        self.name, self.url, self.token = name, agent.url, TOKEN
        self.downs = 0
        self.dead = ""
        self.on_down: Callable[[], None] = lambda: None

    def alive(self) -> bool:
        return not self.dead and not self.downs

    def why_dead(self) -> str:
        return self.dead

    def logs(self) -> dict[str, str]:
        return {"agent.log": "the agent's words\n", "controller.log": "from the backend\n"}

    def down(self) -> None:
        self.on_down()
        self.downs += 1


class FakeBackend:
    name = "fake"

    def __init__(self, agent: FakeAgent) -> None:
        self.agent = agent
        self.gaps: list[Missing] = []
        self.refusal: LabError | None = None
        self.on_prepare: Callable[[], None] = lambda: None
        self.on_up: Callable[[], None] = lambda: None
        self.labs: list[FakeLab] = []
        self.lab_on_down: Callable[[], None] = lambda: None
        self.threads: list[threading.Thread] = []

    def missing(self) -> list[Missing]:
        return self.gaps

    def prepare(self, pox: Path | None) -> None:
        self.on_prepare()

    def up(self, name: str, pox: Path | None, keep: bool) -> FakeLab:
        self.threads.append(threading.current_thread())
        self.on_up()
        if self.refusal:
            raise self.refusal
        lab = FakeLab(name, self.agent)
        lab.on_down = self.lab_on_down
        self.labs.append(lab)
        return lab

    def attach(self, entry: Any) -> FakeLab:
        return self.labs[-1]
