"""What the balancer counts. Counters only grow, from the start of the program; who wants a rate takes a difference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lab.balancer.packets import Drop


@dataclass(slots=True)
class Counters:
    """`packet_ins` and `flow_mods` are those of the services' connections; what the rest costs, the engine counts."""

    packet_ins: int = 0
    flow_mods: int = 0
    drops: Counter[Drop] = field(default_factory=Counter)
