"""The API in front of a network that isn't there: routes, token, refusals, streams."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests
from agent_rig import Door, Web, free_port, wait_until

from lab import wire

NETWORK = replace(wire.default_network(), servers=())
PEER = {"kind": "haproxy", "host": "h1", "ip": "10.0.1.1", "targets": []}
TRY = {"clients": ["h3"], "ips": ["127.0.0.1"], "port": 1}
BENCH = {**TRY, "servers": ["h1"], "concurrency": 1, "seconds": 1, "sampler": "h3"}
BULK = {"client": "h3", "server": "h1", "ip": "127.0.0.1", "port": 5201, "seconds": 1}
LOAD = {"clients": ["h3"], "url": "http://127.0.0.1:1/"}


@pytest.fixture
def built(api: Door) -> Door:
    assert api.ask("PUT", "/network", wire.encode(NETWORK)).status_code == 200
    return api


def refused(answer: requests.Response) -> str:
    """The one sentence of a refusal."""
    (sentence,) = answer.json().values()
    assert list(answer.json()) == ["error"]
    assert "Traceback" not in sentence
    return str(sentence)


def test_health_needs_no_token_and_all_else_does(api: Door) -> None:
    del api.headers["Authorization"]
    assert api.ask("GET", "/health").json() == {"ok": True, "network": False}
    for token in ("", "Bearer wrong", "Bearer t\xe9"):
        answer = api.ask("GET", "/network", headers={"Authorization": token.encode("latin-1")})
        assert answer.status_code == 401
        assert "token" in refused(answer)


def test_a_network_is_built_once_and_taken_down_once(api: Door) -> None:
    assert api.ask("GET", "/network").status_code == 404
    assert set(api.ask("PUT", "/network", wire.encode(NETWORK)).json()["versions"]) == {
        "open_vswitch",
        "mininet",
        "curl",
    }
    again = api.ask("PUT", "/network", wire.encode(NETWORK))
    assert (again.status_code, "already" in refused(again)) == (409, True)
    assert api.ask("GET", "/health").json()["network"]
    described = api.ask("GET", "/network").json()
    assert described["connected"] == {"s1": True}
    assert described["hosts"] == wire.encode(NETWORK)["hosts"]
    assert api.ask("DELETE", "/network").status_code == 200
    assert api.ask("DELETE", "/network").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("PUT", "/network", {"switches": []}, 400, "'hosts' is missing"),
        ("PUT", "/network", [], 400, "expected an object"),
        ("POST", "/load", {**LOAD, "clients": []}, 400, "at least one client"),
        ("POST", "/load", {**LOAD, "clients": ["h9"]}, 400, "no host 'h9'"),
        ("POST", "/load", {**LOAD, "concurrency": 0}, 400, "concurrency 0"),
        ("POST", "/load", {**LOAD, "url": "ftp://x/"}, 400, "no URL"),
        ("POST", "/load", {**LOAD, "speed": 5}, 400, "unknown key 'speed'"),
        ("POST", "/link", {"host": "h9", "state": "down"}, 400, "no host 'h9'"),
        ("POST", "/link", {"host": "h1", "state": "sideways"}, 400, "up or down"),
        ("POST", "/link", {"host": "h1", "between": ["s1", "h1"], "state": "up"}, 400, "is named by"),
        ("POST", "/link", {"between": ["s1"], "state": "up"}, 400, "is named by"),
        ("POST", "/link", {"host": "h1", "stat": "up"}, 400, "unknown key 'stat'"),
        ("POST", "/exec", {"host": "h9", "argv": ["ls"]}, 400, "no host 'h9'"),
        ("POST", "/exec", {"host": "h1", "argv": "ls"}, 400, "list of words"),
        ("POST", "/exec", {"host": "h1", "argv": ["ls"], "timeout_s": 0}, 400, "timeout_s"),
        ("POST", "/bench/start", {"plane": True}, 400, "unknown key 'plane'"),
        ("POST", "/bench/start", {"peer": {**PEER, "host": "h9"}}, 400, "no host 'h9'"),
        ("POST", "/bench/start", {"peer": {**PEER, "ip": "web"}}, 400, "'web' is no IPv4 address"),
        ("POST", "/bench/connections", {**TRY, "clients": ["h9"]}, 400, "no host 'h9'"),
        ("POST", "/bench/connections", {**TRY, "count": 0}, 400, "count 0 is not between"),
        ("POST", "/bench/load", {**BENCH, "sampler": "h4"}, 400, "'h4' is none of the clients"),
        ("POST", "/bench/load", {**BENCH, "clients": []}, 400, "at least one client"),
        ("POST", "/bench/load", {**BENCH, "concurrency": 0}, 400, "concurrency 0 is not between"),
        ("POST", "/bench/load", {**BENCH, "seconds": 0}, 400, "seconds 0 is not between"),
        ("POST", "/bench/load", {**BENCH, "ips": []}, 400, "no address"),
        ("POST", "/bench/load", {**BENCH, "ips": ["h1"]}, 400, "'h1' is no IPv4 address"),
        ("POST", "/bench/load", {**BENCH, "port": 0}, 400, "port 0 is not between"),
        ("POST", "/bench/load", {**BENCH, "sample_every_s": 0}, 400, "sample_every_s 0.0 is not between"),
        ("POST", "/bench/bulk", {**BULK, "server": "h9"}, 400, "no host 'h9'"),
        ("POST", "/bench/bulk", {**BULK, "ip": "-c"}, 400, "'-c' is no IPv4 address"),
        ("GET", "/nowhere", None, 404, "not found"),
        ("POST", "/hits", None, 405, "not allowed"),
    ],
)
def test_a_wrong_request_gets_a_status_and_a_sentence(
    built: Door, method: str, path: str, body: Any, status: int, sentence: str
) -> None:
    answer = built.ask(method, path, body)
    assert (answer.status_code, sentence in refused(answer)) == (status, True), answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(built: Door, body: bytes) -> None:
    answer = built.request("POST", built._base + "/load", data=body, timeout=10)
    assert (answer.status_code, "no JSON" in refused(answer)) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/load", LOAD),
        ("POST", "/pingall", None),
        ("POST", "/network/connect", None),
        ("GET", "/hits", None),
        ("GET", "/flows", None),
        ("POST", "/link", {"host": "h1", "state": "up"}),
        ("POST", "/bench/start", {}),
        ("GET", "/bench/usage", None),
        ("POST", "/bench/connections", TRY),
        ("POST", "/bench/load", BENCH),
        ("POST", "/bench/bulk", BULK),
    ],
)
def test_what_needs_a_network_says_so(api: Door, method: str, path: str, body: Any) -> None:
    answer = api.ask(method, path, body)
    assert (answer.status_code, "no network yet" in refused(answer)) == (404, True)


def test_a_load_streams_a_line_per_request_and_its_end(built: Door, web: Callable[..., Web]) -> None:
    *found, end = built.load(wire.Load(clients=("h3", "h4"), url=web("h1").url, requests=5))
    assert end == {"done": True, "sent": 5, "dropped": 0}
    assert [wire.decode(wire.Request, line).client for line in found] == ["h3", "h4", "h3", "h4", "h3"]


def test_a_benchs_connections_are_made_by_every_client(built: Door, web: Callable[..., Web]) -> None:
    server = web("h1")
    wanted = {"clients": ["h3", "h4"], "ips": ["127.0.0.1"], "port": server.port, "count": 3}
    assert built.ask("POST", "/bench/connections", wanted).json() == {"made": 6, "failed": 0}
    assert len(server.hits()) == 6
    assert built.ask("POST", "/bench/connections", TRY).json() == {"made": 0, "failed": 20}


def curls(port: int) -> int:
    """How many curls ask this port."""
    words = ["pgrep", "-fc", f"curl .*127.0.0.1:{port}/"]
    return int(subprocess.run(words, capture_output=True, text=True).stdout)


def test_records_come_while_the_load_runs_and_closing_the_stream_ends_it(built: Door, web: Callable[..., Web]) -> None:
    server = web(delay_ms=100)
    body = wire.encode(wire.Load(clients=("h3",), url=server.url, requests=1000))
    with built.ask("POST", "/load", body, stream=True) as answer:
        first = json.loads(next(answer.iter_lines()))
        assert first["server"] == "h1"
        assert len(server.hits()) < 20
    wait_until(lambda: curls(server.port) == 0, "the last curl's end")
    count = len(server.hits())
    assert not built.ask("POST", "/exec", {"host": "agent", "argv": ["sleep", "0.3"]}).json()["exit_code"]
    assert len(server.hits()) <= count + 1


def test_a_silent_load_ends_when_its_reader_goes(built: Door, web: Callable[..., Web]) -> None:
    server = web(delay_ms=60_000)
    body = wire.encode(wire.Load(clients=("h3",), url=server.url, concurrency=3, timeout_s=60.0))
    with built.ask("POST", "/load", body, stream=True):
        wait_until(lambda: curls(server.port) == 3, "three curls")
    wait_until(lambda: curls(server.port) == 0, "their end")


def test_two_loads_and_a_command_run_side_by_side(built: Door, web: Callable[..., Web]) -> None:
    server = web(delay_ms=60_000)
    body = wire.encode(wire.Load(clients=("h3",), url=server.url, timeout_s=60.0))
    with built.ask("POST", "/load", body, stream=True), built.ask("POST", "/load", body, stream=True):
        begun = time.monotonic()
        answer = built.ask("POST", "/exec", {"host": "agent", "argv": ["echo", "here"]}).json()
        assert answer == {"exit_code": 0, "stdout": "here\n", "stderr": ""}
        assert time.monotonic() - begun < 5


def test_taking_the_network_down_ends_its_loads(built: Door, web: Callable[..., Web]) -> None:
    server = web(delay_ms=60_000)
    body = wire.encode(wire.Load(clients=("h3",), url=server.url, timeout_s=60.0))
    with built.ask("POST", "/load", body, stream=True) as answer:
        wait_until(lambda: curls(server.port) == 1, "a curl")
        assert built.ask("DELETE", "/network").status_code == 200
        assert json.loads(answer.text.splitlines()[-1])["done"]


def test_servers_start_with_the_network_and_their_hits_are_read_and_emptied(api: Door) -> None:
    ports = free_port(), free_port()
    servers = (wire.HttpServer(host="h1", port=ports[0]), wire.HttpServer(host="h2", port=ports[1]))
    assert api.ask("PUT", "/network", wire.encode(replace(NETWORK, servers=servers))).status_code == 200
    assert api.ask("GET", "/hits").json() == {"h1": [], "h2": []}
    *found, _ = api.load(wire.Load(clients=("h3",), url=f"http://127.0.0.1:{ports[1]}/x", requests=3))
    hits = api.ask("GET", "/hits").json()
    assert [hit["client_port"] for hit in hits["h2"]] == [line["local_port"] for line in found]
    assert {hit["path"] for hit in hits["h2"]} == {"/x"}
    assert api.ask("DELETE", "/hits").status_code == 200
    api.load(wire.Load(clients=("h3",), url=f"http://127.0.0.1:{ports[0]}/", requests=2))
    assert {host: len(each) for host, each in api.ask("GET", "/hits").json().items()} == {"h1": 2, "h2": 0}


def test_a_server_whose_port_is_taken_is_a_sentence_and_leaves_no_network(api: Door, web: Callable[..., Web]) -> None:
    first, taken = free_port(), web().port
    servers = (wire.HttpServer(host="h1", port=first), wire.HttpServer(host="h2", port=taken))
    wanted = wire.encode(replace(NETWORK, servers=(*servers,)))
    answer = api.ask("PUT", "/network", wanted)
    assert "Address already in use" in refused(answer)
    assert not api.ask("GET", "/health").json()["network"]


def test_the_controllers_answers_need_a_controller(api: Door) -> None:
    answer = api.ask("GET", "/controller/log")
    assert (answer.status_code, "doesn't answer at 127.0.0.1:8081" in refused(answer)) == (502, True)


def test_the_log_tells_what_was_built(built: Door) -> None:
    assert "built s1 (dpid 1); 6 hosts h1-h6" in built.ask("GET", "/log").text


@pytest.fixture
def serving(api: Door) -> tuple[Door, int]:
    """A network whose h1 serves, on a port of loopback."""
    port = free_port()
    network = replace(NETWORK, servers=(wire.HttpServer(host="h1", port=port),))
    assert api.ask("PUT", "/network", wire.encode(network)).status_code == 200
    return api, port


def test_a_web_server_is_stopped_and_started_and_its_log_goes_on(serving: tuple[Door, int]) -> None:
    api, port = serving
    load = wire.Load(clients=("h3",), url=f"http://127.0.0.1:{port}/", requests=1)
    assert api.load(load)[0]["error"] is None
    for _ in range(2):  # a second stop changes nothing
        assert api.ask("POST", "/server", {"host": "h1", "action": "stop"}).status_code == 200
    assert "connect" in api.load(load)[0]["error"]
    for _ in range(2):
        assert api.ask("POST", "/server", {"host": "h1", "action": "start"}).status_code == 200
    assert api.load(load)[0]["error"] is None
    assert len(api.ask("GET", "/hits").json()["h1"]) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"host": "h9", "action": "stop"}, "no host 'h9'"),
        ({"host": "h2", "action": "stop"}, "no web server was started on 'h2'"),
        ({"host": "h1", "action": "kill"}, "action 'kill' is not known"),
        ({"host": "h1", "state": "stop"}, "unknown key 'state'"),
        ([], "should be an object"),
    ],
)
def test_a_server_that_can_not_be_changed_is_refused(serving: tuple[Door, int], body: Any, words: str) -> None:
    answer = serving[0].ask("POST", "/server", body)
    assert answer.status_code == 400
    assert words in refused(answer)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": "h9"}, "no host 'h9'"),
        ({"ip": "10.0.1"}, "no IPv4 address"),
        ({"port": 0}, "port 0"),
        ({"syns": 10_000_001}, "syns 10000001"),
        ({"seconds": 0.0}, "seconds 0.0"),
        ({"seconds": 1e9}, "seconds 1000000000.0"),
        ({"speed": 3}, "unknown key 'speed'"),
    ],
)
def test_a_flood_without_sense_is_refused(built: Door, change: dict[str, Any], words: str) -> None:
    answer = built.ask("POST", "/flood", {"host": "h3", "ip": "10.0.1.1", **change})
    assert answer.status_code == 400
    assert words in refused(answer)


@pytest.mark.parametrize(("method", "path"), [("POST", "/flood"), ("POST", "/server"), ("POST", "/switch/restart")])
def test_without_a_network_there_is_nothing_to_break(api: Door, method: str, path: str) -> None:
    assert api.ask(method, path, {"host": "h3", "ip": "10.0.1.1"}).status_code in (400, 404)
