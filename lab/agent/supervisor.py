"""The way to the controller's supervisor: /controller and all below it are handed on, word for word.

So whoever talks to the agent has one door, wherever the controller runs. Rule: nothing is understood here.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from lab import wire
from lab.agent.refusal import Refusal

PATIENCE_S = 60.0
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "server", "date")


class Supervisor:
    def __init__(self, host: str, token: str) -> None:
        self._where = f"{host}:{wire.SUPERVISOR_PORT}"
        self._token = token

    async def forward(self, request: web.Request) -> web.Response:
        """The supervisor's answer to `request`. Raises Refusal(502) when there is none, 504 when it takes too long."""
        headers = {"Authorization": f"Bearer {self._token}"}
        if "Content-Type" in request.headers:
            headers["Content-Type"] = request.headers["Content-Type"]
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
                session.request(
                    request.method,
                    f"http://{self._where}{request.path_qs}",
                    data=await request.read(),
                    headers=headers,
                    allow_redirects=False,
                ) as answer,
            ):
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)
        except aiohttp.ClientError:
            raise Refusal(502, f"the controller's supervisor doesn't answer at {self._where}") from None
        except asyncio.TimeoutError:
            raise Refusal(
                504, f"the controller's supervisor at {self._where} took longer than {PATIENCE_S:g} s"
            ) from None
