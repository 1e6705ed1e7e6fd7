"""What waits for the switch's cached flows to go is bounded, and what is beyond that is counted."""

from __future__ import annotations

from collections import Counter

from lab.balancer.modes.direct_calls import HELD_BOUND, HELD_S, DirectCalls
from lab.balancer.packets import Drop
from lab.balancer.rules import SendPacket


def test_packets_that_wait_are_bounded_and_those_beyond_are_counted() -> None:
    drops: Counter[Drop] = Counter()
    direct = DirectCalls(drops)
    packets = [SendPacket(data=bytes([n]), actions=()) for n in range(HELD_BOUND + 2)]
    assert [direct.hold(packet, 1.0) for packet in packets] == [[]] * len(packets)
    assert drops == {Drop.HELD_FULL: 2}
    assert direct.tick(1.0) == []
    assert direct.tick(1.0 + HELD_S) == packets[:HELD_BOUND]
    assert direct.hold(packets[0], 2.0) == []
    assert drops == {Drop.HELD_FULL: 2}
