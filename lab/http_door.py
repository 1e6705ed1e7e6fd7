"""A small HTTP API: routes, a token in front of them, every refusal as {"error": "one sentence"}. Agent and supervisor
serve theirs by it.

A thread per connection, so handlers may block. The standard library alone: a web framework took a quarter of a second
of each of the two programs' starts, in every run. Rule: no request, however wrong, gets a traceback or goes unanswered.
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from email.message import Message

MAX_BODY = 10_000_000
IDLE_S = 75.0  # an open connection without a request is closed after this
OPEN_PATHS = ("/health",)  # without the token
ANY, BELOW = "*", "*"  # any method; at the end of a path, it and all below it
JSON, TEXT = "application/json; charset=utf-8", "text/plain; charset=utf-8"
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
log = logging.getLogger("lab.http")


class Answer:
    """What is sent back; with `stream` piece by piece as they come, and it is closed when the reader has gone."""

    def __init__(
        self, body: bytes = b"", kind: str = TEXT, status: int = 200, stream: Generator[bytes, None, None] | None = None
    ) -> None:
        self.body, self.kind, self.status, self.stream = body, kind, status, stream


def json_answer(data: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(data).encode(), JSON, status)


def text_answer(text: str) -> Answer:
    return Answer(text.encode())


class Wrong(Exception):
    """A request that no handler gets to see; `status` is HTTP's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Request:
    """A request, wholly read. `names` are the parts of its path that the route names; `target` the path as sent."""

    def __init__(self, connection: socket.socket, method: str, target: str, headers: Message, body: bytes) -> None:
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.path = target.partition("?")[0]
        self.names: dict[str, str] = {}
        self._connection = connection

    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        poll = select.poll()
        poll.register(self._connection, select.POLLRDHUP)
        return bool(poll.poll(0))


Handler = Callable[[Request], Answer]
Route = tuple[str, str, Handler]  # method; path, in which a {name} stands for any one part, and /* for all below
Refused = Callable[[Exception], "tuple[int, str] | None"]


class Door:
    """The API that `routes` make. refused: status and sentence of an exception that says no; None: it is a mistake."""

    def __init__(self, token: str, routes: Sequence[Route], refused: Refused) -> None:
        self._token = f"Bearer {token}".encode()
        self._routes = [(method, path.split("/"), handler) for method, path, handler in routes]
        self._refused = refused
        self._listeners: list[socket.socket] = []
        self._busy = 0
        self._idle = threading.Condition()

    def serve(self, listener: socket.socket) -> None:
        """From now on, in threads of its own; `listener` is owned."""
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener,), name="door", daemon=True).start()

    def close(self, patience_s: float) -> None:
        """Take no more requests; those that have come may get their answers within `patience_s`."""
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # ends the wait in `accept`, which closing alone doesn't
            listener.close()
        with self._idle:
            self._idle.wait_for(lambda: self._busy == 0, patience_s)

    def answer(self, request: Request) -> Answer:
        with self._idle:
            self._busy += 1
        try:
            self._ask_for_token(request)
            return self._find(request)(request)
        except Exception as error:
            status, sentence = self._no(request, error)
            return json_answer({"error": sentence}, status)

    def answered(self) -> None:
        """The last byte of an answer has been sent, or never will be."""
        with self._idle:
            self._busy -= 1
            self._idle.notify_all()

    def _ask_for_token(self, request: Request) -> None:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path not in OPEN_PATHS and not hmac.compare_digest(given, self._token):
            raise Wrong(401, "the lab's token is missing or wrong: send Authorization: Bearer <token>")

    def _find(self, request: Request) -> Handler:
        parts = request.path.split("/")
        allowed = False
        for method, pattern, handler in self._routes:
            names = _match(pattern, parts)
            if names is not None and method in (request.method, ANY):
                request.names = names
                return handler
            allowed = allowed or names is not None
        raise Wrong(405, "method not allowed") if allowed else Wrong(404, "not found")

    def _no(self, request: Request, error: Exception) -> tuple[int, str]:
        if isinstance(error, Wrong):
            where = "" if error.status == 401 else f"{request.method} {request.path}: "
            return error.status, f"{where}{error}"
        if known := self._refused(error):
            return known
        log.exception("%s %s failed", request.method, request.path)
        return 500, f"{request.method} {request.path} failed: {error!r:.300}"

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                if error.errno in FULL:  # a connection that ends makes room
                    time.sleep(0.05)
                    continue
                return  # closed
            threading.Thread(target=_converse, args=(connection, self), daemon=True).start()


def _converse(connection: socket.socket, door: Door) -> None:
    with connection:
        try:
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a line of a stream leaves at once
            _Conversation(connection, door)
        except OSError:
            return  # the other end has gone
        except Exception:
            log.exception("an answer broke off")


def _match(pattern: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    """The named parts of a path, where it fits."""
    if pattern[-1] == BELOW:
        pattern = pattern[:-1]
        parts = parts[: len(pattern)]
    if len(pattern) != len(parts):
        return None
    names: dict[str, str] = {}
    for wanted, part in zip(pattern, map(unquote, parts)):
        if wanted.startswith("{") and part:
            names[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return names


class _Conversation(BaseHTTPRequestHandler):
    """One connection, from its first request to its last."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    wbufsize = -1  # head and body leave together: the second of two small packets would wait for an acknowledgement

    def __init__(self, connection: socket.socket, door: Door) -> None:
        self._door = door
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]  # the server, which it never asks

    def _answer(self) -> None:
        try:
            body = self._body()
        except Wrong as error:
            self.send_error(error.status, str(error))
            return
        answer = self._door.answer(Request(self.connection, self.command, self.path, self.headers, body))
        try:
            self._send(answer)
        finally:
            self._door.answered()

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _answer

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise Wrong(411, "send the body's Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise Wrong(400, f"Content-Length {length!r:.40} is no number")
        if int(length) > MAX_BODY:
            raise Wrong(413, f"a body may have {MAX_BODY} bytes, not {length:.20}")
        return self.rfile.read(int(length))

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.kind)
        if answer.stream is None:
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            self.wfile.flush()
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        with closing(answer.stream) as stream:
            for piece in stream:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no HTTP request, or none that is read to its end: nothing can follow it on this connection."""
        self.close_connection = True
        self._send(json_answer({"error": message or explain or f"HTTP status {code}"}, code))

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads a line per request."""
