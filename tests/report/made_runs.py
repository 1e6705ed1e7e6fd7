"""Run folders made by hand, as the driver would leave them: no lab needed, every figure known."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.record import Expectation, Result
from lab.wire import Request, encode

START = 1_700_000_000.0
ABOUT = "Two servers take turns; 40 requests give 20 each."


def scenario(hosts: int | dict[str, str] = 6, servers: Sequence[str] = ("h1", "h2"), **topology: Any) -> dict[str, Any]:
    """As dumped after a run. `hosts`: a number, or name → switch."""
    places = {f"h{i}": "s1" for i in range(1, hosts + 1)} if isinstance(hosts, int) else hosts
    return {
        "name": "made",
        "topology": {
            "hosts": {
                name: {"ip": f"10.0.0.{index}/8", "switch": switch}
                for index, (name, switch) in enumerate(places.items(), 1)
            },
            "switches": {"s1": {"dpid": 1}},
            "balancer": "s1",
            **topology,
        },
        "services": {
            "web": {
                "ip": "10.0.1.1",
                "port": 80,
                "policy": "round_robin",
                "servers": {name: {"weight": 1} for name in servers},
            }
        },
        "load": {"clients": [name for name in places if name not in servers]},
    }


def request(index: int, client: str, server: str | None, error: str | None = None, gap: float = 0.013) -> Request:
    noise = random.Random(index).expovariate(1.0)
    return Request(
        time=START + index * gap,
        client=client,
        local_port=40_000 + index % 20_000,
        server=server,
        status=200 if server else None,
        connect_ms=None if error else 0.9 + noise / 2,
        total_ms=5000.0 if error else 1.8 + noise,
        error=error,
    )


def in_turn(count: int, clients: Sequence[str], servers: Sequence[str], gap: float = 0.013) -> list[Request]:
    return [request(i, clients[i % len(clients)], servers[i % len(servers)], gap=gap) for i in range(count)]


def result(requests: Iterable[Request] = (), **changes: Any) -> Result:
    """A result that agrees with `requests`."""
    found = list(requests)
    hits = Counter(one.server for one in found if one.server)
    values: dict[str, Any] = {
        "scenario": "round_robin",
        "about": ABOUT,
        "verdict": "passed",
        "name": "20231114T221320Z-round_robin",
        "started": "2023-11-14T22:13:20Z",
        "backend": "sandbox",
        "engine": "osken",
        "policy": "round_robin",
        "mode": "reactive",
        "datapath": "user",
        "why": {"backend": "no Docker engine answers", "engine": "no POX here"},
        "versions": {"open_vswitch": "3.1.0", "mininet": "2.3.0", "pox": None, "os_ken": "2.5.0"},
        "requests": {"sent": len(found), "ok": sum(r.ok for r in found), "failed": sum(not r.ok for r in found)},
        "hits": {name: {"client": count, "server": count} for name, count in sorted(hits.items())},
        "controller": dict.fromkeys(("packet_ins", "flow_mods"), len(found))
        | {"packet_ins_total": len(found) + 12, "flow_mods_total": len(found) + 7},
        "expectations": [
            Expectation(name=f"hits.{name}", passed=True, detail=f"{count} = {count}")
            for name, count in sorted(hits.items())
        ]
        + [Expectation(name="failed", passed=True, detail="0 at most 0")],
        "timing_s": {"bring_up": 1.41, "run": 0.62, "tear_down": 0.2},
    }
    return Result(**(values | changes))


def leave(folder: Path, outcome: Result, requests: Iterable[Request] = (), plan: Any = None) -> Path:
    """Write the files of a run; `plan` None: no scenario.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome.write(folder)
    lines = [json.dumps(encode(one)) for one in requests]
    (folder / "requests.ndjson").write_text("".join(f"{line}\n" for line in lines))
    if plan is not None:
        (folder / "scenario.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    (folder / "controller.log").write_text("osken: listening\n")
    (folder / "flows.txt").write_text("s1\n")
    return folder


def round_robin(folder: Path) -> Path:
    requests = in_turn(40, ("h3", "h4", "h5", "h6"), ("h1", "h2", "h2", "h1"))
    return leave(folder, result(requests), requests, scenario())


def failed(folder: Path) -> Path:
    """h2 goes down in the middle of the second round."""
    clients = ("h3", "h4", "h5", "h6")
    requests = in_turn(60, clients, ("h1", "h2"), gap=0.05)
    for i in range(60, 120):
        lost = i in (61, 63, 65, 67)
        requests.append(
            request(i, clients[i % 4], None if lost else "h1", "Connection timed out" if lost else None, 0.05)
        )
    steps = [
        {"what": "load 60 requests", "started_s": 2.0, "ended_s": 5.0},
        {"what": "link h2 down", "started_s": 5.01, "ended_s": 5.02},
        {"what": "wait until h2 is down", "started_s": 5.02, "ended_s": 5.4},
        {"what": "load 60 requests", "started_s": 5.4, "ended_s": 8.0},
    ]
    expectations = [
        Expectation(name="hits.h1", passed=True, detail="86 = 86"),
        Expectation(name="failed", passed=False, detail="4 failed, at most 0 wanted: Connection timed out"),
    ]
    outcome = result(
        requests, verdict="failed", steps=steps, expectations=expectations, scenario="server_down", pingall_loss=0.0
    )
    return leave(folder, outcome, requests, scenario())


def broken(folder: Path) -> Path:
    """It never came to requests."""
    nothing = dict.fromkeys(("packet_ins", "flow_mods", "packet_ins_total", "flow_mods_total"))
    outcome = result(
        verdict="broken",
        reason="Switch s1 did not connect to 127.0.0.1:6633 within 15 s.",
        hits={},
        controller=nothing,
        expectations=[],
        datapath=None,
    )
    folder = leave(folder, outcome, (), scenario())
    (folder / "requests.ndjson").unlink()
    return folder


def three_switches(folder: Path) -> Path:
    places = {"h1": "s3", "h2": "s3", "h3": "s1", "h4": "s1", "h5": "s1", "h6": "s2", "h7": "s2", "h8": "s3"}
    switches = {"s1": {"dpid": 1}, "s2": {"dpid": 2}, "s3": {"dpid": 3}}
    plan = scenario(places, switches=switches, links=[["s1", "s2"], ["s2", "s3"]], balancer="s2")
    plan["load"]["clients"] = ["h3", "h4", "h5", "h6"]
    requests = in_turn(40, ("h3", "h4", "h5", "h6"), ("h1", "h2", "h2", "h1"))
    return leave(folder, result(requests, scenario="multi_switch", pingall_loss=0.0), requests, plan)


def fifty_hosts(folder: Path) -> Path:
    servers = [f"h{i}" for i in range(1, 11)]
    clients = [f"h{i}" for i in range(11, 49)]
    plan = scenario(50, servers)
    plan["load"]["clients"] = clients
    requests = in_turn(2000, clients, servers, gap=0.004)
    return leave(folder, result(requests, scenario="fifty_hosts"), requests, plan)


def interrupted(folder: Path) -> Path:
    """Null wherever null may be."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"schema": "balance-lab/result/1", "scenario": "round_robin", "verdict": "interrupted", "expectations": []}
    (folder / "result.json").write_text(json.dumps(dict.fromkeys(result().to_json()) | known))
    return folder


def tree(folder: Path) -> Path:
    """Seven switches, the root balances; the servers are on one branch."""
    places = {f"h{i}": f"s{4 + (i - 1) // 3}" for i in range(1, 13)}
    links = [["s1", "s2"], ["s1", "s3"], ["s2", "s4"], ["s2", "s5"], ["s3", "s6"], ["s3", "s7"]]
    plan = scenario(places, ("h1", "h2", "h4"), switches={f"s{i}": {"dpid": i} for i in range(1, 8)}, links=links)
    plan["load"]["clients"] = ["h7", "h8", "h9", "h10"]
    requests = in_turn(90, ("h7", "h8", "h9", "h10"), ("h1", "h2", "h4"))
    return leave(folder, result(requests, scenario="tree"), requests, plan)


ALL = (round_robin, failed, broken, three_switches, fifty_hosts, interrupted, tree)
