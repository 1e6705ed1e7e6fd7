"""What must fit together about policies: the mode keeps it, a plug-in works, and one that is to heed weights does.

Rule: a wish that would silently not be met is refused, with what would meet it."""

from __future__ import annotations

from collections.abc import Iterator

from lab.balancer.policies.connection_hash import PLACES
from lab.balancer.policies.plugin import PluginError, is_plugin
from lab.balancer.policies.source_hash import DEFAULT_SIZE, check_size
from lab.driver import policy_plugin
from lab.driver.scenario_findings import Finding
from lab.driver.scenario_model import CONTROLLER_CHOOSES, HEEDLESS, POLICIES_KEPT
from lab.driver.scenario_plan import At, Plan
from lab.driver.scenario_steps import Pool
from lab.driver.wording import listing


def check_policies(plan: Plan) -> Iterator[Finding]:
    """The mode keeps the policy, and a policy of the user's own can be used."""
    mode, stock = plan.model.controller.mode, plan.model.controller.engine == "stock"
    for name, service in plan.model.services.items():
        at = ("services", name, "policy")
        if is_plugin(service.policy):
            yield from _check_plugin(mode, stock, service.policy, at)
        elif service.policy not in POLICIES_KEPT[mode]:
            modes = listing(m for m, kept in POLICIES_KEPT.items() if service.policy in kept)
            text = (
                f"mode {mode} can't keep policy {service.policy}: use mode {modes}, or {listing(POLICIES_KEPT[mode])}"
            )
            yield Finding(at, text, "policy")


def _check_plugin(mode: str, stock: bool, policy: str, at: At) -> Iterator[Finding]:
    if POLICIES_KEPT[mode] != CONTROLLER_CHOOSES:
        modes = listing(m for m, kept in POLICIES_KEPT.items() if kept == CONTROLLER_CHOOSES)
        yield Finding(at, f"mode {mode} chooses by itself and asks no plug-in: use mode {modes}", "policy")
    elif not stock:  # stock's own check says all that is to say
        try:
            policy_plugin.check(policy)
        except PluginError as error:
            yield Finding(at, str(error), "plug-in")


def check_proactive(plan: Plan) -> Iterator[Finding]:
    """What only that mode has, and what it hasn't."""
    settings = plan.model.controller
    if settings.mode != "proactive":
        if not settings.stateful:
            text = f"mode {settings.mode} keeps connections where they are: use mode proactive, or leave stateful out"
            yield Finding(("controller", "stateful"), text, "mode")
        return
    if settings.hash_table_size != DEFAULT_SIZE:
        text = f"mode proactive has {PLACES} places, as many as a group of the switch tells apart: leave it out"
        yield Finding(("controller", "hash_table_size"), text, "mode")
    for name in plan.model.services:
        if (count := len(plan.servers[name])) > PLACES:
            text = f"mode proactive has {PLACES} places for a service's servers, and these are {count}"
            yield Finding(("services", name, "servers"), text, "mode")


def check_weights(plan: Plan) -> Iterator[Finding]:
    """Under a policy that heeds no weights, nothing asks for them: no server, no slow start, no step."""
    stock = plan.model.controller.engine == "stock"
    heedless = [name for name in plan.model.services if _is_heedless(plan, name)]
    for name in plan.model.services if stock else heedless:
        weights = {server.weight for server in plan.servers[name].values() if server}
        if len(weights) > 1:
            says = "stock POX heeds no weights" if stock else _heedless(plan, name)
            yield Finding(("services", name, "servers"), says, "policy")
    for name in heedless:
        for at in _slow_starts(plan, name):
            yield Finding((*at, "slow_start_s"), _heedless(plan, name, ", so no share can grow"), "policy")
    for at, action in plan.actions:
        if action.pool and action.pool.service in heedless and _weighs(action.pool):
            yield Finding((*at, "pool", "weight"), _heedless(plan, action.pool.service), "policy")


def _is_heedless(plan: Plan, name: str) -> bool:
    """Not where the policy is in error: what is left then is the default, which nobody asked for."""
    policy = plan.model.services[name].policy
    return policy in HEEDLESS and ("services", name, "policy") not in plan.damaged


def _weighs(pool: Pool) -> bool:
    return (pool.action == "weight" and pool.weight is not None) or (pool.action == "add" and pool.weight != 1)


def _heedless(plan: Plan, name: str, so: str = "") -> str:
    able = [policy for policy in POLICIES_KEPT[plan.model.controller.mode] if policy not in HEEDLESS]
    return f"policy {plan.model.services[name].policy} heeds no weights{so}: use {listing(able)}, or leave it out"


def _slow_starts(plan: Plan, name: str) -> Iterator[At]:
    """Where a service asks for one, and where a server asks for another than that."""
    whole = plan.model.services[name].health.slow_start_s
    if whole:
        yield ("services", name, "health")
    for server, facts in plan.servers[name].items():
        if facts and facts.health and facts.health.slow_start_s not in (0, None, whole):
            yield ("services", name, "servers", server, "health")


def check_hash_table(plan: Plan) -> Iterator[Finding]:
    try:
        check_size(plan.model.controller.hash_table_size)
    except ValueError as error:
        yield Finding(("controller", "hash_table_size"), str(error), "prime")
