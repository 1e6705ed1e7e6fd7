"""One HTTP call: what comes back as it comes, and the two errors there are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from lab.driver.http_call import Answer, CallError, Silent, call


class Server:
    """Reads one request, sends what it is told to, and hangs up, unless it is to stay silent."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.asked = b""
        self.go_on = threading.Event()
        self._thread: threading.Thread | None = None

    def will_send(self, *pieces: bytes, hang_up: bool = True) -> None:
        """The first at once, each further one when `go_on` is set."""
        self._thread = threading.Thread(target=self._serve, args=(pieces, hang_up))
        self._thread.start()

    def _serve(self, pieces: tuple[bytes, ...], hang_up: bool) -> None:
        client, _ = self._listener.accept()
        with client:
            self.asked = _request(client)
            for number, piece in enumerate(pieces):
                if number:
                    self.go_on.wait(10)
                client.sendall(piece)
            if not hang_up:
                self.go_on.wait(10)

    def stop(self) -> None:
        self.go_on.set()
        if self._thread:
            self._thread.join()
        self._listener.close()


def _request(client: socket.socket) -> bytes:
    """All of it: head and body may come apart."""
    with client.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        size = next(int(line.split()[1]) for line in head.splitlines() if line.startswith(b"Content-Length"))
        return head + b"\r\n" + stream.read(size)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def ask(server: Server, body: object = None, timeout_s: float = 10.0) -> Answer:
    return call(server.address, "PUT", "/it", {"X-Mine": "1"}, body, connect_s=5.0, timeout_s=timeout_s)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def test_json_goes_out_and_comes_back(server: Server) -> None:
    server.will_send(HEAD + b'Content-Length: 8\r\n\r\n{"a": 1}')
    with ask(server, {"b": "ü"}) as answer:
        assert (answer.status, answer.json()) == (200, {"a": 1})
    assert server.asked.startswith(b"PUT /it HTTP/1.1\r\n")
    assert b"X-Mine: 1" in server.asked
    assert server.asked.endswith(b'\r\n\r\n{"b": "\\u00fc"}')


def test_what_is_no_json_is_none(server: Server) -> None:
    server.will_send(HEAD + b"Content-Length: 4\r\n\r\n<ok>")
    with ask(server) as answer:
        assert answer.json() is None


def test_lines_come_as_they_end(server: Server) -> None:
    server.will_send(CHUNKED + b"8\r\none\ntwo \r\n", b"8\r\nmore\nend\r\n0\r\n\r\n")
    with ask(server) as answer:
        lines = answer.lines()
        assert next(lines) == b"one"
        server.go_on.set()
        assert list(lines) == [b"two more", b"end"]


def test_answer_that_is_broken_off_is_an_error(server: Server) -> None:
    server.will_send(CHUNKED + b"8\r\none\n")
    with ask(server) as answer, pytest.raises(CallError):
        list(answer.lines())


@pytest.mark.parametrize("sent", [b"", b"what?\r\n\r\n", CHUNKED + b"zz\r\n"])
def test_answer_that_is_none_is_an_error(server: Server, sent: bytes) -> None:
    server.will_send(sent)
    with pytest.raises(CallError), ask(server) as answer:
        answer.json()


@pytest.mark.parametrize("sent", [b"", CHUNKED])
def test_silence_is_told_apart(server: Server, sent: bytes) -> None:
    server.will_send(sent, hang_up=False)
    with pytest.raises(Silent), ask(server, timeout_s=0.05) as answer:
        answer.json()


def test_nobody_there_is_an_error(server: Server) -> None:
    server.stop()
    with pytest.raises(CallError):
        ask(server)


def test_no_proxy_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.will_send(HEAD + b"Content-Length: 2\r\n\r\n{}")
    with ask(server) as answer:
        assert answer.json() == {}
