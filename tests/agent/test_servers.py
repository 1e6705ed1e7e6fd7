"""Web servers as the agent starts them: as nobody where it is root, and up when they say so themselves."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_rig import free_port, open_folder, wait_until

from lab import wire
from lab.agent import privileges
from lab.agent.namespaces import Here
from lab.agent.refusal import Refusal
from lab.agent.servers import SCRIPT, Servers

KINDS = ("python", "nginx")
CAP_NET_BIND_SERVICE = 10


@pytest.fixture
def servers() -> Iterator[Servers]:
    with open_folder() as state:
        made = Servers(state)
        yield made
        made.stop()


def serve(servers: Servers, kind: str, port: int) -> None:
    servers.start([wire.HttpServer(host="h1", port=port, kind=kind)], {"h1": Here()})


def get(port: int) -> tuple[str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/a")
        answer = connection.getresponse()
        return answer.getheader("X-Server"), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_answers_once_it_is_up_and_again_after_a_stop(servers: Servers, kind: str) -> None:
    port = free_port()
    serve(servers, kind, port)
    servers.wait_listening()
    assert get(port)[0] == "h1"
    wait_until(lambda: len(servers.hits()["h1"]) == 1, "the hit's line")  # nginx answers first, and writes then
    servers.stop_on("h1")
    with pytest.raises(ConnectionRefusedError):
        get(port)
    servers.start_on("h1")
    assert get(port)[1].startswith(b"h1 answers.")
    wait_until(lambda: len(servers.hits()["h1"]) == 2, "the second hit's line")
    assert [hit.path for hit in servers.hits()["h1"]] == ["/a", "/a"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not privileges.as_nobody(), reason="only root can become another user")
def test_where_the_agent_is_root_a_server_is_nobody_who_may_listen_and_nothing_else(
    servers: Servers, kind: str
) -> None:
    port = 1  # a privileged one, which nobody uses
    serve(servers, kind, port)
    servers.wait_listening()
    assert get(port)[0] == "h1"
    status = Path(f"/proc/{servers._running[0].process.pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert facts["Uid"].split() == facts["Gid"].split() == [str(privileges.NOBODY)] * 4
    assert {int(facts[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {1 << CAP_NET_BIND_SERVICE}
    assert (facts["NoNewPrivs"].strip(), facts["Groups"].strip()) == ("1", "")


@pytest.mark.parametrize("kind", KINDS)
def test_without_another_user_to_become_a_server_runs_as_the_agent(
    servers: Servers, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "_works", lambda: False)
    port = free_port()
    serve(servers, kind, port)
    servers.wait_listening()
    assert get(port)[0] == "h1"
    assert Path(f"/proc/{servers._running[0].process.pid}").stat().st_uid == os.geteuid()


def test_a_kit_that_others_cant_read_serves_all_the_same(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "web_server.py"
    closed.write_bytes(SCRIPT.read_bytes())
    closed.chmod(0o600)
    monkeypatch.setattr("lab.agent.servers.SCRIPT", closed)
    port = free_port()
    serve(servers, "python", port)
    servers.wait_listening()
    assert get(port)[0] == "h1"


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_on_the_port_is_not_taken_for_the_server(servers: Servers, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        serve(servers, kind, other.getsockname()[1])
        with pytest.raises(Refusal, match=rf"the {kind} server on h1-\d+ ended with exit code 1: .*(in use|not bind)"):
            servers.wait_listening()


def test_a_server_that_ends_without_a_word_is_told(servers: Servers) -> None:
    serve(servers, "python", free_port())
    servers._running[0].process.kill()
    with pytest.raises(Refusal, match=r"the python server on h1-\d+ ended with exit code -9: it said nothing"):
        servers.wait_listening()


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/setpriv"])
def test_one_who_cant_change_the_user_leaves_it(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(privileges, "SETPRIV", program)
    privileges._works.cache_clear()
    try:
        assert privileges.as_nobody() == []
    finally:
        privileges._works.cache_clear()


@pytest.mark.skipif(not privileges.as_nobody(), reason="only root can become another user")
def test_nobody_writes_to_what_it_was_given(tmp_path: Path) -> None:
    with open_folder() as folder:
        (folder / "mine").touch()
        (folder / "given").touch()
        privileges.give(folder / "given")
        write = [*privileges.as_nobody(), "sh", "-c", "echo x > $0"]
        codes = [
            subprocess.run([*write, str(folder / name)], stderr=subprocess.DEVNULL).returncode == 0
            for name in ("mine", "given")
        ]
        assert codes == [False, True]
