"""UDP on loopback: the small server's answers and hits, and a client's requests with all that may become of them."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_rig import free_port

from lab import wire
from lab.agent.clients import Outcome, Run, url_of
from lab.agent.namespaces import Here
from lab.agent.servers import PYTHON, UDP_SCRIPT
from lab.agent.web_server import UP


class Udp:
    """A running udp_server.py."""

    def __init__(self, folder: Path, name: str = "h2", size: int = 64, delay_ms: int = 0, ports: int = 1) -> None:
        self.port, self._log = free_port(), folder / f"{name}.ndjson"
        self.ports = range(self.port, self.port + ports)
        words = [PYTHON, "-I", "-S", str(UDP_SCRIPT), name, f"{self.port}-{self.ports[-1]}"]
        words += [str(size), str(delay_ms), str(self._log)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        with self.process.stdout as said:
            assert said.read(len(UP)) == UP

    def hits(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def udp(tmp_path: Path) -> Iterator[Callable[..., Udp]]:
    started: list[Udp] = []

    def start(**settings: Any) -> Udp:
        started.append(Udp(tmp_path, **settings))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


def run(port: int, **changes: Any) -> tuple[Outcome, list[wire.Request]]:
    url = f"udp://{changes.pop('host', '127.0.0.1')}:{port}/"
    load = wire.Load(**{"clients": ("h3", "h4"), "url": url, "requests": 6, "timeout_s": 2.0, **changes})
    found: list[wire.Request] = []
    return Run(load, dict.fromkeys(load.clients, Here()), found.append).run(), found


def test_each_request_is_a_datagram_from_a_new_port_and_both_ends_know_it(udp: Callable[..., Udp]) -> None:
    server = udp()
    outcome, found = run(server.port)
    assert outcome == Outcome(sent=6, dropped=0)
    assert [request.client for request in found] == ["h3", "h4"] * 3
    assert {(request.server, request.status, request.error) for request in found} == {("h2", None, None)}
    assert all(request.ok and request.connect_ms is None and request.total_ms > 0 for request in found)
    hits = server.hits()
    assert [hit["client_port"] for hit in hits] == [request.local_port for request in found]
    assert {(hit["client_ip"], hit["path"], hit["status"]) for hit in hits} == {("127.0.0.1", "/", 200)}


def test_an_answer_has_the_size_that_was_asked_for(udp: Callable[..., Udp]) -> None:
    server = udp(size=500)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.settimeout(5)
        door.sendto(b"x", ("127.0.0.1", server.port))
        answer = door.recv(2000)
    assert (len(answer), answer[:4]) == (500, b"h2\n.")


def test_hits_hold_whatever_a_datagram_says(udp: Callable[..., Udp]) -> None:
    server = udp()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.settimeout(5)
        for said in (b"", b'"\n\\', bytes(range(256)) * 10):
            door.sendto(said, ("127.0.0.1", server.port))
            assert door.recv(2000).startswith(b"h2\n")
    assert [len(hit["path"]) for hit in server.hits()] == [0, 3, 200]


def test_a_slow_answer_holds_up_nobody(udp: Callable[..., Udp]) -> None:
    server = udp(delay_ms=300)
    begun = time.monotonic()
    _, found = run(server.port, concurrency=6)
    assert all(request.ok and request.total_ms >= 300 for request in found)
    assert time.monotonic() - begun < 6 * 0.3


def test_silence_is_an_error_after_the_time_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        _, (request,) = run(mute.getsockname()[1], requests=1, timeout_s=0.2)
    assert (request.server, request.error) == (None, "no answer in time")
    assert 200 <= request.total_ms < 2000


def test_a_closed_port_is_an_error_at_once() -> None:
    _, (request,) = run(free_port(), requests=1)
    assert request.error == "Connection refused"


@pytest.mark.parametrize("answer", [b"", b"h1", b"\xff\xfe\n"])
def test_an_answer_that_names_nobody_is_an_error(answer: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as odd:
        odd.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: odd.sendto(answer, odd.recvfrom(100)[1]))
        thread.start()
        _, (request,) = run(odd.getsockname()[1], requests=1)
        thread.join()
    assert (request.server, request.error) == (None, "an answer that names no server")


def test_cancelling_ends_every_wait_and_reports_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.settimeout(5)
        load = wire.Load(
            clients=("h3",), url=f"udp://127.0.0.1:{mute.getsockname()[1]}/", concurrency=3, timeout_s=60.0
        )
        found: list[wire.Request] = []
        running = Run(load, {"h3": Here()}, found.append)
        thread = threading.Thread(target=running.run)
        thread.start()
        for _ in range(3):
            mute.recv(100)
        running.cancel()
        thread.join(timeout=5)
    assert not thread.is_alive()
    assert found == []


def test_a_range_is_served_on_each_port_and_asked_in_turn(udp: Callable[..., Udp]) -> None:
    server = udp(ports=3)
    _, found = run(server.port, requests=6, last_port=server.ports[-1])
    assert all(request.ok for request in found)
    assert len(server.hits()) == 6


def test_requests_ask_the_ports_of_a_range_in_turn() -> None:
    load = wire.Load(clients=("h3",), url="http://[fd00::1:1]:8000/x?y=1", last_port=8002)
    asked = [url_of(load, number) for number in range(4)]
    assert asked == [f"http://[fd00::1:1]:{port}/x?y=1" for port in (8000, 8001, 8002, 8000)]
    assert url_of(wire.Load(clients=("h3",), url="http://10.0.1.1/"), 7) == "http://10.0.1.1/"
