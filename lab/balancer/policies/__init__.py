"""Policies: which server gets a new connection. One small module each; `policy` says what a policy must offer.

Rule: `choose` costs the same whatever the number of servers and connections; what depends on them is done in
`pool_changed` or when a connection begins or ends. A new policy is one module here and one line in POLICIES; a user's
own needs neither (`plugin`). What each promises, and its limits: docs/policies.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from lab.balancer.policies.connection_hash import ConnectionHash
from lab.balancer.policies.least_connections import LeastConnections
from lab.balancer.policies.policy import Policy
from lab.balancer.policies.round_robin import RoundRobin
from lab.balancer.policies.source_hash import DEFAULT_SIZE, SourceHash
from lab.balancer.policies.weighted_random import Random
from lab.balancer.policies.weighted_round_robin import WeightedRoundRobin

POLICIES: Final[Mapping[str, Callable[[random.Random], Policy]]] = {
    "round_robin": RoundRobin,
    "weighted_round_robin": WeightedRoundRobin,
    "random": Random,
    "least_connections": LeastConnections,
    "source_hash": SourceHash,
    "connection_hash": ConnectionHash,
}
BY_CONTROLLER: Final = tuple(name for name in POLICIES if name != "connection_hash")  # which needs the switch to choose
WEIGHTED: Final = tuple(name for name in BY_CONTROLLER if name != "round_robin")  # those that heed a member's share


def heeds_weights(policy: str) -> bool:
    """A user's own may, so it is taken to."""
    return policy != "round_robin"


def make(name: str, rng: random.Random, hash_table_size: int = DEFAULT_SIZE) -> Policy:
    """The policy of that name in POLICIES. Raises ValueError: the table's size is no prime."""
    return SourceHash(rng, hash_table_size) if name == "source_hash" else POLICIES[name](rng)


__all__ = ["BY_CONTROLLER", "POLICIES", "WEIGHTED", "Policy", "RoundRobin", "heeds_weights", "make"]
