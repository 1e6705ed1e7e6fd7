"""A lab for each variant, all of them up for the whole bench, so that taking turns costs nothing.

Each is the same network (six hosts, and h7 for a peer) in namespaces of its own, with its own switch and controller:
nothing of one variant's rules, caches or tracked connections is met by the next. What the idle ones use is measured
before anything else, told, and taken off. Rule: a bed that can't be made, or doesn't answer, is left out with a reason.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab import wire, wire_bench
from lab.bench.variants import Variant, policy_of
from lab.driver.backends.base import Backend
from lab.driver.errors import LabError
from lab.driver.session import Session, together

CLIENTS: Final = ("h3", "h4", "h5", "h6")
SERVERS: Final = {"h1": "10.0.0.1", "h2": "10.0.0.2"}
PEER: Final = "h7"
HOSTS: Final = 7
SERVICE_IP: Final = "10.0.1.1"
PORT, BULK_PORT = 80, 5201
BULK_SERVER: Final = "h1"  # alone: both of iperf3's connections must reach the same program
DPID: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a lab's programs have used and counted so far. None: there is no controller, or it doesn't count."""

    cpu_s: float | None
    memory_peak_mb: float | None
    packet_ins: int | None
    flow_mods: int | None


class Bed:
    """A variant's lab."""

    def __init__(self, variant: Variant, session: Session, files: Mapping[str, str], facts: dict[str, Any]) -> None:
        self.variant, self.session, self.files, self.facts = variant, session, files, facts
        self.idle_cpu: dict[str, float] = {}  # program → CPU seconds per second, when nothing is sent

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def ips(self) -> tuple[str, ...]:
        """Where clients connect to: the service, or by turns the servers themselves."""
        return (SERVICE_IP,) if self.variant.engine or self.variant.peer else tuple(SERVERS.values())

    @property
    def bulk_ip(self) -> str:
        return SERVICE_IP if self.variant.engine or self.variant.peer else SERVERS[BULK_SERVER]

    @property
    def callers(self) -> tuple[str, ...]:
        """Hosts that open connections: a proxy opens some of its own."""
        return (*CLIENTS, PEER) if self.variant.peer else CLIENTS

    def usage(self) -> Usage:
        """Of the controller. Raises LabError: it has died."""
        if self.variant.engine is None:
            return Usage(cpu_s=None, memory_peak_mb=None, packet_ins=None, flow_mods=None)
        status = self.session.status()
        counted = status.get("statistics") or {}
        return Usage(
            cpu_s=status["cpu_s"],
            memory_peak_mb=status["rss_peak_mb"],
            packet_ins=counted.get("packet_ins_total"),
            flow_mods=counted.get("flow_mods_total"),
        )

    def down(self) -> dict[str, str]:
        """End it; gives its logs."""
        found: dict[str, str] = {}
        with contextlib.suppress(LabError):
            self.session.agent.be_quick()
            found = self.session.files()
        self.session.lab.down()
        return found


def make(variant: Variant, backend: Backend, pox: Path | None, kept: Mapping[str, tuple[str, ...]]) -> Bed:
    """Bring up a lab for `variant` whose clients all get answers. Raises LabError; nothing is left then."""
    session = Session(backend.up(f"bench-{variant.name}-{os.getpid()}", pox if variant.needs_pox else None, False))
    try:
        bed = _build(variant, session, kept)
        _try_out(bed)
        return bed
    except BaseException as error:
        reason = session.explain(error) if isinstance(error, LabError) else None
        session.lab.down()
        if reason:
            raise LabError(reason) from None
        raise


def _build(variant: Variant, session: Session, kept: Mapping[str, tuple[str, ...]]) -> Bed:
    agent = session.agent
    start = wire_bench.Start(plain=variant.engine is None, peer=peer(variant.peer) if variant.peer else None)
    if variant.engine is None:
        session.network = agent.put_network(network())
        return Bed(variant, session, agent.bench_start(start)["configuration"], {})
    config = controller(variant, kept)
    session.network, session.controller = together(
        lambda: agent.put_network(network()), lambda: agent.put_controller(config)
    )
    session.check_mode(config.mode, config.stateful)
    files = dict(agent.bench_start(start)["configuration"])
    agent.connect_network()
    session.wait_for_servers(tuple(SERVERS))
    policy = config.services[0].policy if variant.engine != "stock" else "random"
    files["controller.json"] = _json(wire.encode(config))
    facts = {"engine": variant.engine, "mode": variant.mode, "policy": policy, "notes": session.notes}
    return Bed(variant, session, files, facts)


def _try_out(bed: Bed) -> None:
    """One connection from each client, answered."""
    wanted = wire_bench.Connections(clients=CLIENTS, ips=bed.ips, port=PORT, count=1)
    found = bed.session.agent.bench_connections(wanted)
    if found["failed"]:
        raise LabError(f"{found['failed']} of {len(CLIENTS)} clients got no answer through {bed.name}")


def network() -> wire.Network:
    """Six hosts as in the tutorial, h1 and h2 serving by nginx without a log, and h7 for a peer."""
    hosts = tuple(
        wire.Host(name=f"h{n}", ip=f"10.0.0.{n}/8", mac=f"02:00:0a:00:00:{n:02x}") for n in range(1, HOSTS + 1)
    )
    servers = tuple(wire.HttpServer(host=host, port=PORT, kind="nginx", log_hits=False) for host in SERVERS)
    return wire.Network(switches=(wire.Switch(name="s1", dpid=DPID),), hosts=hosts, servers=servers)


def controller(variant: Variant, kept: Mapping[str, tuple[str, ...]]) -> wire.Controller:
    """The kit's defaults; a second service for bulk, but for stock POX, which has one service at all ports."""
    assert variant.engine is not None
    assert variant.mode is not None
    pool = tuple(wire.Server(name=host, ip=ip) for host, ip in SERVERS.items())
    web = wire.Service(name="web", ip=SERVICE_IP, port=PORT, servers=pool, policy=policy_of(variant.mode, kept))
    alone = (wire.Server(name=BULK_SERVER, ip=SERVERS[BULK_SERVER]),)
    bulk = wire.Service(name="bulk", ip=SERVICE_IP, port=BULK_PORT, servers=alone, policy=web.policy)
    services = (web,) if variant.engine == "stock" else (web, bulk)
    return wire.Controller(
        services=services, engine=variant.engine, mode=variant.mode, stateful=variant.stateful, dpid=DPID
    )


def peer(kind: str) -> wire_bench.Peer:
    targets = (
        wire_bench.Target(port=PORT, servers=tuple(SERVERS.values())),
        wire_bench.Target(port=BULK_PORT, servers=(SERVERS[BULK_SERVER],)),
    )
    return wire_bench.Peer(kind=kind, host=PEER, ip=SERVICE_IP, targets=targets)


def _json(data: Any) -> str:
    return json.dumps(data, indent=1) + "\n"
