"""The supervisor: starts, kills and restarts the engine, and answers for it over HTTP.

The same program in both backends (`python3 -m lab.engines.supervisor`). The engine is its child and writes to
controller.log; the supervisor tells what runs, asks the engine's control socket for statistics, and hands out the log.
Settings come by environment: LAB_TOKEN (bearer), LAB_SUPERVISOR_HOST, LAB_OPENFLOW_HOST (where to listen; 127.0.0.1),
LAB_STATE (folder), POX_HOME (POX's folder, if there is one), LAB_AUTOSTART=1 (start the tutorial's controller at once).
Rule: no decision about balancing; a wrong request gets 4xx and a sentence, a dead engine 502 and its last words.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from lab import wire
from lab.engines import control
from lab.engines.process import Engine, EngineError, MissingEngine

log = logging.getLogger("supervisor")
REFUSALS: Final = {"unknown": 404, "conflict": 409, "wrong": 400}  # by control.Refused.kind
POOL_ACTIONS: Final[Mapping[str, type | None]] = {  # and what each is told
    "add": wire.NewServer,
    "drain": None,
    "enable": None,
    "remove": None,
    "weight": wire.Weight,
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Supervisor:
    def __init__(self, token: str, engine: Engine) -> None:
        self._token = token
        self._engine = engine
        self._changing = asyncio.Lock()  # one start or stop at a time

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/health", self._health)
        app.router.add_get("/controller", self._status)
        app.router.add_put("/controller", self._put)
        app.router.add_delete("/controller", self._stop)
        app.router.add_post("/controller/start", self._restart)
        app.router.add_post("/controller/kill", self._kill)
        app.router.add_get("/controller/log", self._log)
        for path in ("/metrics", "/controller/metrics"):
            app.router.add_get(path, self._metrics)
        app.router.add_get("/controller/pool", self._pool)
        app.router.add_post("/controller/pool/{service}/{server}/{action}", self._pool_change)
        app.on_shutdown.append(self._shut_down)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The token first, then one sentence for whatever goes wrong."""
        given = request.headers.get("Authorization", "")
        if request.path != "/health" and not hmac.compare_digest(
            given.encode(errors="surrogateescape"), f"Bearer {self._token}".encode()
        ):
            return _error(401, "the token is missing or wrong")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _error(error.status, f"{request.method} {request.path}: {error.reason}")
        except MissingEngine as error:
            return _error(409, str(error))
        except control.Refused as error:
            return _error(REFUSALS.get(error.kind, 400), str(error))
        except (EngineError, control.ControlError) as error:
            return _error(502, str(error))
        except ValueError as error:
            return _error(400, str(error))
        except OSError as error:  # no disk, no process: the user's machine, not a bug
            log.exception("%s %s", request.method, request.path)
            return _error(500, f"the supervisor can't do that: {error}")

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "engine": self._engine.name, "listening": self._engine.listening()})

    async def _put(self, request: web.Request) -> web.Response:
        config = wire.decode(wire.Controller, await _json(request))
        async with self._changing:
            return web.json_response(await self._engine.start(config))

    async def _restart(self, request: web.Request) -> web.Response:
        async with self._changing:
            return web.json_response(await self._engine.restart())

    async def _stop(self, request: web.Request) -> web.Response:
        async with self._changing:
            await self._engine.stop()
        return web.json_response({})

    async def _kill(self, request: web.Request) -> web.Response:
        body = await _json(request)
        if not isinstance(body, dict):
            raise ValueError('the body must be an object like {"signal": "KILL"}')
        name = body.get("signal", "KILL")
        number = getattr(signal, f"SIG{name}", None)
        if not isinstance(number, signal.Signals):
            raise ValueError(f"signal {name!r} isn't known; try KILL or TERM")
        await self._engine.kill(number)
        return web.json_response({})

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(await self._engine.status())

    async def _log(self, request: web.Request) -> web.Response:
        return web.Response(text=self._engine.log_text())

    async def _metrics(self, request: web.Request) -> web.Response:
        from lab.engines import metrics  # a tenth of the supervisor's whole start, for what few ask

        body = metrics.render(await self._status_or_none())
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _status_or_none(self) -> dict[str, Any]:
        """The status, without statistics where the engine doesn't answer."""
        try:
            return await self._engine.status()
        except control.ControlError:
            return {"statistics": None}

    async def _pool(self, request: web.Request) -> web.Response:
        return web.json_response(await self._engine.pool("pool"))

    async def _pool_change(self, request: web.Request) -> web.Response:
        """POST …/{service}/{server}/{action}; the answer is how the server stands now."""
        names = dict(request.match_info)
        action = names.pop("action")
        if action not in POOL_ACTIONS:
            raise ValueError(f"unknown action {action!r}; known: {', '.join(POOL_ACTIONS)}")
        kind = POOL_ACTIONS[action]
        given = {} if kind is None else wire.encode(wire.decode(kind, await _json(request)))
        return web.json_response(await self._engine.pool(f"pool_{action}", **names, **given))

    async def _shut_down(self, app: web.Application) -> None:
        await self._engine.stop()


async def _json(request: web.Request) -> Any:
    try:
        return await request.json()
    except json.JSONDecodeError as error:
        raise ValueError(f"the body isn't JSON: {error}") from None


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


async def run() -> None:
    """Serve until SIGTERM or SIGINT."""
    engine = Engine.from_environment()
    app = Supervisor(os.environ.get("LAB_TOKEN", ""), engine).application()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host = os.environ.get("LAB_SUPERVISOR_HOST", "127.0.0.1")
    await web.TCPSite(runner, host, wire.SUPERVISOR_PORT).start()
    if os.environ.get("LAB_AUTOSTART") == "1":
        with contextlib.suppress(EngineError):  # it has logged its last words, and the health check sees it
            await engine.start(wire.default_controller())
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    await done.wait()
    await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if not os.environ.get("LAB_TOKEN"):
        raise SystemExit("supervisor: LAB_TOKEN is not set; it is the password of this API")
    asyncio.run(run())
