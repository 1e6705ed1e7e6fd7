"""What is running: Open vSwitch, at most one network with its servers, the loads in progress.

All of this blocks, so the API calls it in threads: what touches Mininet in one of its own, the rest beside it.
Rule: a network is either wholly there or not at all; a failure half-way takes down what had been built.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import wire
from lab.agent import checks, floods
from lab.agent.clients import Run
from lab.agent.commands import Command, output_of
from lab.agent.openvswitch import OpenVSwitch
from lab.agent.pings import ping_all
from lab.agent.privileges import as_nobody
from lab.agent.reconnection import Reconnection
from lab.agent.refusal import Refusal
from lab.agent.servers import Servers

if TYPE_CHECKING:
    from lab.agent.bench.bench import Bench
    from lab.agent.network import Net  # Mininet isn't everywhere, and takes its time to import

CONNECT_S = 15.0
FLOOD_GRACE_S = 30.0  # a flood that a slow machine can't send in its time may take so much longer
NewNet = Callable[[wire.Network, OpenVSwitch], "Net"]
log = logging.getLogger("lab.agent")


@dataclass(frozen=True)
class Built:
    """A network that stands."""

    network: wire.Network
    net: Net
    servers: Servers
    datapath: str
    versions: dict[str, str]

    @property
    def addresses(self) -> dict[str, str]:
        return {host.name: host.ip.partition("/")[0] for host in self.network.hosts}

    @property
    def switches(self) -> list[str]:
        return [switch.name for switch in self.network.switches]


class Agent:
    """The lab's network side. `build`, `tear_down` and `set_link` are called from one thread only."""

    def __init__(self, state: Path, controller: str, ovs: OpenVSwitch, new_net: NewNet) -> None:
        """controller: the host name or address of the engine. new_net: makes a Net that isn't built yet."""
        self._state = state
        self._controller = controller
        self._ovs = ovs
        self._new_net = new_net
        self._preparing = ThreadPoolExecutor(2)
        self._daemons: Future[None] = self._preparing.submit(self._ovs.start)  # while the API is being imported
        self._curl: Future[str] = self._preparing.submit(_curl_version)
        self._preparing.submit(as_nobody)  # tried before it is wanted
        self._bench: Bench | None = None
        self._built: Built | None = None
        self._reconnection: Reconnection | None = None
        self._runs: set[Run] = set()
        self._closing = threading.Event()
        self._lock = threading.Lock()

    @property
    def built(self) -> bool:
        return self._built is not None

    def network(self) -> Built:
        if self._built is None:
            raise Refusal(404, "there is no network yet: PUT /network builds one")
        return self._built

    @property
    def bench(self) -> Bench:
        """Made, and its modules imported, when it is wanted: few labs are measured."""
        from lab.agent.bench.bench import Bench

        with self._lock:
            if self._bench is None:
                self._bench = Bench(self._state, self._ovs)
            return self._bench

    # Building and taking down

    def build(self, network: wire.Network) -> dict[str, Any]:
        """Build `network` with its servers, not yet connected; returns datapath, what it is able to, versions."""
        checks.check_network(network)
        if self._built is not None:
            raise Refusal(409, "there is a network already: DELETE /network takes it down")
        self._daemons.result()
        self._ovs.check()
        net, servers = self._new_net(network, self._ovs), Servers(self._state)
        try:
            net.start_nodes()
            servers.start(network.servers, net.places)  # they come up while the links are made
            net.start_links()
            abilities = self._ovs.abilities(network.switches[0].name)  # one datapath serves all switches
            servers.wait_listening()
        except BaseException:
            self._take_down(net, servers)
            raise
        versions = {"open_vswitch": self._ovs.version, "mininet": net.version, "curl": self._curl.result()}
        self._built = Built(network, net, servers, self._ovs.datapath, versions)
        log.info("built %s", describe(network, self._ovs.datapath))
        return {"datapath": self._ovs.datapath, **abilities, "versions": versions}

    def tear_down(self) -> None:
        built = self.network()
        self._built = None
        self.cancel_loads()
        self._take_down(built.net, built.servers)
        log.info("the network is taken down")

    def _take_down(self, net: Net, servers: Servers) -> None:
        self._leave_switches()
        if self._bench is not None:
            self._bench.stop()
        servers.stop()
        net.stop()
        self._ovs.forget()

    def interrupt(self) -> None:
        """The agent is about to end: nothing that may take long goes on."""
        self._closing.set()
        self.cancel_loads()

    def close(self) -> None:
        """End everything that was started here; a second call does nothing."""
        with suppress(Refusal):
            self.tear_down()
        with suppress(Exception):  # why they didn't start has been told
            self._daemons.result()
        self._ovs.stop()
        self._preparing.shutdown()

    # The controller

    def connect(self) -> None:
        """Point all switches at the controller; returns when all are connected."""
        switches = self.network().switches
        target = f"tcp:{_address(self._controller)}:{wire.OPENFLOW_PORT}"
        self._leave_switches()
        self._ovs.set_controllers(dict.fromkeys(switches, target))
        if missing := self._ovs.wait_connected(switches, CONNECT_S, self._closing):
            late = f"{', '.join(missing)} didn't connect to {target} within {CONNECT_S:g} s"
            raise Refusal(504, self._ovs.misfit(missing) or late)
        self._reconnection = Reconnection(self._ovs, switches, target)
        log.info("connected %s to the controller at %s", ", ".join(switches), target)

    def _leave_switches(self) -> None:
        if self._reconnection is not None:
            self._reconnection.stop()
            self._reconnection = None

    def describe(self) -> dict[str, Any]:
        built = self.network()
        return {
            **wire.encode(built.network),
            "datapath": built.datapath,
            "versions": built.versions,
            "connected": self._ovs.connected(built.switches),
            "pids": built.net.pids(),
        }

    def flows(self) -> str:
        return self._ovs.flows(self.network().switches)

    # What a scenario does

    def new_load(self, load: wire.Load, report: Callable[[wire.Request], None]) -> Run:
        """A run of `load`, ready to be started; it is cancelled when the network goes."""
        built = self.network()
        checks.check_load(load, built.addresses)
        run = Run(load, dict(built.net.places), report)
        with self._lock:
            self._runs.add(run)
        return run

    def end_load(self, run: Run) -> None:
        run.cancel()
        with self._lock:
            self._runs.discard(run)

    def cancel_loads(self) -> None:
        with self._lock:
            for run in self._runs:
                run.cancel()

    def set_host_link(self, host: str, state: object) -> None:
        checks.check_host(host, self.network().addresses)
        (switch,) = (known.switch for known in self.network().network.hosts if known.name == host)
        self.set_link(host, switch, state)

    def set_link(self, one: str, other: str, state: object) -> None:
        built = self.network()
        wanted = checks.check_state(state)
        for name in (one, other):
            checks.check_host(name, [*built.addresses, *built.switches])
        built.net.set_link(one, other, wanted)
        log.info("the link %s-%s is %s", one, other, wanted)

    def set_servers(self, host: str, action: object) -> None:
        """Stop or start the web servers of a host."""
        built = self.network()
        checks.check_host(host, built.addresses)
        if checks.check_action(action, ("stop", "start")) == "stop":
            built.servers.stop_on(host)
        else:
            built.servers.start_on(host)
        log.info("the web server on %s: %s", host, action)

    def restart_switches(self) -> None:
        self.network()
        self._ovs.restart_switches()
        log.info("Open vSwitch was killed and started again")

    def flood(self, flood: wire.Flood) -> Command:
        """The program that sends it, to be run on its host."""
        built = self.network()
        checks.check_flood(flood, built.addresses)
        subnet = next(host.ip for host in built.network.hosts if host.name == flood.host)
        taken = [*built.addresses.values(), flood.ip]
        argv = floods.command(flood, subnet, taken)
        log.info("%s sends %d SYNs to %s:%d in %g s", flood.host, flood.syns, flood.ip, flood.port, flood.seconds)
        return self.command(flood.host, argv, flood.seconds + FLOOD_GRACE_S)

    def ping_all(self) -> wire.Pings:
        built = self.network()
        pings = ping_all(built.net.places, built.addresses)
        log.info("pinged all hosts from all: %d of %d answered", pings.received, pings.sent)
        return pings

    def command(self, host: str, argv: list[str], timeout_s: float) -> Command:
        """A command for a host; a switch's and the agent's own run where the agent runs."""
        if host == "agent":
            return Command(argv, None, timeout_s)
        built = self.network()
        pids: dict[str, int | None] = {**built.net.pids(), **dict.fromkeys(built.switches)}
        checks.check_host(host, pids)
        return Command(argv, pids[host], timeout_s)

    def hits(self) -> dict[str, list[wire.Hit]]:
        return self.network().servers.hits()

    def empty_hits(self) -> None:
        self.network().servers.empty_hits()


def describe(network: wire.Network, datapath: str) -> str:
    """One line for the log."""
    switches = ", ".join(f"{switch.name} (dpid {switch.dpid})" for switch in network.switches)
    hosts = network.hosts
    some = f"{hosts[0].name}-{hosts[-1].name}" if len(hosts) > 1 else hosts[0].name
    return f"{switches}; {len(hosts)} hosts {some} from {hosts[0].ip}; {datapath} datapath"


def _address(host: str) -> str:
    """The address of `host` as Open vSwitch wants it: it resolves no names itself."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, wire.OPENFLOW_PORT, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise Refusal(502, f"the controller's host {host!r} is not known here") from None
    return f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])


def _curl_version() -> str:
    words = output_of(["curl", "--version"]).split()
    return words[1] if len(words) > 1 else "unknown"
