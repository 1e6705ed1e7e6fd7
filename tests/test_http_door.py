"""The small HTTP API that agent and supervisor serve theirs by: what it answers to requests of all kinds."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab.http_door import MAX_BODY, Answer, Door, Request, json_answer

TOKEN = "t\N{LATIN SMALL LETTER O WITH DIAERESIS}"
HEAD = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


class No(Exception):
    """What a handler says no by."""


class Rig:
    """A door on loopback; `closed` is set when the stream's handler has been told to end."""

    def __init__(self) -> None:
        self.closed, self.go_on = threading.Event(), threading.Event()
        routes = [
            ("GET", "/health", lambda _request: json_answer("well")),
            ("POST", "/echo", lambda request: Answer(request.body)),
            ("GET", "/pool/{service}/{server}", lambda request: json_answer(request.names)),
            ("*", "/below/*", lambda request: json_answer(request.target)),
            ("GET", "/no", self._say_no),
            ("GET", "/broken", lambda _request: json_answer(1 / 0)),
            ("GET", "/stream", lambda request: Answer(stream=self._stream(request))),
        ]
        self.door = Door(TOKEN, routes, lambda error: (409, str(error)) if isinstance(error, No) else None)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.door.serve(listener)

    def _say_no(self, _request: Request) -> Answer:
        raise No("not now")

    def _stream(self, request: Request) -> Generator[bytes, None, None]:
        try:
            yield b"first"
            while not self.go_on.wait(0.01):
                if request.gone():
                    return
            yield b"last"
        finally:
            self.closed.set()

    def say(self, text: bytes) -> socket.socket:
        connection = socket.create_connection(self.address, 10)
        connection.sendall(text)
        return connection

    def ask(self, first: str, head: bytes = HEAD, body: bytes = b"") -> tuple[int, object]:
        """Status and body of the answer to one request."""
        with self.say(first.encode() + b"\r\n" + head + b"Connection: close\r\n\r\n" + body) as connection:
            status, _, text = rest(connection).partition(b"\r\n\r\n")
        return int(status.split()[1]), json.loads(text)


def rest(connection: socket.socket) -> bytes:
    """All that still comes."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.go_on.set()
    rig.door.close(5)


def test_a_path_s_parts_are_read_and_what_lies_below_is_taken_whole(rig: Rig) -> None:
    assert rig.ask("GET /pool/a%2Fb/h%201 HTTP/1.1") == (200, {"service": "a/b", "server": "h 1"})
    for target in ("/below", "/below/", "/below/a%20b/c?d=e"):
        assert rig.ask(f"PATCH {target} HTTP/1.1") == (200, target)


@pytest.mark.parametrize(
    ("first", "status", "sentence"),
    [
        ("GET /nowhere HTTP/1.1", 404, "GET /nowhere: not found"),
        ("GET /pool/a HTTP/1.1", 404, "GET /pool/a: not found"),
        ("GET /pool//h1 HTTP/1.1", 404, "GET /pool//h1: not found"),
        ("GET /echo?a HTTP/1.1", 405, "GET /echo: method not allowed"),
        ("GET /no HTTP/1.1", 409, "not now"),
        ("GET /broken HTTP/1.1", 500, "GET /broken failed: ZeroDivisionError('division by zero')"),
        ("BREW /health HTTP/1.1", 501, "Unsupported method ('BREW')"),
    ],
)
def test_what_goes_wrong_is_a_status_and_a_sentence(rig: Rig, first: str, status: int, sentence: str) -> None:
    assert rig.ask(first) == (status, {"error": sentence})


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: many\r\n", 400),
        (b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        (b"Content-Length: %d\r\n" % (MAX_BODY + 1), 413),
        (b"Content-Length: %b\r\n" % (b"9" * 5000), 413),
        (b"Transfer-Encoding: chunked\r\n", 411),
    ],
)
def test_a_body_that_is_not_read_is_refused(rig: Rig, head: bytes, status: int) -> None:
    code, said = rig.ask("POST /echo HTTP/1.1", HEAD + head)
    assert (code, isinstance(said, dict) and list(said)) == (status, ["error"])


def test_a_refusal_reaches_whoever_sends_the_whole_body_first(rig: Rig) -> None:
    size = 4 * MAX_BODY
    status, _ = rig.ask("POST /echo HTTP/1.1", HEAD + b"Content-Length: %d\r\n" % size, bytes(size))
    assert status == 413


def test_a_body_that_breaks_off_is_refused(rig: Rig) -> None:
    with rig.say(b"POST /echo HTTP/1.1\r\n" + HEAD + b"Content-Length: 3\r\n\r\non") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert b"the body ended after 2 of 3 bytes" in rest(connection)


def test_a_body_is_waited_for_of_nobody_without_the_token(rig: Rig) -> None:
    for target in ("/echo", "/health"):
        with rig.say(f"POST {target} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n".encode()) as connection:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 4")


def test_who_asks_whether_to_send_a_body_is_told_to(rig: Rig) -> None:
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    with rig.say(b"POST /echo HTTP/1.1\r\n" + head) as connection:
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert rest(connection).endswith(b"\r\n\r\nabc")


def test_head_is_get_without_the_body(rig: Rig) -> None:
    with rig.say(b"HEAD /health HTTP/1.1\r\nConnection: close\r\n\r\n") as connection:
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"Content-Length: 6\r\n\r\n")


@pytest.mark.parametrize("text", [b"\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/9.x\r\n\r\n", b"\xff\xfe\r\n\r\n"])
def test_what_is_no_http_gets_no_traceback_and_the_door_stays_open(rig: Rig, text: bytes) -> None:
    with rig.say(text) as connection:
        connection.shutdown(socket.SHUT_WR)
        answer = rest(connection)
    assert b"Traceback" not in answer
    assert rig.ask("GET /health HTTP/1.1") == (200, "well")


def test_without_the_token_nothing_but_health_is_answered(rig: Rig) -> None:
    for head in (b"Host: x\r\n", b"Authorization: Bearer no\r\n", b"Authorization: Bearer \xff\r\n"):
        assert rig.ask("GET /health HTTP/1.1", head) == (200, "well")
        status, said = rig.ask("GET /broken HTTP/1.1", head)
        assert (status, "token" in str(said)) == (401, True)


def test_requests_follow_each_other_on_a_connection(rig: Rig) -> None:
    text = b"POST /echo HTTP/1.1\r\n" + HEAD + b"Content-Length: 3\r\n\r\n"
    with rig.say(text + b"one" + text + b"two") as connection, connection.makefile("rb") as lines:
        for body in (b"one", b"two"):
            assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
            while lines.readline() != b"\r\n":
                pass
            assert lines.read(3) == body


def test_a_stream_is_sent_as_it_comes_and_ends_when_its_reader_goes(rig: Rig) -> None:
    with rig.say(b"GET /stream HTTP/1.1\r\n" + HEAD + b"\r\n") as connection, connection.makefile("rb") as lines:
        while lines.readline() != b"5\r\n":
            pass
        assert lines.readline() == b"first\r\n"
        assert not rig.closed.is_set()
    assert rig.closed.wait(10)


def test_a_stream_has_no_chunks_for_who_doesn_t_know_them(rig: Rig) -> None:
    rig.go_on.set()
    with rig.say(b"GET /stream HTTP/1.0\r\n" + HEAD + b"Connection: keep-alive\r\n\r\n") as connection:
        head, _, body = rest(connection).partition(b"\r\n\r\n")
    assert (body, b"chunked" in head) == (b"firstlast", False)


def test_a_connection_without_room_for_its_thread_is_closed_and_the_door_stays_open(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failing = threading.Thread.start, [True]

    def start_unless_failing(thread: threading.Thread) -> None:
        if failing:
            failing.clear()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_unless_failing)
    with rig.say(b"") as connection:
        assert connection.recv(1) == b""
    assert rig.ask("GET /health HTTP/1.1") == (200, "well")


def test_an_open_connection_gets_no_answer_of_a_door_that_is_closed(rig: Rig) -> None:
    text = b"GET /health HTTP/1.1\r\n" + HEAD
    with rig.say(text + b"\r\n") as connection:
        assert connection.recv(65_536).endswith(b'"well"')
        rig.door.close(0)
        connection.sendall(text + b"Connection: close\r\n\r\n")
        assert rest(connection).startswith(b"HTTP/1.1 503")


def test_a_door_that_closes_lets_answers_end_and_takes_no_more(rig: Rig) -> None:
    with rig.say(b"GET /stream HTTP/1.1\r\n" + HEAD + b"\r\n") as connection, connection.makefile("rb") as lines:
        while lines.readline() != b"first\r\n":
            pass
        closing = threading.Thread(target=rig.door.close, args=(10,))
        closing.start()
        rig.go_on.set()
        while lines.readline() != b"last\r\n":
            pass
        closing.join(10)
        assert not closing.is_alive()
    with pytest.raises(ConnectionRefusedError):
        rig.say(b"")


def test_a_socket_file_serves_as_well(rig: Rig, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "door"))
    listener.listen()
    rig.door.serve(listener)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "door"))
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")
