"""Figures of others, to set ours beside, each with its source. Rule: what we have not read in the source says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    what: str
    figure: str
    source: str


MAGLEV: Final = "Eisenbud et al., Maglev, NSDI 2016"
FROM_MEMORY: Final = "section 5.3, quoted from memory"
SPARE_SERVERS: Final = 1000  # of the next table
# part that servers must have to spare, by table size: Karger's ring and rendezvous hashing, in Maglev's paper
SPARE: Final[Mapping[int, tuple[float, float]]] = {65_537: (0.297, 0.495), 655_373: (0.103, 0.123)}
PLACES_FOR_1_PERCENT: Final = 100  # of the table, for each server
CLUSTER_RATE: Final = 100_000  # new flows per second
FLOW_LIMIT: Final = 200_000  # flows
PUBLISHED: Final = (
    Published(
        what="spare capacity for 1,000 servers, table of 65,537: Karger, rendezvous",
        figure="29.7 %, 49.5 %",
        source=f"{MAGLEV}, {FROM_MEMORY}",
    ),
    Published(
        what="the same, table of 655,373",
        figure="10.3 %, 12.3 %",
        source=f"{MAGLEV}, {FROM_MEMORY}",
    ),
    Published(
        what="Maglev table of more than 100 places a server",
        figure="shares differ by 1 % at most",
        source=f"{MAGLEV}, section 3.4",
    ),
    Published(
        what="new flows in a cluster of 1,500 servers",
        figure="100,000/s (median)",
        source="Tootoonchian et al., Hot-ICE 2012",
    ),
    Published(
        what="flows that Open vSwitch caches",
        figure="200,000 by default",
        source="ovs-vswitchd.conf.db(5), flow-limit",
    ),
)
