"""A small HTTP API: routes, a token in front of them, every refusal as {"error": "one sentence"}. Agent and supervisor
serve theirs by it.

A thread per connection, so handlers may block. The standard library alone: a web framework took a quarter of a second
of each of the two programs' starts, in every run. Rule: no request, however wrong, gets a traceback or goes unanswered.
"""

from __future__ import annotations

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
MAX_DIGITS = 20  # of a Content-Length that is looked at
IDLE_S = 75.0  # an open connection without a request is closed after this
LINGER_S = 1.0  # for which a refused request that is still being sent is let come to its end
BREATH_S = 0.05  # until the next try, where no connection can be taken
OPEN_PATHS = ("/health",)  # without the token
ANY, BELOW = "*", "*"  # any method; at the end of a path, it and all below it
JSON, TEXT = "application/json; charset=utf-8", "text/plain; charset=utf-8"
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
    """A request. `names` are the parts of its path that the route names; `target` the path as sent. Its body is read
    before a handler sees it."""

    def __init__(self, connection: socket.socket, method: str, target: str, headers: Message) -> None:
        self.method, self.target, self.headers, self.body = method, target, headers, b""
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
        self._closed = False

    def serve(self, listener: socket.socket) -> None:
        """From now on, in threads of its own; `listener` is owned."""
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener,), name="door", daemon=True).start()

    def close(self, patience_s: float) -> None:
        """Take no more requests; those that have come may get their answers within `patience_s`."""
        self._closed = True
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
            if self._closed:  # by a connection that was open before
                raise Wrong(503, "this program is about to end")
            return self._find(request)(request)
        except Exception as error:
            status, sentence = self._no(request, error)
            return json_answer({"error": sentence}, status)

    def answered(self) -> None:
        """The last byte of an answer has been sent, or never will be."""
        with self._idle:
            self._busy -= 1
            self._idle.notify_all()

    def ask_for_token(self, request: Request) -> None:
        """Raises Wrong. Before the body is read: nobody but who has the token fills our memory."""
        given = request.headers.get("Authorization", "").encode("latin-1")  # as it was decoded
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
            return error.status, f"{request.method} {request.path}: {error}"
        if known := self._refused(error):
            return known
        log.exception("%s %s failed", request.method, request.path)
        return 500, f"{request.method} {request.path} failed: {error!r:.300}"

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(BREATH_S)  # no room, which a connection that ends makes; or it has gone already
                continue
            try:
                threading.Thread(target=_converse, args=(connection, self), daemon=True).start()
            except RuntimeError:  # no room for a thread
                connection.close()


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
        method = "GET" if self.command == "HEAD" else self.command
        request = Request(self.connection, method, self.path, self.headers)
        try:
            self._door.ask_for_token(request)
            request.body = self._body(0 if request.path in OPEN_PATHS else MAX_BODY)
        except Wrong as error:
            self.send_error(error.status, str(error))
            return
        answer = self._door.answer(request)
        try:
            self._send(answer)
        finally:
            self._door.answered()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _answer

    def _body(self, most: int) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise Wrong(411, "send the body's Content-Length")
        length = ",".join(self.headers.get_all("Content-Length", ["0"]))  # two of them are no number
        if not (length.isascii() and length.isdigit()):
            raise Wrong(400, f"Content-Length {length!r:.40} is no number")
        if len(length) > MAX_DIGITS or int(length) > most:
            raise Wrong(413, f"a body may have {most} bytes, not {length:.{MAX_DIGITS}}")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Wrong(400, f"the body ended after {len(body)} of {length} bytes")
        return body

    def handle_expect_100(self) -> bool:
        """At once: whoever asks whether to send the body waits for it."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _send(self, answer: Answer) -> None:
        chunked = answer.stream is not None and self.request_version >= "HTTP/1.1"
        if answer.stream is not None and not chunked:
            self.close_connection = True  # which is then how the end of the stream is known
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.kind)
        if self.close_connection:
            self.send_header("Connection", "close")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.stream is None:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer, chunked)
        self.wfile.flush()

    def _send_body(self, answer: Answer, chunked: bool) -> None:
        if answer.stream is None:
            self.wfile.write(answer.body)
            return
        self.wfile.flush()
        with closing(answer.stream) as stream:
            for piece in stream:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n" if chunked else b"")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no HTTP request, or none that is read to its end: nothing can follow it on this connection."""
        self.close_connection = True
        self._send(json_answer({"error": message or explain or f"HTTP status {code}"}, code))
        self._linger()

    def _linger(self) -> None:
        """Closed with something unread, the connection would be reset: who still sends would never read the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_S)
        end = time.monotonic() + LINGER_S
        while time.monotonic() < end and self.connection.recv(65_536):
            pass

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads a line per request."""
