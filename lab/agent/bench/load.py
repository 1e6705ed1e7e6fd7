"""A measured load: wrk on all clients and the sampler, at the same time, with the counters before and after.

What a load leaves behind is part of its price: rules that idle out later cost the switch and the controller then. So
it is waited until the switch has about as many rules as before, and CPU time is counted until that moment.
Rule: after `run` returns, nothing of it runs.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import wire
from lab.agent.bench import counters, wrk
from lab.agent.bench.programs import Output, Programs, need
from lab.agent.namespaces import Place
from lab.agent.refusal import Refusal
from lab.wire_bench import Figures, Load, Wrk, targets

PYTHON = "/usr/bin/python3"
GRACE_S = 10.0  # for a slow machine, beyond a load's seconds
SLACK = 32  # rules more than before that are no load's: hosts that were learned
POLL_S = 0.5  # each look costs the switch about a millisecond
log = logging.getLogger("lab.agent")


class Scripts:
    """What wrk and the sampler are to do, in the lab's own folder: the kit's may be closed to nobody."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.report = wrk.write_report(folder)
        self._sampler = folder / "sampler.py"
        self._sampler.write_bytes(Path(__file__).with_name("sampler.py").read_bytes())

    def sampler(self, ip: str, port: int, count: int, every_s: float) -> list[str]:
        return [PYTHON, "-I", "-S", str(self._sampler), ip, str(port), str(count), str(every_s)]


@dataclass(frozen=True)
class Lab:
    """What a load sees of the lab."""

    places: Mapping[str, Place]
    pids: Mapping[str, int]  # of the hosts
    programs: Mapping[str, int]  # name → pid of what CPU time is counted of
    rules: Callable[[], int]  # in the switch, now
    fewest_rules: int  # that it had before any load
    scripts: Scripts
    ports: int


class LoadJob:
    def __init__(self, load: Load, lab: Lab) -> None:
        need("wrk")
        self._load, self._lab = load, lab
        self._programs = Programs()
        self._dealt = wrk.deal(load.concurrency, load.clients)

    def run(self) -> dict[str, Any]:
        """Blocks; gives Figures. Raises Refusal."""
        lab, load = self._lab, self._load
        rules = lab.rules()
        cpu = self._cpu()
        kernel = self._kernel()
        *outputs, sampled = self._run_programs()
        time_wait = {host: counters.time_wait(pid) for host, pid in lab.pids.items()}
        counted = {host: counters.since(kernel[host], now) for host, now in self._kernel().items()}
        left = lab.rules()
        settled, settled_s = self._settle(min(rules, lab.fewest_rules))
        samples = self._samples(sampled)
        figures = Figures(
            wrk={client: wrk.read(o.out, o.err) for client, o in zip(self._dealt, outputs)},
            whole_ms=tuple(samples["ms"]),
            sample_errors=samples["errors"],
            accepted={server: counted[server]["PassiveOpens"] for server in load.servers},
            kernel=counted,
            time_wait=time_wait,
            ports=lab.ports,
            cpu_s={name: round(now - cpu[name], 3) for name, now in self._cpu().items()},
            memory_peak_mb={name: counters.memory_peak_mb(pid) for name, pid in lab.programs.items()},
            rules=(rules, left, settled),
            settled_s=settled_s,
        )
        log.info("measured %s", describe(figures.wrk, load))
        return dict(wire.encode(figures))

    def cancel(self) -> None:
        self._programs.cancel()

    def _run_programs(self) -> list[Output]:
        load, places = self._load, self._lab.places
        ips = targets(load)
        try:
            for client, connections in self._dealt.items():
                url = f"http://{ips[client]}:{load.port}/"
                self._programs.start(
                    places[client], wrk.command(self._lab.scripts.report, url, connections, load.seconds)
                )
            count = int(load.seconds / load.sample_every_s)
            samples = self._lab.scripts.sampler(ips[load.sampler], load.port, count, load.sample_every_s)
            self._programs.start(places[load.sampler], samples)
            return self._programs.finish(load.seconds + GRACE_S)
        finally:
            self._programs.end()

    def _samples(self, output: Output) -> dict[str, Any]:
        if output.exit_code:
            raise Refusal(500, f"the sampler ended with exit code {output.exit_code}: {output.last_words}")
        return dict(json.loads(output.out))

    def _settle(self, wanted: int) -> tuple[int, float]:
        """Rules at last, and the seconds until then."""
        began = time.monotonic()
        while (rules := self._lab.rules()) > wanted + SLACK:
            if time.monotonic() - began > self._load.settle_s or self._programs.wait(POLL_S):
                break
        return rules, round(time.monotonic() - began, 3)

    def _cpu(self) -> dict[str, float]:
        return {name: counters.cpu_s(pid) for name, pid in self._lab.programs.items()}

    def _kernel(self) -> dict[str, dict[str, int]]:
        return {host: counters.tcp(pid) for host, pid in self._lab.pids.items()}


def describe(found: Mapping[str, Wrk], load: Load) -> str:
    total = sum(one.connections for one in found.values())
    return f"{total} connections to {load.ips[0]}:{load.port} in {load.seconds} s, {load.concurrency} at a time"
