"""The agent's API over a network that isn't there: hosts are loopback, switches always connect.

Run as a script by the system's Python with LAB_LISTEN_FD and LAB_STATE; everything in front of
Mininet and Open vSwitch is the real thing: routes, token, checks, loads by curl, commands, hit logs.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab import wire
from lab.agent.agent import Agent
from lab.agent.api import Api
from lab.agent.namespaces import Here
from lab.agent.openvswitch import OpenVSwitch
from lab.agent.supervisor import Supervisor


class NoSwitches(OpenVSwitch):
    def start(self) -> None: ...

    def check(self) -> None: ...

    def set_controllers(self, targets: Mapping[str, str]) -> None: ...

    def connected(self, switches: Iterable[str]) -> dict[str, bool]:
        return dict.fromkeys(switches, True)

    def count_flows(self, switches: Iterable[str]) -> int:
        return 0

    def flows(self, switches: Iterable[str]) -> str:
        return "".join(f"# {switch}\n" for switch in switches)


class NoNet:
    version = "none"

    def __init__(self, network: wire.Network, _ovs: OpenVSwitch) -> None:
        self._network = network
        self.places = {host.name: Here() for host in network.hosts}
        self.asked: list[tuple[str, str, str]] = []

    def start_nodes(self) -> None: ...

    def start_links(self) -> None: ...

    def stop(self) -> None: ...

    def set_link(self, one: str, other: str, state: str) -> None:
        self.asked.append((one, other, state))

    def pids(self) -> dict[str, int]:
        return {host.name: os.getpid() for host in self._network.hosts}


def serve() -> None:
    state = Path(os.environ["LAB_STATE"])
    log = state / "agent.log"
    logging.basicConfig(level=logging.INFO, filename=log)
    agent = Agent(state, "127.0.0.1", NoSwitches(state), NoNet)  # type: ignore[arg-type]
    api = Api(agent, Supervisor("127.0.0.1", "t"), "t", log)
    api.serve(socket.socket(fileno=int(os.environ["LAB_LISTEN_FD"])))
    signal.pause()


if __name__ == "__main__":
    serve()
