#!/usr/bin/env python3
"""How long a whole run takes, beside the raw Mininet that it stands on: bring-up, load, verdict and tear-down.

    .venv/bin/python tools/bench_bringup.py [--rounds N] [--hosts 6,50,200] [--engines pox,osken]

The kit's side is `run_lab.py` with scenarios/round_robin.yaml on so many hosts, in the sandbox, from the command line
to its end. The other side is `mn --topo single,N --test none`, which starts and stops such a network with no controller
and no traffic, with Open vSwitch's daemons up already, in namespaces, /tmp and /run of its own, so that it can't touch
the machine's.
Rule: what is compared is measured in turn, round by round; the median counts, its quartiles stand beside it. The first
round fills caches and doesn't count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
# a probe to 200 hosts of a userspace switch takes its time on a busy machine, and isn't what is measured here
PATIENT: Final = ("--set", "services.web.health.interval_s=5", "--set", "services.web.health.timeout_s=4")
PRIVATE: Final = ("/tmp", "/run", "/var/log", "/etc/openvswitch", "/var/lib/openvswitch")
OVS: Final = """
mkdir -p /run/openvswitch
ovsdb-tool create /run/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server --remote=punix:/run/openvswitch/db.sock --pidfile --detach -vconsole:off /run/conf.db
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile --detach -vconsole:off
"""
TIMED: Final = """
import subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
if done.returncode:
    sys.exit(done.stderr)
print(time.monotonic() - began)
"""


def raw(hosts: int) -> float:
    """Seconds of Mininet alone."""
    mounts = "\n".join(f"[ -L {folder} ] || mount -t tmpfs tmpfs {folder}" for folder in PRIVATE)
    switch = "ovs,failMode=standalone" + ("" if Path("/sys/module/openvswitch").exists() else ",datapath=user")
    timed = f'/usr/bin/python3 -c "$0" mn --topo single,{hosts} --switch {switch} --controller none --test none'
    inside = f"set -e\nmount --make-rprivate /\n{mounts}\nip link set lo up\n{OVS}\n{timed}"
    spaces = ["--map-root-user", "--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(["unshare", *spaces, "sh", "-c", inside, TIMED], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"raw Mininet failed: {done.stderr}")
    return float(done.stdout)


def kit(hosts: int, engine: str, phases: dict[str, list[float]]) -> float:
    """Seconds of a whole run; its own figures are added to `phases`. Raises SystemExit unless it has passed."""
    scenario = ["lab/run_lab.py", "scenarios/round_robin.yaml", "--set", f"topology.hosts={hosts}", *PATIENT]
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, *scenario, "--backend", "sandbox", "--engine", engine, "--out", out, "--json"]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    for phase, spent in json.loads(done.stdout.splitlines()[-1])["timing_s"].items():
        phases.setdefault(phase, []).append(spent)
    return seconds


def spread(times: list[float]) -> str:
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return f"{low:.2f} to {high:.2f}"


def measure(hosts: int, engines: list[str], rounds: int) -> None:
    phases: dict[str, dict[str, list[float]]] = {engine: {} for engine in engines}
    ways: dict[str, Callable[[], float]] = {"raw mn": lambda: raw(hosts)}
    ways |= {engine: lambda engine=engine: kit(hosts, engine, phases[engine]) for engine in engines}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, run in ways.items():
            seconds = run()
            if number:
                times[way].append(seconds)
        print(f"{hosts} hosts: round {number} of {rounds}", file=sys.stderr, flush=True)
    beside = statistics.median(times["raw mn"])
    for way, seconds in times.items():
        middle = statistics.median(seconds)
        parts = ", ".join(f"{p} {statistics.median(s[1:]):.2f}" for p, s in phases.get(way, {}).items())
        print(f"{hosts:5}  {way:8}{middle:7.2f} s{spread(seconds):>16}{middle / beside:7.2f} x   {parts}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="A whole run, beside raw Mininet.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hosts", default="6,50,200")
    parser.add_argument("--engines", default="pox,osken")
    options = parser.parse_args()
    print("hosts  what      median       quartiles   ratio   phases (medians, s)")
    for hosts in options.hosts.split(","):
        measure(int(hosts), options.engines.split(","), options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
