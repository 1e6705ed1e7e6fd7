#!/usr/bin/env python3
"""What a connection costs the controller: CPU time of the real engine process, fed by a switch that isn't one.

    python3 tools/bench_engine.py [--rounds N] [--connections N] [--engines pox,osken] [--modes reactive,tracked]

The engine is started just as the supervisor starts it, in a network namespace of this program's own, and a fake switch
(`fake_switch.py`) shows it new connections over loopback, one at a time and 16 at a time. CPU time is /proc's, user and
system, of all its threads. Rule: what is compared is measured in turn, round by round; the median counts, and its
spread (quartiles) stands beside it. Rounds of a quarter of a second and more, since /proc counts in hundredths.
POX is taken from POX_HOME, or from the driver's usual places.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fake_switch import OF10, OF13, FakeSwitch

from lab import wire
from lab.balancer import packets
from lab.engines.process import Engine

INSIDE: Final = "LAB_BENCH_INSIDE"  # environment: this is the run inside the namespace
WINDOWS: Final = (1, 16)  # connections that wait for an answer at a time
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """CPU time: s of a process, or µs of a connection."""

    user: float
    system: float

    def since(self, before: Cost, connections: int) -> Cost:
        """µs of each of `connections`."""
        return Cost(*((now - then) / connections * 1e6 for now, then in zip(self, before)))


class Subject:
    """One engine in one mode, running, with its fake switch."""

    def __init__(self, name: str, mode: str, connections: int, state: Path) -> None:
        self.name, self.mode = name, mode
        self._connections = connections
        self._engine = Engine(state / f"{name}-{mode}", _pox_home())
        self._begun = 0
        self.costs: dict[str, list[Cost]] = {}  # what -> of each round

    def measure(self) -> None:
        """A fresh engine, so that none has another's past; first some connections that don't count."""
        config = dataclasses.replace(wire.default_controller(), engine=self.name, mode=self.mode)
        pid = (self._engine.start(config))["pid"]
        version = OF10 if self.name == "pox" else OF13
        switch = FakeSwitch(("127.0.0.1", wire.OPENFLOW_PORT), version, self.mode == "tracked")
        try:
            switch.serve_until_probed()
            self._connect(switch, 500, 16)
            for window in WINDOWS:
                self._round(switch, pid, window)
        finally:
            switch.close()
            self._engine.stop()

    def _round(self, switch: FakeSwitch, pid: int, window: int) -> None:
        before = _cpu(pid)
        numbers, servers = self._connect(switch, self._connections, window)
        begun = _cpu(pid)
        switch.end(numbers, servers)
        ended = _cpu(pid)
        self._note(f"begins, {window} at a time", begun.since(before, self._connections))
        if window == WINDOWS[-1]:
            self._note("ends", ended.since(begun, self._connections))

    def _connect(self, switch: FakeSwitch, count: int, window: int) -> tuple[range, list[int]]:
        """Which connections were begun, and each one's server. Raises SystemExit if the balancer didn't balance."""
        numbers = range(self._begun, self._begun + count)
        self._begun += count
        frames = switch.begin(numbers, window)
        if len(frames) != count or any(packets.parse(frame).flags & packets.RST for frame in frames):
            raise SystemExit(f"{self.name} {self.mode}: {count} SYNs shown, {len(frames)} packets, or resets, back")
        switch.settle()
        return numbers, [1 + number % 2 for number in range(count)]

    def _note(self, what: str, cost: Cost) -> None:
        self.costs.setdefault(what, []).append(cost)


def _cpu(pid: int) -> Cost:
    """User and system time of a process, its threads included (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Cost(int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S)


def _pox_home() -> Path | None:
    home = os.environ.get("POX_HOME")
    return Path(home) if home else None


def _find_pox() -> str | None:
    """POX's folder, from where the driver takes it: needs the driver's own Python."""
    try:
        from lab.driver.pox_supply import find_pox
    except ImportError:
        return None
    found = find_pox().path
    return str(found) if found else None


def rounds_of(subjects: Sequence[Subject], rounds: int) -> None:
    for number in range(rounds):
        for subject in subjects:
            subject.measure()
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)


def report(subjects: Sequence[Subject]) -> None:
    print(f"{'engine':8}{'mode':10}{'a connection':24}{'µs CPU':>8}{'quartiles':>16}{'of it the kernel':>20}")
    for subject in subjects:
        for what, costs in subject.costs.items():
            sums = [sum(cost) for cost in costs]
            low, middle, high = statistics.quantiles(sums, n=4) if len(sums) > 1 else sums * 3
            kernel = statistics.median(cost.system for cost in costs)
            spread = f"{low:.1f} to {high:.1f}"
            print(f"{subject.name:8}{subject.mode:10}{what:24}{middle:8.1f}{spread:>16}{kernel:20.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time of the controller per connection.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=10_000, help="of each measurement")
    parser.add_argument("--engines", default="pox,osken")
    parser.add_argument("--modes", default="reactive,tracked")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        environment = {**os.environ, INSIDE: "1", "POX_HOME": os.environ.get("POX_HOME") or _find_pox() or ""}
        again = 'ip link set lo up && exec "$0" "$@"'
        command = ["unshare", "--map-root-user", "--net", "sh", "-c", again, "/usr/bin/python3", *sys.argv]
        return subprocess.call(command, env=environment)
    with tempfile.TemporaryDirectory() as state:
        chosen = [(engine, mode) for mode in options.modes.split(",") for engine in options.engines.split(",")]
        subjects = [Subject(engine, mode, options.connections, Path(state)) for engine, mode in chosen]
        rounds_of(subjects, options.rounds)
        report(subjects)
    return 0


if __name__ == "__main__":
    sys.exit(main())
