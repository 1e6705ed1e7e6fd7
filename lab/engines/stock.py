"""POX's own `misc.ip_loadbalancer`, untouched: its command line, and what its log lets us know.

It counts nothing and has no control socket; that a server is up or down, it says in its log. Rule: what it can't tell
is None, never a guess.
"""

from __future__ import annotations

import re
from typing import Any

from lab import wire


def stock_arguments(config: wire.Controller) -> list[str]:
    """POX's arguments. On other switches than the balancing one POX's own learning switch runs, as the tutorial says.
    Raises ValueError for what the stock component can't do."""
    if len(config.services) != 1:
        raise ValueError("engine stock balances exactly one service; use engine pox or osken")
    (service,) = config.services
    servers = ",".join(server.ip for server in service.servers)
    arguments = ["misc.ip_loadbalancer", f"--ip={service.ip}", f"--servers={servers}"]
    if config.dpid is not None:
        dpid = "-".join(re.findall("..", f"{config.dpid:012x}"))
        arguments += [f"--dpid={dpid}", "forwarding.l2_learning", f"--ignore={dpid}"]
    return arguments


def stock_statistics(config: wire.Controller, log: str) -> dict[str, Any]:
    (service,) = config.services
    connected = re.findall(r"\[([\da-f-]{17})[^\]]*\] connect", log)
    states = dict(re.findall(r"Server (\S+) (up|down)", log))
    servers = {s.name: {"state": states.get(s.ip, "down"), "hits": None} for s in service.servers}
    return {
        "balancing_dpid": config.dpid,
        "switches": sorted({int(dpid.replace("-", ""), 16) for dpid in connected}),
        "services": {service.name: {"policy": "random", "servers": servers}},
        "packet_ins": None,
        "flow_mods": None,
        "packet_ins_total": None,
        "flow_mods_total": None,
        "drops": {},
    }
