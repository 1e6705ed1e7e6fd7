"""Helpers of the agent's tests: waiting, ports, a web server on loopback, the API's door."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from lab import wire
from lab.agent.servers import PYTHON, SCRIPT
from lab.agent.web_server import UP

HERE = Path(__file__).parent


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.005)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users get to, as they don't to pytest's: the web servers run as nobody where we are root."""
    with TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Web:
    """A running web_server.py."""

    def __init__(self, name: str, folder: Path, size: int, delay_ms: int) -> None:
        self.port, self._log = free_port(), folder / f"{name}.ndjson"
        words = [PYTHON, "-I", "-S", str(SCRIPT), name, str(self.port), str(size), str(delay_ms), str(self._log)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        with self.process.stdout as said:
            assert said.read(len(UP)) == UP

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def hits(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


class Door(requests.Session):
    """The agent's API with its token."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Authorization"] = f"Bearer {token}"
        self._base = url

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.request(method, self._base + path, json=body, timeout=20, **options)

    def load(self, load: wire.Load) -> list[dict[str, Any]]:
        """All lines of a load: its requests, then its end."""
        answer = self.ask("POST", "/load", wire.encode(load))
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]
