"""UDP services in tracked mode, in a real lab: flows that go one way only, and what drains, deaths and restarts do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from kept_lab import kept, wait_until

from lab.driver.agent_client import Agent

pytestmark = pytest.mark.sandbox
ENGINES = [pytest.param("pox", marks=pytest.mark.pox), "osken"]
IDLE_S = 3
SCENARIO = f"""
name: tracked_udp
services:
  dns: {{ip: 10.0.1.1, port: 53, protocol: udp, servers: [h1, h2, h5]}}
controller: {{mode: tracked, idle_timeout_s: {IDLE_S}}}
load: {{clients: [h3, h4, h6]}}
"""
SERVICE, SERVICE_SIX = "10.0.1.1", "fd00::1:1"
SIX = SCENARIO.replace(SERVICE, f'"{SERVICE_SIX}"')

# scripts for hosts; what each prints is JSON. A client's: datagrams of one flow, `gap` seconds apart, and who answered
ASK = """
import json, socket, sys, time
ip, count, gap, own = sys.argv[1], *map(float, sys.argv[2:])
door = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
door.bind(("", int(own)))
door.connect((ip, 53))
answers = []
def read(seconds):
    door.settimeout(seconds)
    try:
        while len(answers) < count:
            answers.append(door.recv(2000).split()[0].decode())
    except OSError:
        pass
for n in range(int(count)):
    door.send(b"/%d" % n)
    read(gap)
read(0.5)
print(json.dumps(answers))
"""
# what `door` gets until `end`
COUNT = """
while (left := end - time.monotonic()) > 0:
    door.settimeout(left)
    try:
        door.recv(2000)
        heard += 1
    except TimeoutError:
        break
print(json.dumps(heard))
"""
# a server's: how many datagrams come in so many seconds
HEAR = (
    """
import json, socket, sys, time
end, heard = time.monotonic() + float(sys.argv[1]), 0
door = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
door.bind(("", 53))
"""
    + COUNT
)
# a server's: one datagram is answered `count` times, `gap` seconds apart
TELL = """
import json, socket, sys, time
count, gap = map(float, sys.argv[1:])
door = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
door.bind(("", 53))
_, client = door.recvfrom(2000)
for n in range(int(count)):
    door.sendto(b"told\\n", client)
    time.sleep(gap)
print(json.dumps(client))
"""
# a client's: how many answers come from the service alone in so many seconds, while it says nothing
LISTEN = (
    """
import json, socket, sys, time
ip, own, seconds = sys.argv[1], *map(float, sys.argv[2:])
end, heard = time.monotonic() + seconds, 0
door = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
door.bind(("", int(own)))
door.connect((ip, 53))
"""
    + COUNT
)


class Script(threading.Thread):
    """Runs on a host in the background."""

    def __init__(self, agent: Agent, host: str, text: str, *words: object) -> None:
        super().__init__(daemon=True)
        self._agent, self._host = agent, host
        self._argv = ["python3", "-c", text, *map(str, words)]
        self._done: dict[str, Any] = {}
        self.start()

    def run(self) -> None:
        self._done = self._agent.exec(self._host, self._argv, timeout_s=60)

    def said(self) -> Any:
        """What it has printed, once it has ended."""
        self.join(60)
        assert self._done.get("exit_code") == 0, self._done
        return json.loads(self._done["stdout"])


@pytest.fixture(params=ENGINES)
def agent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    with kept(tmp_path, monkeypatch, SCENARIO, "--engine", request.param) as agent:
        yield agent


def ask(agent: Agent, host: str) -> list[str]:
    """Who answers a datagram of a new flow."""
    answers: list[str] = Script(agent, host, ASK, SERVICE, 1, 0.5, 0).said()
    return answers


def server_of(agent: Agent, name: str) -> dict[str, Any]:
    found: dict[str, Any] = agent.pools()["services"]["dns"]["servers"][name]
    return found


def instead(agent: Agent, server: str, text: str, *words: object) -> Script:
    """A script takes the place of the server's own program."""
    agent.server(server, "stop")
    script = Script(agent, server, text, *words)
    wait_until(lambda: ":53 " in agent.exec(server, ["ss", "-Hlun"])["stdout"])
    return script


def drained_by_silence(agent: Agent, server: str, speaker: Script) -> None:
    """Not before the speaker ends, and some seconds after it has."""
    begun = monotonic()
    while speaker.is_alive():
        admin = server_of(agent, server)["admin"]
        assert admin == "draining" or not speaker.is_alive(), f"{admin} after {monotonic() - begun:.1f} s"
        sleep(0.1)
    assert monotonic() - begun > 3 * IDLE_S, "it ended too soon to show anything"
    wait_until(lambda: server_of(agent, server)["admin"] == "maint", IDLE_S + 5)


@pytest.mark.parametrize("client", ["h3", "h1"], ids=["another", "itself"])
def test_drain_lasts_as_long_as_datagrams_that_nobody_answers(agent: Agent, client: str) -> None:
    sink = instead(agent, "h1", HEAR, 5 * IDLE_S)
    asker = Script(agent, client, ASK, SERVICE, 8 * IDLE_S, 0.5, 0)
    wait_until(lambda: server_of(agent, "h1")["hits"] == 1)
    agent.pool("dns", "h1", "drain", ip="")
    drained_by_silence(agent, "h1", asker)
    assert (sink.said(), asker.said()) == (8 * IDLE_S, [])
    assert ask(agent, "h4") == ["h2"]


def test_drain_lasts_as_long_as_a_server_that_only_answers(agent: Agent) -> None:
    server = instead(agent, "h1", TELL, 8 * IDLE_S, 0.5)
    assert len(Script(agent, "h3", ASK, SERVICE, 1, 0.5, 41000).said()) <= 1
    wait_until(lambda: server_of(agent, "h1")["hits"] == 1)
    agent.pool("dns", "h1", "drain", ip="")
    drained_by_silence(agent, "h1", server)
    assert server.said()[:2] == ["::ffff:10.0.0.3", 41000]


def test_answers_go_on_in_the_services_name_when_another_server_dies(agent: Agent) -> None:
    """The tracker has forgotten them with the dead server's, and the client says nothing."""
    instead(agent, "h1", TELL, 8 * IDLE_S, 0.5)
    asker = Script(agent, "h3", ASK, SERVICE, 1, 0.0, 41000)
    assert asker.said() == ["told"]
    # a socket that is connected hears the service alone
    listener = Script(agent, "h3", LISTEN, SERVICE, 41000, 4 * IDLE_S)
    wait_until(lambda: "10.0.0.3:41000" in agent.exec("h3", ["ss", "-Hun"])["stdout"])
    agent.link("down", host="h2")
    wait_until(lambda: server_of(agent, "h2")["state"] == "down")
    assert listener.said() > 12


def dead_servers_flows_alone_move(agent: Agent, service: str) -> None:
    """Though the controller is newer than all flows; each is seen by its own client."""
    askers = [Script(agent, client, ASK, service, 60, 0.2, 0) for client in ("h3", "h4", "h6") for _ in range(2)]
    wait_until(lambda: sum(server_of(agent, name)["hits"] for name in ("h1", "h2", "h5")) == 6)
    agent.kill_controller()
    agent.start_controller()
    wait_until(lambda: all(server_of(agent, name)["state"] == "up" for name in ("h1", "h2", "h5")))
    agent.link("down", host="h2")
    heard: list[list[str]] = [asker.said() for asker in askers]
    moved = [answers for answers in heard if answers[0] == "h2"]
    assert len(moved) == 2
    assert all(answers[-1] != "h2" and len(answers) > 55 for answers in moved)
    assert all(answers == answers[:1] * 60 for answers in heard if answers not in moved)
    assert agent.controller()["statistics"]["switch_errors"] == {}


def test_after_a_controllers_restart_a_dead_servers_flows_alone_move(agent: Agent) -> None:
    dead_servers_flows_alone_move(agent, SERVICE)


def test_after_a_controllers_restart_a_dead_servers_flows_alone_move_over_ipv6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept(tmp_path, monkeypatch, SIX, "--engine", "osken") as agent:
        dead_servers_flows_alone_move(agent, SERVICE_SIX)
