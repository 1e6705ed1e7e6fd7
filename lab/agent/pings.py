"""A ping from every host to every other, several at a time. Rule: real ping, one packet, no second try."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

from lab import wire
from lab.agent.namespaces import Place

AT_ONCE = 8
WAIT_S = 2  # for the answer: ARP and a controller's first decision are on its way


def ping_all(places: Mapping[str, Place], addresses: Mapping[str, str]) -> wire.Pings:
    """Ping between all pairs of `addresses` (host → IP). Takes about 10 ms per pair that answers."""
    pairs = list(permutations(addresses, 2))

    def answered(pair: tuple[str, str]) -> bool:
        return ping(places[pair[0]], addresses[pair[1]])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(answered, pairs))
    failed = tuple(pair for pair, fine in zip(pairs, answers) if not fine)
    return wire.Pings(sent=len(pairs), received=len(pairs) - len(failed), failed=failed)


def ping(place: Place, address: str) -> bool:
    quiet = subprocess.DEVNULL
    with place.popen(["ping", "-n", "-q", "-c", "1", "-W", str(WAIT_S), address], stdout=quiet, stderr=quiet) as child:
        return child.wait() == 0
