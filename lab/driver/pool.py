"""The `pool` command and `metrics`: a kept lab's servers, listed and changed while they serve.

Rule: what is right and wrong about a pool, the lab decides; here names are found, and answers shown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from lab.driver.agent_client import Agent, Refused
from lab.driver.backends import registry
from lab.driver.errors import UsageError
from lab.driver.wording import alternatives, listing, quote


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Which lab and service is meant, and how to answer. None: the newest lab, the only service."""

    lab: str | None = None
    service: str | None = None
    as_json: bool = False


def show_pool(where: Where) -> int:
    pools = _ask(where, lambda agent: agent.pools())["services"]
    if where.service is not None:
        pools = {_service(where, pools): pools[where.service]}
    if where.as_json:
        print(json.dumps({"services": pools}, indent=2, ensure_ascii=False))
    else:
        _show_tables(pools, sys.stdout)
    return 0


def change_pool(where: Where, server: str, action: str, *, ip: str | None = None, weight: int | None = None) -> int:
    def change(agent: Agent) -> dict[str, Any]:
        pools = agent.pools()["services"]
        service = _service(where, pools)
        address = (ip or _address(agent, server, pools[service]["ip"])) if action == "add" else ""
        return agent.pool(service, server, action, ip=address, weight=weight)

    now = _ask(where, change)
    print(json.dumps(now, ensure_ascii=False) if where.as_json else _sentence(action, now))
    return 0


def show_metrics(lab: str | None) -> int:
    sys.stdout.write(_ask(Where(lab=lab), lambda agent: agent.metrics()))
    return 0


def _ask(where: Where, question: Any) -> Any:
    """What the lab answers. What it refuses is the user's mistake."""
    entry = registry.named(where.lab)
    agent = Agent(entry.url, entry.token)
    try:
        return question(agent)
    except Refused as error:
        raise UsageError(str(error)) from None


def _service(where: Where, pools: Mapping[str, Any]) -> str:
    if where.service is None:
        if len(pools) == 1:
            return next(iter(pools))
        raise UsageError(f"there are several services; name one with --service: {listing(pools)}")
    if where.service not in pools:
        raise UsageError(f"no service is called {quote(where.service)}{alternatives(where.service, pools)}")
    return where.service


def _address(agent: Agent, host: str, like: str) -> str:
    """A host's address in the lab's network, of the IP version that `like` is of."""
    key = "ip6" if ":" in like else "ip"
    addresses = {h["name"]: h[key].partition("/")[0] for h in agent.network()["hosts"] if h.get(key)}
    if host not in addresses:
        raise UsageError(f"no host is called {quote(host)}{alternatives(host, addresses)} (or give its address: --ip)")
    return str(addresses[host])


def _sentence(action: str, now: Mapping[str, Any]) -> str:
    server = f"{now['service']}: {now['name']}"
    if action == "drain":
        return f"{server} {_draining(now)}"
    if action == "enable":
        return f"{server} is enabled" + (
            "" if now["available"] else f", and gets connections once it is up ({_health(now)})"
        )
    if action == "weight":
        return f"{server} has weight {now['weight']}"
    if action == "add":
        return f"{server} ({now['ip']}) is added with weight {now['weight']}, and gets connections once it is up"
    return f"{server} is removed, and its connections are over"


def _health(now: Mapping[str, Any]) -> str:
    return f"now it is {now['state']}"


def _draining(now: Mapping[str, Any]) -> str:
    if now["admin"] == "maint":
        return "is drained: no connection is left"
    if now["live"] is None:
        return "is draining"
    return f"is draining: {now['live']} connection{'' if now['live'] == 1 else 's'} left"


def _show_tables(pools: Mapping[str, Any], stream: IO[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False, soft_wrap=False)
    for index, (name, pool) in enumerate(pools.items()):
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("server", "address", "health", "pool"):
            table.add_column(heading, overflow="fold")
        for heading in ("weight", "open", "served"):
            table.add_column(heading, justify="right", no_wrap=True)
        for server, now in pool["servers"].items():
            counts = ("-" if now[key] is None else str(now[key]) for key in ("weight", "live", "hits"))
            table.add_row(server, now["ip"], now["state"], _wanted(now), *counts)
        title = f"{name}  {_address_of(pool)}  {pool['policy']}"
        console.print(f"{chr(10) if index else ''}{title}", markup=False, style="bold")
        console.print(table if pool["servers"] else "no servers")


def _address_of(pool: Mapping[str, Any]) -> str:
    """A service's address and ports, as a person writes them."""
    host, first, last = pool["ip"], pool["port"], pool.get("last_port", pool["port"])
    ports = str(first) if last == first else f"{first}-{last}"
    udp = " udp" if pool.get("protocol") == "udp" else ""
    return f"{f'[{host}]' if ':' in host else host}:{ports}{udp}"


def _wanted(now: Mapping[str, Any]) -> str:
    return {"maint": "drained"}.get(now["admin"], str(now["admin"]))
