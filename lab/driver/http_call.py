"""One HTTP call to 127.0.0.1, by the standard library: JSON out, an answer whose lines can be read as they come.

An agent answers on the same machine, so neither a pool of connections nor anything else of a larger library is needed,
and importing one took a tenth of a second of each run. Rule: all that can go wrong on the way is CallError or Silent;
no proxy is ever asked, whatever the environment says.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

PIECE: Final = 1 << 16  # bytes read at a time


class CallError(Exception):
    """The other end can't be reached, or broke off."""


class Silent(CallError):
    """It said nothing for too long."""


class Answer:
    """A response; to be closed, which ends the connection. `status` is HTTP's."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    @property
    def text(self) -> str:
        """All of it."""
        return b"".join(self._pieces()).decode("utf-8", "replace")

    def json(self) -> Any:
        """None where it is no JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def lines(self) -> Iterator[bytes]:
        """Each line as soon as it has come, without its end."""
        rest = b""
        for piece in self._pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def _pieces(self) -> Iterator[bytes]:
        """What is there, as it comes."""
        try:
            while piece := self._response.read1(PIECE):
                yield piece
        except TimeoutError as error:
            raise Silent(str(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a chunk's size that is none
            raise CallError(str(error)) from None


def call(
    address: tuple[str, int],
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Any = None,
    *,
    connect_s: float,
    timeout_s: float,
) -> Answer:
    """`body` is sent as JSON; None: nothing. timeout_s: of silence, also while the answer is read."""
    connection = http.client.HTTPConnection(*address, timeout=min(connect_s, timeout_s))
    data = None if body is None else json.dumps(body).encode()
    kind = {} if data is None else {"Content-Type": "application/json"}
    try:
        connection.connect()
        connection.sock.settimeout(timeout_s)
        connection.request(method, path, data, {**headers, **kind, "Connection": "close"})
        return Answer(connection, connection.getresponse())
    except TimeoutError as error:
        connection.close()
        raise Silent(str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise CallError(str(error)) from None
    except BaseException:
        connection.close()
        raise
