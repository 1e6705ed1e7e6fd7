"""connection_hash: a hash of both ends' addresses and ports decides, in the switch; shares are as the weights say.

Only the switch sees every connection's ports at no cost, so only mode `proactive` keeps this policy. Here is the table
of places that the switch chooses from, the one of `source_hash`; what the controller has to choose itself (a
server's own call, in the stateless variant) gets a place by chance.
"""

from __future__ import annotations

import random
from typing import Final

from lab.balancer.policies.source_hash import SourceHash
from lab.balancer.pool import Member

PLACES: Final = 251  # a prime, as the table needs, and at most the 256 values that Open vSwitch's dp_hash tells apart


class ConnectionHash(SourceHash):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, PLACES)
        self._rng = rng

    def choose(self, client_ip: int) -> Member:
        return super().choose(self._rng.getrandbits(32))
