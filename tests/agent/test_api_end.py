"""The agent's API when the agent ends: nobody who still waits for an answer keeps it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent_rig import Door, wait_until
from api_without_mininet import NoNet, NoSwitches

from lab.agent.agent import Agent
from lab.agent.api import Api
from lab.agent.supervisor import Supervisor


def test_a_command_that_runs_is_killed_when_the_agent_ends(tmp_path: Path) -> None:
    begun, log = tmp_path / "begun", tmp_path / "agent.log"
    agent = Agent(tmp_path, "127.0.0.1", NoSwitches(tmp_path), NoNet)  # type: ignore[arg-type]
    api = Api(agent, Supervisor("127.0.0.1", "t"), "t", log)
    listener = socket.create_server(("127.0.0.1", 0))
    api.serve(listener)
    command = {"host": "agent", "argv": ["sh", "-c", f"touch {begun}; exec sleep 60"]}
    with Door(f"http://127.0.0.1:{listener.getsockname()[1]}", "t") as door, ThreadPoolExecutor(1) as beside:
        answer = beside.submit(door.ask, "POST", "/exec", command)
        wait_until(begun.exists, "the command")
        api.close()
        assert answer.result().json()["exit_code"] == -9
