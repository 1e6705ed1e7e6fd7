"""The way to the controller's supervisor: /controller and all below it are handed on, word for word.

So whoever talks to the agent has one door, wherever the controller runs. Rule: nothing is understood here.
"""

from __future__ import annotations

import http.client
from contextlib import closing

from lab import wire
from lab.agent.refusal import Refusal
from lab.http_door import TEXT, Answer, Request

PATIENCE_S = 60.0


class Supervisor:
    def __init__(self, host: str, token: str) -> None:
        self._host = host
        self._token = token

    def forward(self, request: Request) -> Answer:
        """The supervisor's answer to `request`. Raises Refusal: 502 when there is none, 504 when it takes too
        long, 400 when it can't be asked so."""
        where = f"{self._host}:{wire.SUPERVISOR_PORT}"
        headers = {"Authorization": f"Bearer {self._token}", "Connection": "close"}
        if kind := request.headers.get("Content-Type"):
            headers["Content-Type"] = kind
        with closing(http.client.HTTPConnection(self._host, wire.SUPERVISOR_PORT, timeout=PATIENCE_S)) as connection:
            try:
                connection.request(request.method, request.target, request.body, headers)
                answer = connection.getresponse()
                return Answer(answer.read(), answer.headers.get("Content-Type", TEXT), answer.status)
            except TimeoutError:
                raise Refusal(
                    504, f"the controller's supervisor at {where} took longer than {PATIENCE_S:g} s"
                ) from None
            except (UnicodeEncodeError, http.client.InvalidURL):
                raise Refusal(400, "the path has characters that must be written as %XX") from None
            except (OSError, http.client.HTTPException):
                raise Refusal(502, f"the controller's supervisor doesn't answer at {where}") from None
