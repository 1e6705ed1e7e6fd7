"""What stock POX does wrong, and ours must not: what connections cost, and what becomes of them.

Named by the number in docs/defects.md; a test's docstring says what POX's component (at 20d2918) does instead.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import pytest
from helpers.rig import MakeRig, Rig

from lab.balancer.rules import Cookie, FinTimeout


def test_d20_one_rule_that_leaves_with_its_connection(rig: Rig) -> None:
    """Two exact rules per connection, kept 10 s after its end."""
    rig.connect("h3", 40000)
    before = len(rig.switch.rules())
    for n in range(1, 11):
        rig.connect("h3", 40000 + n)
        rig.close("h3", 40000 + n)
    assert len(rig.switch.rules()) == before + 10
    assert all(any(isinstance(a, FinTimeout) for a in r.actions) for r in rig.switch.of_kind(Cookie.CONNECTION))
    rig.advance(1.5)
    assert len(rig.switch.rules()) == before


def test_d21_one_packet_in_per_connection(rig: Rig) -> None:
    """Six or seven, and a flow-mod each."""
    rig.connect("h3", 40000)
    packet_ins, flow_mods = rig.packet_ins, rig.switch.flow_mods
    for n in range(1, 11):
        rig.connect("h3", 40000 + n)
        rig.close("h3", 40000 + n)
    assert (rig.packet_ins - packet_ins, rig.switch.flow_mods - flow_mods) == (10, 10)


def test_d22_full_switch_serves_everyone(rig: Rig) -> None:
    """The packet is sent to the table that couldn't take its rule, and comes back: 4 in 10 requests fail."""
    rig.connect("h3", 40000)  # its hosts are known
    rig.switch.full = True
    packet_ins = rig.packet_ins
    assert [rig.connect("h3", 40001 + n) for n in range(4)] == ["h2", "h1", "h2", "h1"]
    assert rig.switch.refused == rig.packet_ins - packet_ins == 12  # each of a client's three packets comes up once


def test_d23_dead_servers_clients_are_told(rig: Rig) -> None:
    """Its rules stay, kept fresh by retransmissions: downloads hang."""
    rig.connect("h3", 40000)
    rig.hosts["h1"].mute = True
    for _ in range(12):
        rig.advance(0.25)
        outcome = rig.data("h3", 40000)  # a client that goes on trying
    assert rig.connection_rules() == 0
    assert outcome.reset


def test_d24_later_packet_never_gets_another_server(rig: Rig) -> None:
    """In mid-stream, the next server is chosen for a connection whose own one is gone."""
    rig.connect("h3", 40000)
    rig.link_down("h1")
    outcomes = [rig.data("h3", 40000) for _ in range(3)]
    assert [(o.server, o.reset) for o in outcomes] == [(None, True)] * 3
    assert sum(m.hits for m in rig.balancer.services[0].members) == 1


def test_d25_same_port_again_is_a_new_connection(rig: Rig) -> None:
    """Addresses and ports are remembered for 300 s: eight connections from one port, one choice."""
    served = []
    for n in range(8):
        served.append(rig.connect("h3", 40000, seq=1000 * n))
        rig.close("h3", 40000)
    assert served == ["h1", "h2"] * 4


def test_d26_busy_connection_is_never_forgotten(make_rig: MakeRig) -> None:
    """Only packets that come to the controller count, so a busy connection is forgotten and hangs after a pause."""
    rig = make_rig(bound=10)
    rig.connect("h3", 40000)
    for n in range(60):
        rig.advance(5, step=1)
        assert rig.data("h3", 40000).server == "h1"
        rig.connect("h4", 50000 + n)
        rig.close("h4", 50000 + n)
    rig.advance(30, step=1)
    assert rig.connection_rules() == 0
    assert rig.data("h3", 40000).server == "h1"


def test_d27_table_is_bounded(make_rig: MakeRig) -> None:
    """No bound."""
    rig = make_rig(bound=50)
    for n in range(300):
        rig.syn("h3", 10000 + n)
    assert rig.remembered() == 50


class Unwalkable(OrderedDict[int, int]):
    def __iter__(self) -> Iterator[int]:
        raise AssertionError("the table was walked")

    keys = values = items = __iter__  # type: ignore[assignment]


def test_d28_no_step_walks_the_table(rig: Rig) -> None:
    """The whole memory is built anew each tick: 0.1 s at 20,000 connections."""
    for n in range(5):
        rig.connect("h3", 40000 + n)
    table = rig.balancer.connections
    table._live, table._idle = Unwalkable(table._live), Unwalkable(table._idle)
    rig.connect("h4", 40000)
    rig.close("h4", 40000)
    rig.advance(2)
    rig.advance(20, step=1)
    assert rig.data("h3", 40000).server == "h1"
    with pytest.raises(AssertionError, match="was walked"):
        list(table._live)
