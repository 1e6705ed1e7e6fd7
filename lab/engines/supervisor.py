"""The supervisor: starts, kills and restarts the engine, and answers for it over HTTP.

The same program in both backends (`python3 -m lab.engines.supervisor`). The engine is its child and writes to
controller.log; the supervisor tells what runs, asks the engine's control socket for statistics, and hands out the log.
Settings come by environment: LAB_TOKEN (bearer), LAB_SUPERVISOR_HOST, LAB_OPENFLOW_HOST (where to listen; 127.0.0.1),
LAB_STATE (folder), POX_HOME (POX's folder, if there is one), LAB_AUTOSTART=1 (start the tutorial's controller at once).
Rule: no decision about balancing; a wrong request gets 4xx and a sentence, a dead engine 502 and its last words.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lab import wire
from lab.engines import control
from lab.engines.process import Engine, EngineError, MissingEngine
from lab.http_door import Answer, Door, Request, Route, json_answer, text_answer

log = logging.getLogger("supervisor")
REFUSALS: Final = {"unknown": 404, "conflict": 409, "wrong": 400}  # by control.Refused.kind
END_S: Final = 1.0  # for the last answers, when the supervisor ends
POOL_ACTIONS: Final[Mapping[str, type | None]] = {  # and what each is told
    "add": wire.NewServer,
    "drain": None,
    "enable": None,
    "remove": None,
    "weight": wire.Weight,
}


def refused(error: Exception) -> tuple[int, str] | None:
    """Status and sentence of what says no."""
    if isinstance(error, MissingEngine):
        return 409, str(error)
    if isinstance(error, control.Refused):
        return REFUSALS.get(error.kind, 400), str(error)
    if isinstance(error, (EngineError, control.ControlError)):
        return 502, str(error)
    if isinstance(error, ValueError):
        return 400, str(error)
    if isinstance(error, OSError):  # no disk, no process: the user's machine, not a bug
        log.error("that can't be done", exc_info=error)
        return 500, f"the supervisor can't do that: {error}"
    return None


class Supervisor:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()  # one start or stop at a time
        self._ended = False

    def routes(self) -> list[Route]:
        return [
            ("GET", "/health", self._health),
            ("GET", "/controller", lambda _request: json_answer(self._engine.status())),
            ("PUT", "/controller", self._put),
            ("DELETE", "/controller", self._stop),
            ("POST", "/controller/start", self._restart),
            ("POST", "/controller/kill", self._kill),
            ("GET", "/controller/log", lambda _request: text_answer(self._engine.log_text())),
            ("GET", "/metrics", self._metrics),
            ("GET", "/controller/metrics", self._metrics),
            ("GET", "/controller/pool", lambda _request: json_answer(self._engine.pool("pool"))),
            ("POST", "/controller/pool/{service}/{server}/{action}", self._pool_change),
        ]

    def _health(self, _request: Request) -> Answer:
        return json_answer({"ok": True, "engine": self._engine.name, "listening": self._engine.listening()})

    def _put(self, request: Request) -> Answer:
        return json_answer(self.start(wire.decode(wire.Controller, _json(request))))

    def start(self, config: wire.Controller) -> dict[str, Any]:
        """Also for the start by itself."""
        with self._changing():
            return self._engine.start(config)

    def close(self) -> None:
        """End the engine, also one that is about to be started, and start none any more."""
        self._engine.stop()  # so that a start which waits for it gives up
        with self._changing():
            self._ended = True
            self._engine.stop()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            if self._ended:
                raise EngineError("the supervisor is about to end")
            yield

    def _restart(self, _request: Request) -> Answer:
        with self._changing():
            return json_answer(self._engine.restart())

    def _stop(self, _request: Request) -> Answer:
        with self._changing():
            self._engine.stop()
        return json_answer({})

    def _kill(self, request: Request) -> Answer:
        body = _json(request)
        if not isinstance(body, dict):
            raise ValueError('the body must be an object like {"signal": "KILL"}')
        name = body.get("signal", "KILL")
        number = getattr(signal, f"SIG{name}", None)
        if not isinstance(number, signal.Signals):
            raise ValueError(f"signal {name!r} isn't known; try KILL or TERM")
        self._engine.kill(number)
        return json_answer({})

    def _metrics(self, _request: Request) -> Answer:
        from lab.engines import metrics  # a tenth of the supervisor's whole start, for what few ask

        return Answer(metrics.render(self._status_or_none()), metrics.CONTENT_TYPE)

    def _status_or_none(self) -> dict[str, Any]:
        """The status, without statistics where the engine doesn't answer."""
        try:
            return self._engine.status()
        except control.ControlError:
            return {"statistics": None}

    def _pool_change(self, request: Request) -> Answer:
        """POST …/{service}/{server}/{action}; the answer is how the server stands now."""
        names = dict(request.names)
        action = names.pop("action")
        if action not in POOL_ACTIONS:
            raise ValueError(f"unknown action {action!r}; known: {', '.join(POOL_ACTIONS)}")
        kind = POOL_ACTIONS[action]
        given = {} if kind is None else wire.encode(wire.decode(kind, _json(request)))
        return json_answer(self._engine.pool(f"pool_{action}", **names, **given))


def _json(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body isn't JSON: {error}") from None


def run() -> None:
    """Serve until SIGTERM or SIGINT."""
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # what has a lock, as an Event, may hang in a handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.put(None))
    supervisor = Supervisor(Engine.from_environment())
    door = Door(os.environ["LAB_TOKEN"], supervisor.routes(), refused)
    host = os.environ.get("LAB_SUPERVISOR_HOST", "127.0.0.1")
    door.serve(socket.create_server((host, wire.SUPERVISOR_PORT), backlog=128))
    if os.environ.get("LAB_AUTOSTART") == "1":
        threading.Thread(target=_start_default, args=(supervisor,), daemon=True).start()
    ended.get()
    supervisor.close()
    door.close(END_S)


def _start_default(supervisor: Supervisor) -> None:
    """Start the tutorial's controller. One that doesn't start is told in its log, and the health check sees it."""
    with contextlib.suppress(EngineError):
        supervisor.start(wire.default_controller())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if not os.environ.get("LAB_TOKEN"):
        raise SystemExit("supervisor: LAB_TOKEN is not set; it is the password of this API")
    run()
