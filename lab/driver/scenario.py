"""A scenario, ready to run. The one import of the scenario language for the rest of the driver.

    load(path, sets=(), *, policy=None, mode=None, engine=None) -> Scenario   or UsageError, every mistake in its text
    resolve(path) -> Path                                                     or UsageError: no such file, not a file
    Scenario: name, about, path, steps, rounds, requests, expect, needs_pingall, time_limit_s, engine, mode, policy,
              policies, servers, model, network() -> wire.Network, controller(verbose=False) -> wire.Controller,
              dump() -> str (YAML)
    Step, LoadStep and the other kinds: see steps.py
    Expect, StepExpect and what they hold: see scenario_steps.py
    json_schema() -> dict

Rule: whoever holds a Scenario holds one that is sound: complete (all defaults and overrides filled in) and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lab import wire
from lab.driver import policy_plugin
from lab.driver.scenario_file import read_scenario, resolve
from lab.driver.scenario_model import ScenarioModel, Server, Service, json_schema
from lab.driver.scenario_source import write_yaml
from lab.driver.scenario_steps import Expect, Latency, Percentiles, Range, StepExpect
from lab.driver.steps import LinkStep, LoadStep, PoolStep, Step, WaitStep, steps_of

__all__ = [
    "Expect",
    "Latency",
    "LinkStep",
    "LoadStep",
    "Percentiles",
    "Range",
    "Scenario",
    "Step",
    "StepExpect",
    "WaitStep",
    "json_schema",
    "load",
    "resolve",
]


@dataclass(frozen=True)
class Scenario:
    """A checked scenario. Two are equal when they run the same, wherever they came from."""

    model: ScenarioModel  # complete: hosts, switches, servers are mappings with every key set
    path: Path = field(compare=False)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def about(self) -> str:
        return self.model.about

    @property
    def expect(self) -> Expect:
        """What the whole run, all rounds together, must show."""
        return self.model.expect

    @property
    def time_limit_s(self) -> float:
        return self.model.time_limit_s

    @property
    def engine(self) -> str:
        """As asked for: auto, pox, osken, stock."""
        return self.model.controller.engine

    @property
    def is_ipv6(self) -> bool:
        """A service has an IPv6 address."""
        return any(service.is_ipv6 for service in self.model.services.values())

    @property
    def mode(self) -> str:
        return self.model.controller.mode

    @property
    def stateful(self) -> bool:
        return self.model.controller.stateful

    @property
    def policies(self) -> dict[str, str]:
        """Service → the policy that runs. Stock POX has one way, at random, whatever the scenario says."""
        stock = self.engine == "stock"
        if stock:
            return dict.fromkeys(self.model.services, "random")
        shown = policy_plugin.short_names(service.policy for service in self.model.services.values())
        return {name: shown[service.policy] for name, service in self.model.services.items()}

    @property
    def policy(self) -> str:
        """The policy of the first service."""
        return next(iter(self.policies.values()))

    @property
    def servers(self) -> dict[str, dict[str, int]]:
        """Service → server → weight: what a chi-square test compares hits with."""
        return {name: {s.name: s.weight for s in self._pool(name)} for name in self.model.services}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What to do, in order; never empty: a scenario without steps is one round."""
        return steps_of(self.model)

    @property
    def rounds(self) -> tuple[LoadStep, ...]:
        """Every load, those that run during another right behind it."""
        loads = [step for step in self.steps if isinstance(step, LoadStep)]
        return tuple(found for load in loads for found in (load, *load.rounds))

    @property
    def requests(self) -> int | None:
        """Requests of all rounds together; None where a round ends by time alone."""
        counts = [step.load.requests for step in self.rounds]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def needs_pingall(self) -> bool:
        return self.expect.pingall_loss is not None

    def network(self) -> wire.Network:
        topology = self.model.topology
        assert isinstance(topology.switches, dict)
        return wire.Network(
            switches=tuple(wire.Switch(name=n, dpid=s.dpid or 0) for n, s in topology.switches.items() if s),
            hosts=tuple(wire.Host(name=n, **host) for n, host in self._hosts().items()),
            links=tuple((a, b) for a, b in topology.links or ()),
            servers=self._web_servers(),
        )

    def controller(self, *, verbose: bool = False) -> wire.Controller:
        """What the supervisor starts; `verbose`: a log line per decision."""
        settings = self.model.controller
        return wire.Controller(
            services=tuple(self._service(name) for name in self.model.services),
            engine=settings.engine,
            mode=settings.mode,
            stateful=settings.stateful,
            dpid=self._balancing_dpid(),
            idle_timeout_s=settings.idle_timeout_s,
            seed=settings.seed,
            connections=wire.Connections(**settings.connections.model_dump()),
            hash_table_size=settings.hash_table_size,
            plugins=policy_plugin.to_send(service.policy for service in self.model.services.values()),
            verbose=verbose,
        )

    def dump(self) -> str:
        """The scenario as it runs, as YAML; loads again to an equal one."""
        data = _plain(self.model)
        del data["load" if self.model.steps else "steps"]
        return "# as run: defaults and options of the command line filled in\n" + write_yaml(data)

    def _hosts(self) -> dict[str, dict[str, Any]]:
        hosts = self.model.topology.hosts
        assert isinstance(hosts, dict)
        return {name: {"ip": h.ip, "ip6": h.ip6, "mac": h.mac, "switch": h.switch} for name, h in hosts.items() if h}

    def _balancing_dpid(self) -> int | None:
        topology = self.model.topology
        assert isinstance(topology.switches, dict)
        switch = topology.switches[topology.balancer or ""]
        return switch.dpid if switch else None

    def _pool(self, service: str) -> tuple[wire.Server, ...]:
        servers, hosts = self.model.services[service].servers, self._hosts()
        assert isinstance(servers, dict)
        return tuple(
            wire.Server(
                name=name,
                ip=hosts[name]["ip6" if self.model.services[service].is_ipv6 else "ip"].partition("/")[0],
                weight=server.weight,
                health=wire.Health(**server.health.model_dump()) if server.health else None,
            )
            for name, server in servers.items()
            if server
        )

    def _service(self, name: str) -> wire.Service:
        service = self.model.services[name]
        return wire.Service(
            name=name,
            ip=service.ip,
            port=service.ports[0],
            last_port=service.last_port,
            protocol=service.protocol,
            policy=self.policies[name],
            servers=self._pool(name),
            health=wire.Health(**service.health.model_dump()),
        )

    def _web_servers(self) -> tuple[wire.HttpServer, ...]:
        """One a host and its service's ports: two services may share it."""
        found: dict[tuple[str, str, int], wire.HttpServer] = {}
        for service in self.model.services.values():
            assert isinstance(service.servers, dict)
            for host, server in service.servers.items():
                found[host, service.protocol, service.ports[0]] = self._web_server(host, service, server)
        for host, service in self._joining():
            found.setdefault((host, service.protocol, service.ports[0]), self._web_server(host, service, None))
        return tuple(found.values())

    def _web_server(self, host: str, service: Service, server: Server | None) -> wire.HttpServer:
        return wire.HttpServer(
            host=host,
            port=service.ports[0],
            last_port=service.last_port,
            protocol=service.protocol,
            kind=self.model.servers.kind if service.protocol == "tcp" else "python",
            response_bytes=self.model.servers.response_bytes,
            delay_ms=server.delay_ms if server else 0,
        )

    def _joining(self) -> list[tuple[str, Service]]:
        """Each server that a step adds to a pool, and its service: it must answer by then."""
        during = [action for step in self.rounds for action in step.during]
        added = [step for step in (*self.steps, *during) if isinstance(step, PoolStep) and step.action == "add"]
        return [(step.server, self.model.services[step.service]) for step in added]


def load(
    path: str | Path,
    sets: Sequence[str] = (),
    *,
    policy: str | None = None,
    mode: str | None = None,
    engine: str | None = None,
) -> Scenario:
    """Read, complete and check the scenario at `path` (see `resolve`).

    sets: `key=value` of each --set, in order; policy, mode, engine: of the options of that name, which win over sets.
    Raises UsageError whose text holds every mistake, in file order."""
    found = resolve(path)
    return Scenario(read_scenario(found, sets, {"policy": policy, "mode": mode, "engine": engine}), found)


def _plain(value: Any) -> Any:
    """Models as mappings, without keys that say nothing: null where null is the default anyway."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        values = {name: getattr(value, name) for name in fields}
        return {n: _plain(v) for n, v in values.items() if v is not None or fields[n].default is not None}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
