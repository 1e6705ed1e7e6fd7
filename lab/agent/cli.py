"""The `lab` command, for use beside the agent (in its container): a host's shell, and a look at the lab.

    lab h3 curl -i http://10.0.1.1/    run a command on a host, a switch or the agent; `lab h3` alone opens a shell
    lab status | hits | flows | pingall | log

It speaks to the agent's own API, through $LAB_STATE/agent.sock with the token beside it. A host's command is then
started here rather than by the agent, so that it has this terminal. Rule: what went wrong is one sentence.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

NO_LAB = 3


class Trouble(Exception):
    """Why the command can't be done, in a sentence."""


class _Connection(http.client.HTTPConnection):
    """HTTP through the agent's socket file."""

    def __init__(self, path: Path) -> None:
        super().__init__("agent", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Door:
    """The agent's API."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def ask(self, method: str, path: str, body: object = None) -> str:
        """The answer's text. Raises Trouble with the agent's sentence, or when there is no agent."""
        try:
            token = (self._state / "token").read_text().strip()
            connection = _Connection(self._state / "agent.sock")
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except OSError as error:
            raise Trouble(f"no agent answers in {self._state} ({error.strerror or error})") from None
        if answer.status >= 400:
            raise Trouble(json.loads(text)["error"])
        return text

    def get(self, path: str) -> Any:
        return json.loads(self.ask("GET", path))


def status(door: Door) -> str:
    network = door.get("/network")
    connected = {True: "connected", False: "no controller"}
    lines = [
        f"{switch['name']}  dpid {switch['dpid']}  {connected[network['connected'][switch['name']]]}"
        for switch in network["switches"]
    ]
    serving = {server["host"]: f"  serves HTTP on port {server['port']}" for server in network["servers"]}
    lines += [
        f"{host['name']}  {host['ip']}  {host['mac']}  on {host['switch']}{serving.get(host['name'], '')}"
        for host in network["hosts"]
    ]
    versions = ", ".join(f"{name.replace('_', ' ')} {version}" for name, version in network["versions"].items())
    return "\n".join([*lines, f"{network['datapath']} datapath; {versions}", ""])


def hits(door: Door) -> str:
    found = door.get("/hits")
    total = sum(map(len, found.values()))
    rows = [f"{host}  {len(each):6d}  {100 * len(each) / total if total else 0:5.1f} %" for host, each in found.items()]
    return "\n".join([*rows, f"all {total:6d}", ""])


def pingall(door: Door) -> str:
    pings = json.loads(door.ask("POST", "/pingall"))
    lost = "".join(f"no answer: {one} → {other}\n" for one, other in pings["failed"])
    return f"{lost}{pings['received']} of {pings['sent']} pings answered\n"


def flows(door: Door) -> str:
    return door.ask("GET", "/flows")


def show_log(door: Door) -> str:
    return door.ask("GET", "/log")


VIEWS: Mapping[str, Callable[[Door], str]] = {
    "status": status,
    "hits": hits,
    "flows": flows,
    "pingall": pingall,
    "log": show_log,
}


def on_node(door: Door, name: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` (or a shell) on a node from here."""
    network = door.get("/network")
    switches = [switch["name"] for switch in network["switches"]]
    pids: Mapping[str, int] = network["pids"]
    if name not in pids and name not in (*switches, "agent"):
        raise Trouble(f"there is no node {name!r}; known: {', '.join([*pids, *switches, 'agent'])}")
    words = list(command) or [os.environ.get("SHELL", "/bin/bash")]
    return ["mnexec", "-a", str(pids[name]), *words] if name in pids else words


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    door = Door(Path(os.environ.get("LAB_STATE", "/run/balance-lab")))
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if words else 2
    try:
        if words[0] in VIEWS:
            print(VIEWS[words[0]](door), end="")
            return 0
        line = on_node(door, words[0], words[1:])
        os.execvp(line[0], line)
    except Trouble as trouble:
        print(f"lab: {trouble}", file=sys.stderr)
    except OSError as error:
        print(f"lab: {line[0]} can't be run: {error.strerror}", file=sys.stderr)
    return NO_LAB


if __name__ == "__main__":
    sys.exit(main())
