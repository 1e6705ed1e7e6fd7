"""The small web server keeps to HTTP/1.1, and logs a hit before its answer is complete."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from agent_rig import Web
from hypothesis import given
from hypothesis import strategies as st

from lab.agent import web_server
from lab.balancer.checks import tcp_client

WebMaker = Callable[..., Web]


def exchange(server: Web, sent: bytes) -> bytes:
    """Send, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_the_answer_says_who_gave_it_and_has_the_size_asked_for(web: WebMaker) -> None:
    head, _, body = exchange(web("h2", size=500), b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"X-Server: h2\r\n" in head
    assert b"Content-Length: 500\r\n" in head
    assert (len(body), body[:11]) == (500, b"h2 answers.")


def test_one_connection_serves_many_requests_until_one_says_close(web: WebMaker) -> None:
    server = web()
    requests = b"GET /a HTTP/1.1\r\n\r\n" * 2 + b"GET /b HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert exchange(server, requests).count(b"HTTP/1.1 200 OK") == 3
    assert [hit["path"] for hit in server.hits()] == ["/a", "/a", "/b"]
    assert len({hit["client_port"] for hit in server.hits()}) == 1


def test_the_balancers_own_requests_are_answered_and_are_no_hits(web: WebMaker) -> None:
    server = web()
    check = b"GET /a HTTP/1.1\r\nUser-Agent: " + tcp_client.USER_AGENT.encode() + b"\r\n\r\n"
    requests = check + b"GET /b HTTP/1.1\r\n\r\n" + check + b"GET /c HTTP/1.0\r\n\r\n"
    assert exchange(server, requests).count(b"HTTP/1.1 200 OK") == 4
    assert [hit["path"] for hit in server.hits()] == ["/b", "/c"]


def test_a_requests_body_is_not_taken_for_the_next_request(web: WebMaker) -> None:
    server = web()
    exchange(server, b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /" + b"GET /b HTTP/1.0\r\n\r\n")
    assert [hit["path"] for hit in server.hits()] == ["/a", "/b"]


def test_a_head_request_gets_no_body(web: WebMaker) -> None:
    assert exchange(web(), b"HEAD / HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / SPDY/3\r\n\r\n", b"400"),
        (b"BREW / HTTP/1.0\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /slow?seconds=x HTTP/1.0\r\n\r\n", b"400"),
        (b"GET /slow?seconds=nan HTTP/1.0\r\n\r\n", b"400"),
        (b"GET /slow?bytes=-1 HTTP/1.0\r\n\r\n", b"400"),
    ],
)
def test_a_wrong_request_is_answered_with_its_status(web: WebMaker, sent: bytes, status: bytes) -> None:
    server = web()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(sent)
        assert connection.recv(4096).split()[1] == status
    assert [hit["status"] for hit in server.hits()] == [int(status)]


def test_a_hit_is_logged_before_the_answer_ends(web: WebMaker) -> None:
    server = web()
    for count in range(1, 51):
        exchange(server, b"GET / HTTP/1.0\r\n\r\n")
        assert len(server.hits()) == count


def test_a_slow_answer_takes_its_time_and_holds_up_nobody(web: WebMaker) -> None:
    server = web()
    begun = time.monotonic()
    slow: list[bytes] = []
    reader = threading.Thread(
        target=lambda: slow.append(exchange(server, b"GET /slow?seconds=0.5&bytes=700 HTTP/1.0\r\n\r\n"))
    )
    reader.start()
    exchange(server, b"GET / HTTP/1.0\r\n\r\n")
    assert time.monotonic() - begun < 0.4
    reader.join()
    assert time.monotonic() - begun >= 0.5
    assert len(slow[0].partition(b"\r\n\r\n")[2]) == 700


def test_a_delay_comes_before_the_answer(web: WebMaker) -> None:
    server = web(delay_ms=100)
    begun = time.monotonic()
    exchange(server, b"GET / HTTP/1.0\r\n\r\n")
    assert time.monotonic() - begun >= 0.1


def test_two_hundred_clients_at_once_are_served(web: WebMaker) -> None:
    server = web()
    with ExitStack() as open_connections:
        connections = [
            open_connections.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            for _ in range(200)
        ]
        for connection in connections:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert all(connection.recv(4096).startswith(b"HTTP/1.1 200") for connection in connections)
    assert len(server.hits()) == 200


def test_ipv6_is_served_and_ipv4_addresses_are_written_as_such(web: WebMaker) -> None:
    server = web()
    exchange(server, b"GET / HTTP/1.0\r\n\r\n")
    families = ["127.0.0.1"]
    if socket.has_ipv6:
        try:
            with socket.create_connection(("::1", server.port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert connection.recv(4096)
            families.append("::1")
        except OSError:
            pass  # this machine has no IPv6 on loopback
    assert [hit["client_ip"] for hit in server.hits()] == families


@given(st.binary(max_size=200))
def test_no_head_breaks_the_parser(head: bytes) -> None:
    web_server.parse(head)


@given(st.text(max_size=50))
def test_no_path_breaks_the_slow_parameters(path: str) -> None:
    web_server.slow_parameters(path)
