"""A scenario while it is checked: as given, as completed, and what of it could not be read.

Rule: it answers what several checks ask, each time in the same words; it judges nothing by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lab.driver import topology
from lab.driver.scenario_findings import Finding
from lab.driver.scenario_model import ScenarioModel, Server
from lab.driver.scenario_steps import Action, Load, Pool
from lab.driver.wording import alternatives, listing, quote

At = tuple[str | int, ...]


@dataclass(frozen=True)
class Plan:
    """A scenario as given and as completed."""

    given: ScenarioModel
    model: ScenarioModel
    policy_asked: bool = False  # by --policy: even the default then is a wish
    damaged: Sequence[At] = ()  # paths of values that were in error, reported, and so left out of both

    @cached_property
    def hosts(self) -> dict[str, Any]:
        return topology.named_hosts(self.model.topology)

    @cached_property
    def actions(self) -> list[tuple[At, Action]]:
        """Each step with its path; those that are done during a load come right behind it."""
        found: list[tuple[At, Action]] = []
        for i, step in enumerate(self.model.steps):
            found.append((("steps", i), step))
            during = step.load.during if step.load else []
            found += [(("steps", i, "load", "during", j), action) for j, action in enumerate(during)]
        return found

    @cached_property
    def loads(self) -> list[tuple[At, Load]]:
        """Each load with its path."""
        if not self.model.steps:
            return [(("load",), self.model.load)]
        return [((*at, "load"), action.load) for at, action in self.actions if action.load]

    @cached_property
    def servers(self) -> dict[str, Mapping[str, Server | None]]:
        """Service → its servers."""
        found = {name: service.servers for name, service in self.model.services.items()}
        return {name: servers for name, servers in found.items() if isinstance(servers, dict)}

    @cached_property
    def all_servers(self) -> list[str]:
        return list(dict.fromkeys(name for service in self.servers for name in self.members(service)))

    def address(self, host: str, like: str) -> str:
        """A host's address, with its prefix length, of the IP version that `like` is of; empty: it has none."""
        return (self.hosts[host].ip6 or "") if ":" in like else self.hosts[host].ip

    def members(self, service: str) -> list[str]:
        """The servers that a service has, or is given by a step."""
        added = [step.pool.server for _, step in self.actions if step.pool and _adds_to(service, step.pool)]
        return list(dict.fromkeys([*self.servers.get(service, {}), *added]))

    def unknown_host(self, name: str, at: At, *, on_key: bool = False) -> Iterator[Finding]:
        if name not in self.hosts:
            yield Finding(at, f"unknown host {quote(name)}{alternatives(name, self.hosts)}", "unknown-host", on_key)

    def not_a_server(self, name: str, pool: list[str], at: At, *, on_key: bool = False) -> Iterator[Finding]:
        if name not in self.hosts:
            yield from self.unknown_host(name, at, on_key=on_key)
        elif name not in pool:
            known = listing(server for server in pool if server in self.hosts)
            yield Finding(at, f"{quote(name)} is no server: the servers are {known}", "no-server", on_key)


def _adds_to(service: str, pool: Pool) -> bool:
    return pool.action == "add" and pool.service == service
