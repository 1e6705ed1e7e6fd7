"""A web server on loopback, and the agent's API without Mininet, for the tests of the agent."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_rig import HERE, Door, Web, open_folder

from lab.agent.servers import PYTHON


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Callable[..., Web]]:
    started: list[Web] = []

    def start(name: str = "h1", size: int = 64, delay_ms: int = 0) -> Web:
        started.append(Web(name, tmp_path, size, delay_ms))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def served() -> Iterator[Door]:
    """The API, for all tests of a module: it takes its time to start."""
    with open_folder() as state:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            fd, port = listener.fileno(), listener.getsockname()[1]
            environment = {**os.environ, "LAB_LISTEN_FD": str(fd), "LAB_STATE": str(state)}
            process = subprocess.Popen([PYTHON, str(HERE / "api_without_mininet.py")], env=environment, pass_fds=[fd])
        door = Door(f"http://127.0.0.1:{port}", "t")
        try:
            yield door  # its first request waits in the listening socket until the API is there
        finally:
            door.close()
            process.kill()
            process.wait()


@pytest.fixture
def api(served: Door) -> Iterator[Door]:
    """The API without a network, with the token."""
    token = served.headers["Authorization"]
    yield served
    served.headers["Authorization"] = token
    served.ask("DELETE", "/network")
