"""Whether a measurement stalled: connections that waited for a time-out say nothing about a balancer's speed.

A SYN that is lost comes again after a second, so its slot stands still that long; a client whose ports are all used or
in TIME_WAIT can't connect at all. Rule: each finding is a sentence with its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lab.wire_bench import Figures

SYN_AGAIN_S: Final = 1.0  # after so long Linux sends a SYN again
STOOD_STILL: Final = 0.02  # share of a load's time that may be lost to that
FAILED: Final = 0.001  # share of connections that may fail
USED_UP: Final = 0.9  # share of a client's ports


def find(figures: Figures, concurrency: int, seconds: float, callers: Sequence[str]) -> list[str]:
    """Sentences on what stalled; none: it is sound. callers: the hosts that open connections."""
    return [*_syns(figures, concurrency, seconds, callers), *_ports(figures, callers), *_failures(figures)]


def _syns(figures: Figures, concurrency: int, seconds: float, callers: Sequence[str]) -> list[str]:
    again = sum(figures.kernel.get(host, {}).get("TCPSynRetrans", 0) for host in callers)
    lost = again * SYN_AGAIN_S / (concurrency * seconds)
    if lost <= STOOD_STILL:
        return []
    return [f"{again} SYNs were sent again: {min(lost, 1):.0%} of the load's time stood still"]


def _ports(figures: Figures, callers: Sequence[str]) -> list[str]:
    found = []
    for host in callers:
        waiting = figures.time_wait.get(host, 0)
        if figures.ports and waiting > USED_UP * figures.ports:
            found.append(f"{host} has {waiting} of its {figures.ports} ports in TIME_WAIT")
    overflows = sum(counts.get("ListenOverflows", 0) for counts in figures.kernel.values())
    if overflows:
        found.append(f"a server's queue of new connections was full {overflows} times")
    return found


def _failures(figures: Figures) -> list[str]:
    total = sum(wrk.connections for wrk in figures.wrk.values())
    failed = sum(wrk.socket_errors + wrk.timeouts + wrk.bad_status for wrk in figures.wrk.values())
    if failed + figures.sample_errors <= FAILED * total:
        return []
    return [f"{failed + figures.sample_errors} connections failed, {total} did not"]
