"""What must fit together in a scenario: services, loads, steps and expectations against the hosts that there are.

Rule: CHECKS is all of it. Each check names the keys it builds on; where one of those is itself in error, the check is
left out, since what it would say follows from an error that is reported already."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lab.agent.web_server import slow_parameters
from lab.driver import topology
from lab.driver.scenario_findings import Finding
from lab.driver.scenario_plan import At, Plan
from lab.driver.scenario_policy_checks import (
    check_hash_table,
    check_policies,
    check_proactive,
    check_weights,
)
from lab.driver.scenario_service_checks import (
    check_answers,
    check_delays,
    check_health,
    check_ipv6,
    check_servers,
    check_service_addresses,
    check_service_ports,
    check_udp,
)
from lab.driver.scenario_step_checks import check_one_thing, check_recoveries, check_steps, check_time
from lab.driver.scenario_steps import Load, StepExpect
from lab.driver.wording import alternatives, quote

MIN_EXPECTED: Final = 5  # hits per server below which the chi-square approximation is worth nothing (Cochran)


def _topology(check: Callable[[Any, Any], Iterator[Finding]]) -> Callable[[Plan], Iterator[Finding]]:
    return lambda plan: check(plan.given.topology, plan.model.topology)


def check_stock(plan: Plan) -> Iterator[Finding]:
    """POX's own component has one service, one mode and chooses at random; nothing of that can be set."""
    if plan.model.controller.engine != "stock":
        return
    if len(plan.model.services) > 1:
        yield Finding(("services",), "engine stock balances a single service", "stock")
    for at, action in plan.actions:
        if action.pool:
            yield Finding((*at, "pool"), "engine stock's pool can't be changed while it works", "stock")
    if plan.model.controller.mode != "reactive":
        yield Finding(("controller", "mode"), "engine stock has no modes: leave mode out", "stock")
    for name, service in plan.model.services.items():
        if service.protocol != "tcp" or service.last_port:
            yield Finding(("services", name), "engine stock balances TCP, and no range of ports", "stock")
        if service.health.kind != "arp":
            yield Finding(("services", name, "health", "kind"), "engine stock checks by ARP alone", "stock")
        if plan.policy_asked or service.policy != "round_robin":
            text = "engine stock chooses at random by itself and takes no policy: leave policy out, or use engine auto"
            yield Finding(("services", name, "policy"), text, "stock")


def check_load(plan: Plan) -> Iterator[Finding]:
    """Known clients and service, and an end."""
    for at, load in plan.loads:
        for index, client in enumerate(load.clients):
            yield from plan.unknown_host(client, (*at, "clients", index))
        if load.service not in plan.servers:
            known = alternatives(load.service or "", plan.servers)
            yield Finding((*at, "service"), f"unknown service {quote(load.service)}{known}", "unknown-service")
        yield from _check_download(plan, load, at)
        if load.requests is None and load.duration_s is None:
            yield Finding(at, "the load would never end: give requests, duration_s or both", "endless")
        yield from _check_keepalive(load, at)


def _check_keepalive(load: Load, at: At) -> Iterator[Finding]:
    """What a client can do on one open connection; the agent refuses the rest as well."""
    if not load.keepalive:
        return
    if load.rate is not None:
        text = "keepalive and rate don't go together: curl sends on an open connection as fast as it can"
        yield Finding((*at, "rate"), text, "keepalive")
    if load.requests is None and load.concurrency < len(load.clients):
        text = f"each of the {len(load.clients)} clients keeps its connection to the end: give as many, or requests"
        yield Finding((*at, "concurrency"), text, "keepalive")


def _check_download(plan: Plan, load: Load, at: At) -> Iterator[Finding]:
    """Only the Python server is slow on purpose, and a client must be patient enough for it."""
    if load.path.partition("?")[0] != "/slow":
        return
    if plan.model.servers.kind != "python":
        yield Finding((*at, "path"), f"{plan.model.servers.kind} has no /slow: use kind: python", "download")
    wanted = slow_parameters(load.path)
    if wanted is None:
        text = "a download is /slow?seconds=S&bytes=B: 0 to 3600 seconds, 0 to 100,000,000 bytes"
        yield Finding((*at, "path"), text, "download")
    elif wanted[0] >= load.timeout_s:
        text = f"the download takes {wanted[0]:g} s, and its client gives up after {load.timeout_s:g}: raise timeout_s"
        yield Finding((*at, "path"), text, "time")


def check_paths(plan: Plan) -> Iterator[Finding]:
    """A client reaches the service, and each server's reply comes back through the balancing switch."""
    branch = topology.branches(plan.model.topology)
    for at, load in plan.loads:
        for index, client in enumerate(load.clients):
            if client in plan.hosts and load.service in plan.servers:
                yield from _check_path(plan, client, load.service, branch, (*at, "clients", index))


def _check_path(plan: Plan, client: str, service: str, branch: Mapping[str, str], at: At) -> Iterator[Finding]:
    pool = [name for name in plan.servers[service] if name in plan.hosts]
    if client in pool:
        yield Finding(
            at, f"{quote(client)} is a server of {quote(service)}: it can't be its client too", "client-server"
        )
        return
    near = next((name for name in pool if branch[name] == branch[client]), None)
    if near:
        text = (
            f"client {quote(client)} and server {quote(near)} are both behind the port of "
            f"{plan.model.topology.balancer} to {branch[near]}: replies would not cross the balancer"
        )
        yield Finding(at, text, "same-port")
    address = plan.model.services[service].ip
    if not _inside(address, _network(plan, client, address)):
        mine = plan.address(client, address)
        text = f"{quote(client)} ({mine}) is not in one subnet with service {service} ({address})"
        yield Finding(at, f"{text}: there is no router here", "subnet")


def check_server_subnets(plan: Plan) -> Iterator[Finding]:
    """Servers must be reachable from the service's address, and reach their clients, without a router."""
    clients = {(load.service, client) for _, load in plan.loads for client in load.clients if client in plan.hosts}
    for service, pool in plan.servers.items():
        callers = [client for called, client in sorted(clients, key=str) if called == service]
        for name in pool:
            if name in plan.hosts:
                yield from _check_server_subnet(plan, service, name, callers)


def _check_server_subnet(plan: Plan, service: str, server: str, clients: list[str]) -> Iterator[Finding]:
    vip = plan.model.services[service].ip
    network, at = _network(plan, server, vip), ("topology", "hosts", server, "ip6" if ":" in vip else "ip")
    me = f"{quote(server)} ({plan.address(server, vip)}) is not in one subnet with"
    if not _inside(vip, network):
        yield Finding(at, f"{me} its service ({vip}): there is no router here", "subnet")
        return
    near = [name for name in clients if _inside(vip, _network(plan, name, vip))]
    far = next((name for name in near if not _inside(plan.address(name, vip).partition("/")[0], network)), None)
    if far:
        text = f"{me} client {quote(far)} ({plan.address(far, vip)}): there is no router here"
        yield Finding(at, text, "subnet")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(plan: Plan, host: str, like: str) -> Network:
    """A host's network, of the IP version that `like` is of."""
    return ipaddress.ip_interface(plan.address(host, like)).network


def _inside(address: str, network: Network) -> bool:
    """A host's address of the network: IPv4 has two that are none."""
    found = ipaddress.ip_address(address)
    ends = (network.network_address, network.broadcast_address) if network.version == 4 else ()
    return found in network and found not in ends


def check_expect(plan: Plan) -> Iterator[Finding]:
    """Expectations are about servers, can be judged, and don't contradict themselves."""
    if "expect" in plan.given.model_fields_set:
        yield from _check_expect(plan, plan.model.expect, plan.all_servers, ("expect",))
    for at, load in plan.loads:
        expect = getattr(load, "expect", None)
        if expect:
            pool = plan.members(load.service or "") or plan.all_servers
            yield from _check_expect(plan, expect, pool, (*at, "expect"))
            if expect.pingall_loss is not None:
                text = 'pings are sent after all steps: "pingall_loss" belongs into the scenario\'s own expect'
                yield Finding((*at, "expect", "pingall_loss"), text, "expect", True)


def _check_expect(plan: Plan, expect: StepExpect, pool: list[str], at: At) -> Iterator[Finding]:
    for key in ("hits", "share"):
        for name in getattr(expect, key):
            yield from plan.not_a_server(name, pool, (*at, key, name), on_key=True)
    for name, wanted in expect.hits.items():
        if not isinstance(wanted, int):
            yield from _check_range(wanted, (*at, "hits", name))
    if expect.tolerance and not any(isinstance(wanted, int) for wanted in expect.hits.values()):
        text = '"tolerance" widens exact hits, and there are none'
        yield Finding((*at, "tolerance"), text, "expect", True)
    total = sum(expect.share.values())
    if total > 1 + 1e-9:
        yield Finding((*at, "share"), f"shares add up to {total:g}: more than 1", "expect")


def _check_range(wanted: Any, at: At) -> Iterator[Finding]:
    if wanted.min is None and wanted.max is None:
        yield Finding(at, "give min, max or both", "expect")
    elif wanted.min is not None and wanted.max is not None and wanted.min > wanted.max:
        yield Finding(at, f"min {wanted.min} is above max {wanted.max}", "expect")


def check_chi_square(plan: Plan) -> Iterator[Finding]:
    """Enough requests for the test to mean something, for each service that is called."""
    everything = [load for _, load in plan.loads]
    if plan.model.expect.chi_square is not None:
        yield from _check_chi_square(plan, everything, ("expect", "chi_square"))
    for at, load in plan.loads:
        expect = getattr(load, "expect", None)
        if expect and expect.chi_square is not None:
            yield from _check_chi_square(plan, [load], (*at, "expect", "chi_square"))


def _check_chi_square(plan: Plan, loads: list[Load], at: At) -> Iterator[Finding]:
    called = dict.fromkeys(load.service or "" for load in loads if load.service in plan.servers)
    several = [service for service in called if len(plan.servers[service]) > 1]
    if called and not several:
        yield Finding(at, f"service {next(iter(called))} has one server: there is nothing to compare", "chi-square")
    for service in several:
        counts = [load.requests for load in loads if load.service == service]
        weights = [server.weight for server in plan.servers[service].values() if server]
        if None not in counts:
            requests, needed = sum(n or 0 for n in counts), -(-MIN_EXPECTED * sum(weights) // min(weights))
            if requests < needed:
                text = f"{requests} requests are too few for a chi-square test of {len(weights)} servers"
                yield Finding(at, f"{text}: send at least {needed}", "chi-square")


Check = Callable[[Plan], Iterator[Finding]]
HOSTS: Final = ("topology.hosts", "topology.hosts.*")
SWITCHES: Final = tuple(f"topology.{key}" for key in ("switches", "switches.*", "kind", "depth", "fanout"))
LINKS: Final = (*SWITCHES, "topology.links", "topology.links.*")
POOLS: Final = ("services", "services.*", "services.*.servers", "services.*.servers.*")
PORTS: Final = ("services.*.port", "services.*.protocol")
DURING: Final = tuple(f"steps.*.load.during.*{rest}" for rest in ("", ".load", ".load.*"))
ROUNDS: Final = ("load", "load.*", "steps", "steps.*", "steps.*.load", "steps.*.load.*", *DURING)
SOUND: Final = ("topology.**", "services.**")  # nothing at all may be wrong there
CHECKS: Final[tuple[tuple[Check, tuple[str, ...]], ...]] = (  # a check, and the keys it builds on
    (_topology(topology.check_shape), LINKS),
    (_topology(topology.check_links), LINKS),
    (_topology(topology.check_switches), SWITCHES),
    (_topology(topology.check_hosts), (*HOSTS, *SWITCHES)),
    (_topology(topology.check_balancer), ("topology.balancer", *SWITCHES)),
    (check_service_addresses, HOSTS),
    (check_service_ports, (*HOSTS, *PORTS, "services.*.ip")),
    (check_servers, HOSTS),
    (check_delays, ("servers.kind",)),
    (check_answers, (*POOLS, *PORTS)),
    (check_udp, (*ROUNDS, "services", "services.*", "servers.response_bytes")),
    (check_health, HOSTS),
    (check_policies, ("controller.mode", "controller.engine")),
    (check_proactive, ("controller.mode", "controller.stateful", "controller.hash_table_size", *POOLS)),
    (check_weights, ("controller.engine", "services")),
    (check_hash_table, ("controller.hash_table_size",)),
    (check_stock, ("controller.engine",)),
    (check_ipv6, ("controller.engine", "controller.mode", "services", "services.*")),
    (check_load, (*HOSTS, "services", "services.*", "load", "load.clients", "steps")),
    (check_one_thing, ("steps.*", "steps.*.load.during.*")),
    (check_steps, (*HOSTS, *POOLS, *LINKS)),
    (check_time, ("time_limit_s", *ROUNDS)),
    (check_recoveries, ("expect", "steps.**")),
    (check_expect, (*HOSTS, *POOLS, *ROUNDS)),
    (check_chi_square, (*POOLS, *ROUNDS)),
    (check_paths, (*SOUND, *ROUNDS)),
    (check_server_subnets, (*SOUND, *ROUNDS)),
)


def run_checks(plan: Plan) -> Iterator[Finding]:
    """What is wrong with what was read."""
    found: list[At] = []
    for check, keys in CHECKS:
        wrong = [*plan.damaged, *found] if SOUND[0] in keys else plan.damaged
        if not any(_builds_on(key.split("."), path) for key in keys for path in wrong):
            for finding in check(plan):
                found.append(finding.path)
                yield finding


def _builds_on(key: list[str], path: At) -> bool:
    """Is the value at `path` the key's, or does it hold it? `**` stands for all below, too."""
    below = key[-1] == "**"
    known = key[:-1] if below else key
    return (below or len(path) <= len(known)) and all(k in ("*", step) for k, step in zip(known, path))
