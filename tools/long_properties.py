#!/usr/bin/env python3
"""The core's state machines (tests/balancer/test_state_machine*.py), for as long as you like.

    .venv/bin/python tools/long_properties.py [--minutes M] [--steps N] [--seed S] [--protocol tcp|udp] [--shrink]

Runs batches of new cases until the time is over, each batch from a seed of its own, and prints how many cases and steps
there were. A failure ends it and prints its case; the same seed with --shrink finds a shorter one. Exit code 1: a
promise was broken.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from time import monotonic
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from balancer.test_state_machine import Lab
from balancer.test_state_machine_udp import Flows
from helpers.lab_world import World
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

BATCH: Final = 200  # cases
MACHINES: Final = {"tcp": Lab, "udp": Flows}


def batch(machine: type[World], steps: int, number: int, shrink: bool) -> None:
    """Raises what the first broken promise raises."""
    how = settings(
        max_examples=BATCH,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(number)(machine), settings=how)


def main() -> int:
    options = argparse.ArgumentParser(description="The core's state machines, for as long as you like.")
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--steps", type=int, default=50, help="of a case, at most")
    options.add_argument("--seed", type=int, default=1, help="of the first batch; the next ones count on")
    options.add_argument("--protocol", choices=MACHINES, help="of the service; default: batches of each, in turn")
    options.add_argument("--shrink", action="store_true", help="look for a shorter failing case, some minutes long")
    given = options.parse_args()
    machines = [MACHINES[given.protocol]] if given.protocol else list(MACHINES.values())
    start, number, broken = monotonic(), given.seed, False
    while monotonic() - start < given.minutes * 60 and not broken:
        try:
            batch(machines[number % len(machines)], given.steps, number, given.shrink)
        except Exception:
            traceback.print_exc()
            broken = True
        number += 1
        spent = monotonic() - start
        cases, steps = (sum(getattr(machine, what) for machine in machines) for what in ("cases", "steps"))
        print(f"seeds {given.seed} to {number - 1}: {cases:,} cases, {steps:,} steps, {spent:.0f} s", flush=True)
    print("a promise was broken" if broken else "every promise held")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
