"""The supervisor for real, in a network namespace of its own: what it answers, starts, kills and starts again."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import wire
from lab.engines.process import Engine, EngineError, MissingEngine, _is_listening

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-this-test"
REFUSED = "the lab's token is missing or wrong: send Authorization: Bearer <token>"
START = "ip link set lo up && exec /usr/bin/python3 -m lab.engines.supervisor"


class Supervisor:
    """A running supervisor; `call` speaks to it from inside its namespaces."""

    def __init__(self, state: Path, pox_home: Path | None = None) -> None:
        kept = {k: v for k, v in os.environ.items() if k != "POX_HOME"}
        environment = {**kept, "LAB_TOKEN": TOKEN, "LAB_STATE": str(state), "PYTHONPATH": str(ROOT)}
        if pox_home is not None:
            environment["POX_HOME"] = str(pox_home)
        command = ["unshare", "--map-root-user", "--net", "sh", "-c", START]
        with (state / "supervisor.log").open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=state)

    def call(self, method: str, path: str, body: object = None, token: str = TOKEN) -> tuple[int, Any]:
        """Status and body; status 0: nobody answers."""
        inside = ["nsenter", "--target", str(self.process.pid), "--user", "--net", "--preserve-credentials"]
        curl = ["curl", "-sS", "-X", method, "-H", f"Authorization: Bearer {token}", "-w", "\n%{http_code}"]
        if body is not None:
            curl += ["-d", body if isinstance(body, str) else json.dumps(body)]
        done = subprocess.run(
            [*inside, *curl, f"http://127.0.0.1:{wire.SUPERVISOR_PORT}{path}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        text, _, status = done.stdout.rpartition("\n")
        if not status.isdigit():
            return 0, done.stderr
        return int(status), json.loads(text) if text.startswith("{") else text

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def wait_until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    running = Supervisor(tmp_path)
    try:
        wait_until(lambda: running.call("GET", "/health")[0] == 200)
        yield running
    finally:
        running.stop()


@pytest.fixture
def pox_home(tmp_path: Path) -> Path:
    """What is needed of POX to be found."""
    (tmp_path / "pox/pox").mkdir(parents=True)
    (tmp_path / "pox/pox.py").write_text("")
    (tmp_path / "pox/pox/core.py").write_text("import os\n\nclass POXCore:\n  version = (0,7,0)\n")
    return tmp_path / "pox"


def controller(engine: str = "osken", **changes: Any) -> Any:
    return wire.encode(dataclasses.replace(wire.default_controller(), engine=engine, **changes))


@pytest.mark.sandbox
def test_engine_starts_is_killed_and_starts_again(supervisor: Supervisor) -> None:
    assert supervisor.call("GET", "/health") == (200, {"ok": True, "engine": None, "listening": False})
    status, said = supervisor.call("PUT", "/controller", controller())
    assert (status, said["engine"], said["why"]) == (200, "osken", "asked for")
    assert supervisor.call("GET", "/health")[1]["listening"]
    _, running = supervisor.call("GET", "/controller")
    assert (running["running"], running["pid"]) == (True, said["pid"])
    servers = running["statistics"]["services"]["web"]["servers"]
    assert {name: (s["state"], s["hits"]) for name, s in servers.items()} == {
        "h1": ("unknown", 0),
        "h2": ("unknown", 0),
    }
    assert "web: 10.0.1.1:80 by round_robin" in supervisor.call("GET", "/controller/log")[1]

    assert supervisor.call("POST", "/controller/kill", {"signal": "KILL"})[0] == 200
    _, killed = supervisor.call("GET", "/controller")
    assert (killed["running"], killed["exit_code"], killed["statistics"]) == (False, -9, None)
    assert not supervisor.call("GET", "/health")[1]["listening"]
    assert supervisor.call("POST", "/controller/kill", {"signal": "KILL"})[0] == 409

    status, again = supervisor.call("POST", "/controller/start")
    assert (status, again["engine"]) == (200, "osken")
    assert again["pid"] != said["pid"]

    status, replaced = supervisor.call("PUT", "/controller", controller())  # while one runs: it is replaced
    assert status == 200
    assert not Path(f"/proc/{again['pid']}").exists()
    assert supervisor.call("DELETE", "/controller")[0] == 200
    assert not Path(f"/proc/{replaced['pid']}").exists()


@pytest.mark.sandbox
def test_d35_engine_listens_on_loopback_alone(supervisor: Supervisor) -> None:
    """It listens on every address of the machine."""
    pid = supervisor.call("PUT", "/controller", controller())[1]["pid"]
    sockets = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    listening = [local.split(":") for _, local, _, state, *_ in sockets if state == "0A"]
    assert [address for address, port in listening if int(port, 16) == wire.OPENFLOW_PORT] == ["0100007F"]


def test_d35_every_engine_is_told_the_address_to_listen_on(tmp_path: Path, pox_home: Path) -> None:
    engine = Engine(tmp_path / "state", pox_home)
    for name in ("osken", "pox", "stock"):
        assert "127.0.0.1" in " ".join(engine._command(name, wire.default_controller()))


@pytest.mark.sandbox
def test_osken_starts_without_what_it_only_takes_where_it_is_there(supervisor: Supervisor) -> None:
    """pyOpenSSL: a sixth of its start. Its library is among what the process has mapped, once it is imported."""
    pid = supervisor.call("PUT", "/controller", controller())[1]["pid"]
    mapped = Path(f"/proc/{pid}/maps").read_text()
    assert "greenlet" in mapped
    assert "cryptography" not in mapped


@pytest.mark.sandbox
def test_engine_ends_with_its_supervisor(supervisor: Supervisor) -> None:
    pid = supervisor.call("PUT", "/controller", controller())[1]["pid"]
    supervisor.stop()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.sandbox
def test_wrong_requests_get_a_status_and_a_sentence(supervisor: Supervisor) -> None:
    service = controller()["services"][0]
    for method, path, body, status, sentence in [
        ("PUT", "/controller", "{", 400, "the body isn't JSON"),
        ("PUT", "/controller", {"services": []}, 400, "no service"),
        ("PUT", "/controller", {}, 400, "'services' is missing"),
        ("PUT", "/controller", {**controller(), "colour": 1}, 400, "unknown key 'colour'"),
        ("PUT", "/controller", controller("magic"), 400, "engine 'magic' isn't known"),
        ("PUT", "/controller", controller(mode="magic"), 400, "unknown mode"),
        ("PUT", "/controller", {**controller(), "services": [{**service, "ip": "10.0.0.1"}]}, 400, "both a service's"),
        ("PUT", "/controller", controller("pox"), 409, "engine pox needs POX, and there is none here"),
        ("PUT", "/controller", controller("stock"), 409, "engine stock needs POX"),
        ("POST", "/controller/start", None, 409, "no controller was configured yet"),
        ("POST", "/controller/kill", {"signal": "TERM"}, 409, "no controller is running"),
        ("POST", "/controller/kill", {"signal": "HUGE"}, 400, "signal 'HUGE' isn't known"),
        ("GET", "/nothing", None, 404, "not found"),
        ("PATCH", "/controller", None, 405, "not allowed"),
    ]:
        got, said = supervisor.call(method, path, body)
        assert (got, list(said)) == (status, ["error"]), (path, body)
        assert sentence in said["error"]


@pytest.mark.sandbox
def test_nothing_is_told_or_done_without_the_token(supervisor: Supervisor) -> None:
    for method, path in [("GET", "/controller"), ("PUT", "/controller"), ("GET", "/controller/log"), ("GET", "/x")]:
        assert supervisor.call(method, path, token="another") == (401, {"error": REFUSED})
    assert supervisor.call("GET", "/health", token="another")[0] == 200


@pytest.mark.sandbox
def test_engine_that_dies_at_its_start_is_a_502_with_its_last_words(tmp_path: Path, pox_home: Path) -> None:
    (pox_home / "pox.py").write_text("raise SystemExit('I would rather not')")
    running = Supervisor(tmp_path, pox_home)
    try:
        wait_until(lambda: running.call("GET", "/health")[0] == 200)
        status, said = running.call("PUT", "/controller", controller("auto"))
        assert (status, list(said)) == (502, ["error"])
        assert "the controller ended while starting: I would rather not" in said["error"]
        assert not running.call("GET", "/controller")[1]["running"]
    finally:
        running.stop()


# the engine's choice and its refusals, with no process


def test_auto_is_pox_where_there_is_one(tmp_path: Path, pox_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("POX_HOME", str(pox_home))
    engine = Engine.from_environment()
    assert engine.versions()["pox"] == "0.7.0"
    assert engine._choose(wire.default_controller()) == ("pox", "POX is here")
    monkeypatch.setenv("POX_HOME", str(tmp_path / "nothing"))
    engine = Engine.from_environment()
    assert engine.versions()["pox"] is None
    assert engine._choose(wire.default_controller()) == ("osken", "no POX here")


@pytest.mark.parametrize("asked", ["auto", "pox", "stock"])
def test_ipv6_services_are_for_the_engine_that_can_rewrite_them(
    tmp_path: Path, pox_home: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr("lab.engines.process._os_ken_version", lambda: "2.5.0")
    server = wire.Server(name="h1", ip="fd00::1")
    config = wire.Controller(services=(wire.Service(name="web", ip="fd00::1:1", servers=(server,)),), engine=asked)
    engine = Engine(tmp_path, pox_home)
    if asked == "auto":
        assert engine._choose(config)[0] == "osken"
    else:
        with pytest.raises(ValueError, match=f"engine {asked} can't rewrite IPv6 addresses"):
            engine._choose(config)


def test_command_lines_name_address_and_port(tmp_path: Path, pox_home: Path, config: wire.Controller) -> None:
    engine = Engine(tmp_path / "state", pox_home, "10.9.9.9")
    commands = {name: " ".join(engine._command(name, config)) for name in ("osken", "pox", "stock")}
    assert "--ofp-listen-host 10.9.9.9 --ofp-tcp-listen-port 6633" in commands["osken"]
    listen = "openflow.of_01 --address=10.9.9.9 --port=6633"
    assert f"{pox_home}/pox.py --unthreaded-sh {listen}" in commands["pox"]
    assert f"{pox_home}/pox.py {listen}" in commands["stock"]
    assert "misc.ip_loadbalancer --ip=10.0.1.1" in commands["stock"]
    assert "lab.engines.pox_balancer --config" in commands["pox"]


def test_engine_is_not_told_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    assert TOKEN not in Engine(tmp_path / "state", None)._environment().values()


@pytest.mark.parametrize(("wanted", "error"), [("pox", MissingEngine), ("stock", MissingEngine), ("x", ValueError)])
def test_engine_that_cannot_be_had_is_refused(
    tmp_path: Path, config: wire.Controller, wanted: str, error: type[Exception]
) -> None:
    engine = Engine(tmp_path, None)
    with pytest.raises(error):
        engine.start(dataclasses.replace(config, engine=wanted))
    assert not (tmp_path / "controller.json").exists()


def test_wrong_configuration_after_an_engines_end_leaves_the_former_to_start_again(
    tmp_path: Path, config: wire.Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(tmp_path, None)
    monkeypatch.setattr(Engine, "_choose", lambda *_: ("osken", "asked for"))
    monkeypatch.setattr(Engine, "_command", lambda *_: ["/bin/false"])
    with pytest.raises(EngineError):
        engine.start(config)
    with pytest.raises(ValueError, match="unknown mode"):
        engine.start(dataclasses.replace(config, mode="magic"))
    with pytest.raises(EngineError, match="ended while starting"):  # tried, and not: nothing is configured
        engine.restart()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_socket_listens_or_does_not_and_is_not_disturbed(host: str) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        assert not _is_listening(host, port)
        listener.listen()
        assert _is_listening(host, port)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not _is_listening(host, port)


def test_dead_engines_last_words_are_its_logs_last_lines(
    tmp_path: Path, pox_home: Path, config: wire.Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.engines.process._is_listening", lambda host, port: False)
    (pox_home / "pox.py").write_text("for n in range(9): print('line', n)\nraise SystemExit('no more')")
    engine = Engine(tmp_path / "state", pox_home)
    with pytest.raises(EngineError, match=r"ended while starting: .*no more"):
        engine.start(dataclasses.replace(config, engine="pox"))
