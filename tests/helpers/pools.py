"""Pools of members for tests of policies alone, and what a policy draws from them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lab.balancer.health import Health, HealthSettings
from lab.balancer.policies import POLICIES, Policy
from lab.balancer.pool import Member


def members(count: int, weights: Sequence[int] = ()) -> list[Member]:
    """h1 … of 10.0.0.1 …"""
    health = Health(HealthSettings())
    return [
        Member(
            id=n + 1, name=f"h{n + 1}", ip=0x0A000001 + n, weight=weights[n] if weights else 1, health=health, mac=n + 1
        )
        for n in range(count)
    ]


def policy(name: str, pool: Sequence[Member], seed: int = 1) -> Policy:
    made = POLICIES[name](random.Random(seed))
    made.pool_changed(pool)
    return made


def drawn(chooser: Policy, count: int, client_ip: int = 0) -> str:
    return "".join(chooser.choose(client_ip).name[1:] for _ in range(count))
