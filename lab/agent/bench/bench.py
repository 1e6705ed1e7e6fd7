"""The bench beside Mininet: makes a lab what it is to be measured as, and runs loads in it.

A lab is measured as one thing for all its life: with a controller, with another balancer on a host, or with a switch
that learns and forwards by itself. Rule: all that is started here ends with the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import wire_bench
from lab.agent import checks
from lab.agent.bench import counters, peers
from lab.agent.bench.bulk import BulkJob
from lab.agent.bench.load import Lab, LoadJob, Scripts
from lab.agent.bench.programs import Programs
from lab.agent.openvswitch import RUN, OpenVSwitch
from lab.agent.refusal import Refusal

if TYPE_CHECKING:
    from lab.agent.agent import Built

PORTS = (1024, 65_535)  # of each host's clients: the usual 28,232 are used up in seconds
SWITCH = "ovs-vswitchd"
MAX_SECONDS = 600
MAX_CONNECTIONS = 10_000


class Bench:
    def __init__(self, state: Path, ovs: OpenVSwitch) -> None:
        self._folder = state / "bench"
        self._ovs = ovs
        self._peer: tuple[str, peers.RunningPeer] | None = None
        self._fewest_rules = 1 << 32
        self._ports = 0

    def start(self, built: Built, wanted: wire_bench.Start) -> dict[str, Any]:
        """Prepare the hosts, then the switch or the peer; gives {"configuration": file → text, "ports"}."""
        if wanted.peer:
            checks.check_host(wanted.peer.host, built.addresses)
            checks.check_ip(wanted.peer.ip)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ports = min(_widen(place) for place in built.net.places.values())
        files = {f"{name}.nginx.conf": text for name, text in built.servers.configurations().items()}
        if wanted.plain or wanted.peer:
            for switch in built.switches:
                self._ovs.forward_plainly(switch)
            files["switch.flows"] = self._ovs.flows(built.switches)
        if peer := wanted.peer:
            self.stop()
            running = peers.start(peer, built.net.places[peer.host], self._folder)
            self._peer = (peer.kind, running)
            files.update(running.configuration)
        return {"configuration": files, "ports": self._ports}

    def stop(self) -> None:
        if self._peer:
            self._peer[1].stop()
            self._peer = None

    def usage(self) -> dict[str, float]:
        """CPU seconds of the switch's program and the peer's since their start."""
        return {name: counters.cpu_s(pid) for name, pid in self._programs().items()}

    def connections(self, built: Built, wanted: wire_bench.Connections) -> dict[str, Any]:
        """Make them; {"made", "failed"}."""
        for client in wanted.clients:
            checks.check_host(client, built.addresses)
        check_targets(wanted.ips, wanted.port)
        if not 1 <= wanted.count <= MAX_CONNECTIONS:
            raise Refusal(400, f"count {wanted.count} is not between 1 and {MAX_CONNECTIONS}")
        self._note_rules(built)
        scripts, programs = Scripts(self._folder), Programs()
        try:
            for client, ip in wire_bench.targets(wanted).items():
                programs.start(built.net.places[client], scripts.sampler(ip, wanted.port, wanted.count, 0))
            outputs = programs.finish(30 + wanted.count * 0.1)
        finally:
            programs.end()
        made = sum(len(json.loads(output.out)["ms"]) for output in outputs if output.exit_code == 0)
        return {"made": made, "failed": wanted.count * len(wanted.clients) - made}

    def load(self, built: Built, load: wire_bench.Load) -> LoadJob:
        check_load(load, built.addresses)
        switches = built.switches
        self._note_rules(built)
        return LoadJob(
            load,
            Lab(
                places=built.net.places,
                pids=built.net.pids(),
                programs=self._programs(),
                rules=lambda: self._ovs.count_flows(switches),
                fewest_rules=self._fewest_rules,
                scripts=Scripts(self._folder),
                ports=self._ports,
            ),
        )

    def bulk(self, built: Built, bulk: wire_bench.Bulk) -> BulkJob:
        for host in (bulk.client, bulk.server):
            checks.check_host(host, built.addresses)
        check_targets((bulk.ip,), bulk.port)
        check_seconds(bulk.seconds)
        return BulkJob(bulk, built.net.places)

    def _note_rules(self, built: Built) -> None:
        self._fewest_rules = min(self._fewest_rules, self._ovs.count_flows(built.switches))

    def _programs(self) -> dict[str, int]:
        """Those whose CPU time is a load's price: the switch, and the peer."""
        found = {}
        pidfile = RUN / f"{SWITCH}.pid"
        if pidfile.exists():
            found[SWITCH] = int(pidfile.read_text())
        if self._peer and self._peer[1].pid:
            found[self._peer[0]] = self._peer[1].pid
        return found


def check_load(load: wire_bench.Load, hosts: Collection[str]) -> None:
    """Raises Refusal(400) for what can't be measured."""
    if not load.clients:
        raise Refusal(400, "a load needs at least one client")
    for host in (*load.clients, *load.servers):
        checks.check_host(host, hosts)
    if load.sampler not in load.clients:
        raise Refusal(400, f"the sampler {load.sampler!r:.40} is none of the clients")
    check_targets(load.ips, load.port)
    check_seconds(load.seconds)
    if not 1 <= load.concurrency <= checks.MAX_CONCURRENCY:
        raise Refusal(400, f"concurrency {load.concurrency} is not between 1 and {checks.MAX_CONCURRENCY}")
    if not 0.001 <= load.sample_every_s <= load.seconds:
        raise Refusal(400, f"sample_every_s {load.sample_every_s} is not between 0.001 and {load.seconds}")


def check_targets(ips: Sequence[str], port: int) -> None:
    if not ips:
        raise Refusal(400, "ips names no address to connect to")
    for ip in ips:
        checks.check_ip(ip)
    if not 0 < port < 65_536:
        raise Refusal(400, f"port {port} is not between 1 and 65535")


def check_seconds(seconds: int) -> None:
    if not 1 <= seconds <= MAX_SECONDS:
        raise Refusal(400, f"seconds {seconds} is not between 1 and {MAX_SECONDS}")


def _widen(place: Any) -> int:
    """Ports that a client's address has now."""
    found = re.findall(r"\d+", peers.set_sysctl(place, "net.ipv4.ip_local_port_range", f"{PORTS[0]} {PORTS[1]}"))
    return int(found[1]) - int(found[0]) + 1 if len(found) == 2 else 0
